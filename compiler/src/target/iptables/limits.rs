//! Buckets: a table of `hashlimit`, or `connlimit` for live flows.
//!
//! Never `limit`, which cannot count more than 10,000 a second and rounds what it can. A table's
//! name carries a hash of its parameters, because the kernel silently keeps those of a table that
//! exists. Rules that ask the same table share its tokens, in every chain; each family has its own.
//!
//! A table without room drops the packet of a new key, whichever way it is asked. That is what
//! `full over` comes to where a rule decides, and it is stricter in the one case in which a later rule would
//! have let the packet pass. Where a rule only notes something, it would be another verdict, and is
//! refused.

use std::sync::Arc;

use polc_bundle::Family;

use super::names;
use super::sets::{Kind, Set, dynamic_name};
use super::tree::{Test, Then, suffix};
use super::{Build, FlowUse};
use crate::diagnostic::{Code, Diagnostic};
use crate::ir::{Bucket, Key, KeyKind, Limit, Rate, Rule, Sense};
use crate::target::Capability;
use crate::target::netfilter::rate::{refill, unit};
use crate::target::netfilter::sides::{Hook, Place};

/// The most tokens a second that `hashlimit` counts.
const FASTEST: u64 = 1_000_000;

/// The largest bucket of packets.
const BURST: u64 = 1_000_000;

/// The longest time in which a bucket may fill, in milliseconds: beyond, the kernel's number
/// overflows, which it does not always notice.
const SLOWEST: u64 = 86_400_000;

/// By how many hundredths the kernel may round a rate.
const ROUNDED: u64 = 2;

/// The milliseconds after which an unused bucket may be forgotten, if it is full by then.
const KEPT: u64 = 60_000;

/// The longest time after which an element of a set leaves, in seconds.
const TIMEOUT: u64 = 2_147_483;

impl Build<'_> {
    /// How to ask `limit` of a packet.
    pub(super) fn ask(&mut self, limit: Limit, rule: &Rule, place: Place) -> Option<Test> {
        let bucket = self.ir.buckets.get(limit.bucket)?;
        if bucket.key.is_none() {
            self.unkeyed.insert((limit.bucket, suffix(self.family)));
        }
        let within = limit.sense == Sense::Within;
        let rate = match bucket.rate {
            Rate::Flows { count } => {
                let used = FlowUse {
                    bucket: limit.bucket,
                    family: suffix(self.family),
                    rule: rule.name.clone(),
                    place: format!("{place:?}"),
                };
                self.flows.insert(used);
                return self.flows(bucket, count, within, place.hook, rule);
            }
            Rate::Packets { count, per, burst } => {
                let (word, seconds) = unit(per);
                if count > FASTEST * seconds || burst > BURST || burst == 0 {
                    return self.refuse(Capability::FastRate, bucket);
                }
                // The kernel counts in millionths of a second.
                let period = FASTEST * seconds / count.max(1);
                if rounded_too_much(FASTEST * seconds, count.saturating_mul(period)) {
                    return self.refuse(Capability::CoarseRate, bucket);
                }
                format!("{count}/{word} --hashlimit-burst {burst}")
            }
            Rate::Bytes { count, burst } => {
                if burst != count {
                    return self.refuse(Capability::ByteBurst, bucket);
                }
                // The kernel counts in 16 octets.
                let units = count / 16 + 1;
                let cost = u64::from(u32::MAX) / units;
                let counted = units.saturating_mul(cost);
                if u32::try_from(count).is_err()
                    || rounded_too_much(u64::from(u32::MAX), counted)
                    || rounded_too_much(count, units * 16)
                {
                    return self.refuse(Capability::CoarseRate, bucket);
                }
                format!("{count}b/s")
            }
        };
        if refill(bucket.rate) > SLOWEST {
            return self.refuse(Capability::SlowRate, bucket);
        }
        self.features.add("hashlimit of a million a second", "4.9");
        let keys = self.keys(bucket, rule)?;
        let sense = if within { "upto" } else { "above" };
        let name = names::object("", &bucket.name, &format!("{} {rate} {keys}", bucket.name));
        self.rates.insert(name.clone());
        let text = format!("-m hashlimit --hashlimit-{sense} {rate} --hashlimit-name {name}{keys}");
        Some(Test::Ask(text))
    }

    fn refuse(&mut self, capability: Capability, bucket: &Bucket) -> Option<Test> {
        self.unsupported(capability, bucket.span);
        None
    }

    /// The key of a bucket, and how its table is kept.
    fn keys(&mut self, bucket: &Bucket, rule: &Rule) -> Option<String> {
        let filled = refill(bucket.rate).max(KEPT);
        let Some(key) = bucket.key else {
            return Some(format!(" --hashlimit-htable-expire {filled}"));
        };
        if bucket.full == Sense::Within {
            self.unsupported(Capability::FullWithin, bucket.span);
            return None;
        }
        let decides = rule.verdict.is_some();
        let logs = rule.effects.log.as_ref().and_then(|log| log.at);
        let log = logs.and_then(|at| self.ir.buckets.get(at)) == Some(bucket);
        let denies = matches!(
            rule.verdict,
            Some(crate::ir::Verdict::Deny | crate::ir::Verdict::Reject(_))
        );
        if !decides || log && !denies {
            self.unsupported(Capability::FullNoted, rule.span);
            return None;
        }
        let most = bucket.max.unwrap_or(self.options.max_set).max(1);
        let expire = bucket.idle.unwrap_or(self.options.idle.max(filled)).max(1);
        let length = self.length(key);
        let mode = match key.kind {
            KeyKind::Source => format!("srcip --hashlimit-srcmask {length}"),
            KeyKind::Dest => format!("dstip --hashlimit-dstmask {length}"),
            KeyKind::Pair => {
                format!("srcip,dstip --hashlimit-srcmask {length} --hashlimit-dstmask {length}")
            }
        };
        // The kernel raises the most keys to the number of its lists.
        let lists = most.min(8192);
        Some(format!(
            " --hashlimit-mode {mode} --hashlimit-htable-size {lists} \
             --hashlimit-htable-max {most} --hashlimit-htable-expire {expire}"
        ))
    }

    fn length(&self, key: Key) -> u8 {
        match self.family {
            Family::V4 => key.v4,
            Family::V6 => key.v6,
        }
    }

    /// Live flows. Each kernel rule counts for itself.
    fn flows(
        &mut self,
        bucket: &Bucket,
        count: u32,
        within: bool,
        hook: Hook,
        rule: &Rule,
    ) -> Option<Test> {
        if hook == Hook::Guard {
            self.unsupported(Capability::GuardFlows, rule.span);
            return None;
        }
        if bucket.max.is_some() || bucket.full == Sense::Within {
            return self.refuse(Capability::FlowTable, bucket);
        }
        let mask = match bucket.key {
            None => "0 --connlimit-saddr".to_owned(),
            Some(key) => {
                let end = match key.kind {
                    KeyKind::Source => "saddr",
                    KeyKind::Dest => "daddr",
                    KeyKind::Pair => return self.refuse(Capability::FlowPairs, bucket),
                };
                format!("{} --connlimit-{end}", self.length(key))
            }
        };
        let sense = if within { "upto" } else { "above" };
        let text = format!("-m connlimit --connlimit-{sense} {count} --connlimit-mask {mask}");
        Some(Test::AskOwn(text))
    }

    /// The name of a dynamic set of the policy for this family.
    fn dynamic_set(&mut self, id: usize) -> Option<Arc<str>> {
        let set = self.ir.dynamic.get(id)?;
        if set.key == KeyKind::Pair {
            self.unsupported(Capability::PairSets, set.span);
            return None;
        }
        let timeout = set.idle.map(|ms| ms / 1000);
        if set
            .idle
            .is_some_and(|ms| ms % 1000 != 0 || ms / 1000 > TIMEOUT)
        {
            self.unsupported(Capability::OddIdle, set.span);
            return None;
        }
        let size = set.max.unwrap_or(self.options.max_set);
        let count = match self.family {
            Family::V4 => set.initial.v4.count(),
            Family::V6 => set.initial.v6.count(),
        };
        if count > u128::from(size) {
            let title = format!(
                "`@{}` begins with more addresses than it may hold",
                set.name
            );
            let help = "a dynamic set holds single addresses: give it a larger `max`";
            let error = Diagnostic::error(Code::SetOverflow, title, set.span).help(help);
            self.errors.push(error);
            return None;
        }
        let elements = match self.family {
            Family::V4 => {
                let addresses = set.initial.v4.ranges().iter().flat_map(|(a, b)| *a..=*b);
                addresses
                    .map(|a| std::net::Ipv4Addr::from(a).to_string())
                    .collect()
            }
            Family::V6 => {
                let addresses = set.initial.v6.ranges().iter().flat_map(|(a, b)| *a..=*b);
                addresses
                    .map(|a| std::net::Ipv6Addr::from(a).to_string())
                    .collect()
            }
        };
        let parameters = format!("{:?}", (&set.name, set.key, size, timeout));
        let name = dynamic_name(self.family, &set.name, &parameters);
        self.pool.push(Set {
            name: name.clone(),
            policy_name: Some(set.name.to_string()),
            kind: Kind::Dynamic {
                family: self.family,
                size,
                timeout,
            },
            elements,
        });
        Some(name)
    }

    /// The target that puts a packet's key into a dynamic set.
    pub(super) fn add_to(&mut self, id: usize) -> Option<Then> {
        let name = self.dynamic_set(id)?;
        let end = match self.ir.dynamic.get(id)?.key {
            KeyKind::Dest => "dst",
            KeyKind::Source | KeyKind::Pair => "src",
        };
        Some(Then::Do(format!("SET --add-set {name} {end} --exist")))
    }

    /// The test that a packet's key is in a dynamic set, or is not.
    pub(super) fn in_dynamic(&mut self, id: usize, dest: bool, answer: bool) -> Option<Test> {
        let name = self.dynamic_set(id)?;
        let end = if dest { "dst" } else { "src" };
        let not = if answer { "" } else { "! " };
        Some(Test::Ask(format!("-m set {not}--match-set {name} {end}")))
    }

    /// Limits of live flows that several kernel rules would have to share.
    pub(super) fn check_flows(&mut self) {
        let uses: Vec<FlowUse> = self.flows.iter().cloned().collect();
        for pair in uses.windows(2) {
            if let [one, other] = pair
                && (one.bucket, one.family) == (other.bucket, other.family)
                && let Some(bucket) = self.ir.buckets.get(one.bucket)
            {
                self.unsupported(Capability::SharedFlows, bucket.span);
            }
        }
    }
}

/// Whether `counted` is further from `wanted` than a rate may be.
fn rounded_too_much(wanted: u64, counted: u64) -> bool {
    wanted.abs_diff(counted).saturating_mul(100) > wanted.saturating_mul(ROUNDED)
}
