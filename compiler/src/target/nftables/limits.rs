//! Buckets: a named limit, or a set with a bucket in each element.
//!
//! The kernel has two questions, "is there a token" and its negation `over`. They are duals but
//! for one case: a set that is full cannot answer, and then the expression does not hold whichever
//! was asked. So the question is chosen such that "does not hold" is what the bucket's `full`
//! says about a key without room:
//!
//! | limit | `full over` (closed) | `full within` (open) |
//! |---|---|---|
//! | `within` | ask "a token?", hold when it holds | ask "none?", hold when it does not |
//! | `over` | ask "a token?", hold when it does not | ask "none?", hold when it holds |
//!
//! All rules that share a bucket thereby ask the same question, which matters: an element keeps
//! the question that it was created with.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use polc_bundle::{Family, ObjectKind};

use super::Build;
use super::names::mangle;
use super::time::Time;
use super::tree::{Dynamic, Elements, Match, NamedLimit, Set};
use crate::diagnostic::{Code, Diagnostic};
use crate::ir::{Bucket, BucketId, Key, KeyKind, Limit, Rate, Sense};
use crate::target::Capability;
use crate::target::netfilter::rate::{full_key, refill, unit};
use crate::target::netfilter::text::short_hash;

/// The key that every packet has.
const ONE: &str = "meta mark & 0x0";

/// How many elements fit into the set of a bucket of live flows that all packets share. When its flows have ended, the
/// kernel collects the element, once a second, and the dead one takes room for some milliseconds beside
/// the one that the next packet makes (`nft_rhash_gc`): without room for it the limit would not hold then.
const ONE_AND_DEAD: u32 = 16;

/// A question and the answer wanted.
pub(crate) struct Ask {
    pub(crate) question: Match,
    /// Whether the limit holds when the question does.
    pub(crate) positive: bool,
}

/// The kernel objects of buckets that were asked before.
#[derive(Default)]
pub(crate) struct Buckets {
    known: BTreeMap<(BucketId, Option<Family>), Arc<str>>,
    pub(crate) limits: Vec<NamedLimit>,
}

impl Build<'_> {
    /// How to ask `limit` of a packet of `family`, which must be known when the bucket has keys.
    pub(crate) fn ask(&mut self, limit: Limit, family: Option<Family>) -> Option<Ask> {
        let bucket = self.ir.buckets.get(limit.bucket)?;
        let positive = (limit.sense == Sense::Within) == (bucket.full == Sense::Over);
        let over = if bucket.full == Sense::Over {
            ""
        } else {
            "over "
        };
        let text = match (&bucket.key, bucket.rate) {
            (None, Rate::Flows { count }) => {
                let set = self.counted_set(limit.bucket, bucket, count);
                let positive = limit.sense == Sense::Within;
                let question = Match::Ask(format!("add @{set} {{ {ONE} ct count {count} }}"));
                return Some(Ask { question, positive });
            }
            (None, rate) => {
                let name = self.named_limit(limit.bucket, bucket, rate)?;
                let positive = limit.sense == Sense::Within;
                let question = Match::Ask(format!("limit name \"{name}\""));
                return Some(Ask { question, positive });
            }
            (Some(key), Rate::Flows { count }) => {
                let set = self.keyed_set(limit.bucket, bucket, family?);
                format!(
                    "add @{set} {{ {} ct count {over}{count} }}",
                    expression(*key, family?)
                )
            }
            (Some(key), rate) => {
                let rate = self.rate(bucket, rate)?;
                let set = self.keyed_set(limit.bucket, bucket, family?);
                let key = expression(*key, family?);
                format!("update @{set} {{ {key} limit rate {over}{rate} }}")
            }
        };
        Some(Ask {
            question: Match::Ask(text),
            positive,
        })
    }

    fn named_limit(&mut self, id: BucketId, bucket: &Bucket, rate: Rate) -> Option<Arc<str>> {
        if let Some(name) = self.buckets.known.get(&(id, None)) {
            return Some(name.clone());
        }
        let rate = self.rate(bucket, rate)?;
        let wish = format!("{}_{}", mangle(&bucket.name), short_hash(&rate));
        let name = self.names.unique(ObjectKind::Limit, &wish);
        self.buckets.limits.push(NamedLimit {
            name: name.clone(),
            rate,
        });
        self.buckets.known.insert((id, None), name.clone());
        Some(name)
    }

    /// A set in which all packets have the same key, and all rules that share the bucket count: by itself, `ct count`
    /// counts for the one kernel rule that it stands in.
    fn counted_set(&mut self, id: BucketId, bucket: &Bucket, count: u32) -> Arc<str> {
        if let Some(name) = self.buckets.known.get(&(id, None)) {
            return name.clone();
        }
        self.features.add("stateful set elements", "5.7");
        let hash = short_hash(&format!("flows {:?}", (count, ONE_AND_DEAD)));
        let wish = format!("{}_{hash}", mangle(&bucket.name));
        let name = self.names.unique(ObjectKind::Set, &wish);
        self.pool.push(Set {
            name: name.clone(),
            policy_name: Some(bucket.name.clone()),
            ty: "mark",
            elements: Elements::None,
            dynamic: Some(Dynamic {
                size: ONE_AND_DEAD,
                timeout: None,
            }),
        });
        self.buckets.known.insert((id, None), name.clone());
        name
    }

    fn keyed_set(&mut self, id: BucketId, bucket: &Bucket, family: Family) -> Arc<str> {
        if let Some(name) = self.buckets.known.get(&(id, Some(family))) {
            return name.clone();
        }
        self.features.add("stateful set elements", "5.7");
        let size = bucket.max.unwrap_or(self.options.max_set);
        let timeout = match bucket.rate {
            // The element lives as long as one of its flows.
            Rate::Flows { .. } => None,
            rate => Some(bucket.idle.unwrap_or(self.options.idle.max(refill(rate)))),
        };
        let kind = bucket.key.map_or(KeyKind::Source, |k| k.kind);
        let hash = short_hash(&format!(
            "{:?}",
            (bucket.rate, bucket.key, size, timeout, bucket.full)
        ));
        let wish = format!("{}_{}_{hash}", mangle(&bucket.name), suffix(family));
        let name = self.names.unique(ObjectKind::Set, &wish);
        self.pool.push(Set {
            name: name.clone(),
            policy_name: Some(bucket.name.clone()),
            ty: key_type(kind, family),
            elements: Elements::None,
            dynamic: Some(Dynamic { size, timeout }),
        });
        self.buckets.known.insert((id, Some(family)), name.clone());
        name
    }

    /// A rate in nft's words; reports those that the kernel cannot count.
    fn rate(&mut self, bucket: &Bucket, rate: Rate) -> Option<String> {
        match rate {
            Rate::Packets { count, per, burst } => {
                let (unit, seconds) = unit(per);
                if count > seconds * 1_000_000_000 || u32::try_from(burst).is_err() {
                    self.unsupported(Capability::HugeRate, bucket.span);
                    return None;
                }
                Some(format!("{count}/{unit} burst {burst} packets"))
            }
            Rate::Bytes { count, burst } => {
                // The kernel's bucket holds one second's worth and the burst.
                let Some(extra) = burst.checked_sub(count) else {
                    self.unsupported(Capability::ShortByteBurst, bucket.span);
                    return None;
                };
                if u32::try_from(extra).is_err() {
                    self.unsupported(Capability::HugeRate, bucket.span);
                    return None;
                }
                Some(match extra {
                    0 => format!("{count} bytes/second"),
                    extra => format!("{count} bytes/second burst {extra} bytes"),
                })
            }
            Rate::Flows { .. } => None,
        }
    }
}

/// `v4` or `v6`.
pub(crate) fn suffix(family: Family) -> &'static str {
    match family {
        Family::V4 => "v4",
        Family::V6 => "v6",
    }
}

/// The type of a set of keys.
pub(crate) fn key_type(kind: KeyKind, family: Family) -> &'static str {
    match (kind, family) {
        (KeyKind::Pair, Family::V4) => "ipv4_addr . ipv4_addr",
        (KeyKind::Pair, Family::V6) => "ipv6_addr . ipv6_addr",
        (_, Family::V4) => "ipv4_addr",
        (_, Family::V6) => "ipv6_addr",
    }
}

/// A packet's key as an expression.
pub(crate) fn expression(key: Key, family: Family) -> String {
    let one = |end: &str| match family {
        Family::V4 if key.v4 >= 32 => format!("ip {end}"),
        Family::V4 => {
            let mask = u32::MAX.checked_shl(32 - u32::from(key.v4)).unwrap_or(0);
            format!("ip {end} & {}", Ipv4Addr::from(mask))
        }
        Family::V6 if key.v6 >= 128 => format!("ip6 {end}"),
        Family::V6 => {
            let mask = u128::MAX.checked_shl(128 - u32::from(key.v6)).unwrap_or(0);
            format!("ip6 {end} & {}", Ipv6Addr::from(mask))
        }
    };
    match key.kind {
        KeyKind::Source => one("saddr"),
        KeyKind::Dest => one("daddr"),
        KeyKind::Pair => format!("{} . {}", one("saddr"), one("daddr")),
    }
}

impl Build<'_> {
    /// The name of a dynamic set of the policy for one family.
    pub(crate) fn dynamic_set(&mut self, id: usize, family: Family) -> Option<Arc<str>> {
        if let Some(name) = self.dynamic.get(&(id, family)) {
            return Some(name.clone());
        }
        let set = self.ir.dynamic.get(id)?;
        let size = set.max.unwrap_or(self.options.max_set);
        let elements = match family {
            Family::V4 => Elements::Hosts4(set.initial.v4.clone()),
            Family::V6 => Elements::Hosts6(set.initial.v6.clone()),
        };
        if elements.count() > u64::from(size) {
            let title = format!(
                "`@{}` begins with more addresses than it may hold",
                set.name
            );
            let help = "a dynamic set holds single addresses: give it a larger `max`";
            let error = Diagnostic::error(Code::SetOverflow, title, set.span).help(help);
            self.errors.push(error);
            return None;
        }
        if set.key == KeyKind::Pair && elements.count() > 0 {
            let title = format!(
                "`@{}` holds pairs of addresses and begins with single ones",
                set.name
            );
            self.errors
                .push(Diagnostic::error(Code::TypeMismatch, title, set.span));
            return None;
        }
        let hash = short_hash(&format!("{:?}", (set.key, size, set.idle)));
        let wish = format!("{}_{}_{hash}", mangle(&set.name), suffix(family));
        let name = self.names.unique(ObjectKind::Set, &wish);
        self.pool.push(Set {
            name: name.clone(),
            policy_name: Some(set.name.clone()),
            ty: key_type(set.key, family),
            elements,
            dynamic: Some(Dynamic {
                size,
                timeout: set.idle,
            }),
        });
        self.dynamic.insert((id, family), name.clone());
        Some(name)
    }

    /// The statement that puts a packet's key into a dynamic set.
    pub(crate) fn add_to(&mut self, id: usize, family: Family) -> Option<String> {
        let name = self.dynamic_set(id, family)?;
        let set = self.ir.dynamic.get(id)?;
        let key = expression(full_key(set.key), family);
        Some(match set.idle {
            Some(ms) => format!("update @{name} {{ {key} timeout {} }}", Time(ms)),
            None => format!("add @{name} {{ {key} }}"),
        })
    }

    /// The condition that a packet's key is in a dynamic set, or is not.
    pub(crate) fn in_dynamic(
        &mut self,
        id: usize,
        dest: bool,
        family: Family,
        answer: bool,
    ) -> Option<Match> {
        let name = self.dynamic_set(id, family)?;
        let kind = match self.ir.dynamic.get(id)?.key {
            KeyKind::Pair => KeyKind::Pair,
            _ if dest => KeyKind::Dest,
            _ => KeyKind::Source,
        };
        let key = expression(full_key(kind), family);
        let not = if answer { "" } else { "!= " };
        Some(Match::Ask(format!("{key} {not}@{name}")))
    }
}
