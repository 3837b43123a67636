//! What changes from packet to packet.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use super::bucket::{Meter, Tokens};
use super::dynamic::{Members, Told};
use super::flow::Flows;
use super::packet::Packet;
use super::sieve::Sieve;
use super::target::Turns;
use super::view::View;
use crate::ir::{BucketId, DynamicId, Ir, Mark, ProxyId, Stage, Verdict};
use crate::target::Options;

/// What a machine remembers: tokens, live flows, dynamic sets, whose turn it is, and whether
/// proxies listen.
#[derive(Clone, Debug)]
pub struct State {
    /// Whether decisions say how they came about. Judging is faster without.
    pub trace: bool,
    /// A quick look at the lists of the policy, if there are many packets to come. It changes no
    /// decision; traces do without.
    pub sieve: Option<Arc<Sieve>>,
    pub(super) buckets: Vec<Meter>,
    pub(super) sets: Vec<Members>,
    /// The answers of an oracle that has not seen a packet yet.
    oracle: Option<Oracle>,
    /// `None` with an oracle: then packets say themselves what the flow lookup finds.
    pub(super) flows: Option<Flows>,
    pub(super) turns: Turns,
    /// Proxies that do not listen.
    down: BTreeSet<ProxyId>,
    /// The source port of translated flows.
    pub(super) port: Option<u16>,
    /// The addresses of interfaces.
    addresses: BTreeMap<Arc<str>, Vec<IpAddr>>,
    /// The marks that later packets of a flow get again.
    pub(super) restored: Vec<Restored>,
}

/// What [`State::oracle`] was told.
#[derive(Clone, Debug)]
struct Oracle {
    tokens: Vec<Tokens>,
    members: BTreeMap<(DynamicId, bool), bool>,
}

impl Oracle {
    fn says(&self, set: DynamicId, dest: bool) -> bool {
        self.members.get(&(set, dest)).copied().unwrap_or(false)
    }
}

/// A mark that later packets of a flow get again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Restored {
    pub(super) mark: Mark,
    /// Only in the direction of the first packet: that of a route.
    pub(super) original: bool,
}

impl State {
    /// A machine that has just begun with `ir`: buckets are full, dynamic sets have their first
    /// elements, no flow is known, all proxies listen. What buckets and sets leave to the target is
    /// as a build has it by default.
    pub fn new(ir: &Ir) -> Self {
        Self::with_options(ir, &Options::default())
    }

    /// As [`State::new`], with a build's choices for buckets and dynamic sets that leave them open.
    pub fn with_options(ir: &Ir, options: &Options) -> Self {
        Self {
            buckets: ir
                .buckets
                .iter()
                .map(|b| Meter::new(b, options, None))
                .collect(),
            sets: ir
                .dynamic
                .iter()
                .map(|s| Members::new(s, options.max_set, None))
                .collect(),
            restored: restored(ir),
            ..Self::empty(Some(Flows::default()))
        }
    }

    /// A machine that answers as told and remembers nothing from one packet to the next.
    ///
    /// `tokens` says of each bucket, by its number, what it has for a packet (also for the rate of
    /// log entries, also for live flows): `true` is a token each time it asks, `false` is none. A
    /// bucket of which nothing is said has enough. `members` says of
    /// each dynamic set whether a packet's source (or pair), and its destination (`true`), is in
    /// it; without an answer it is not.
    ///
    /// What a rule adds is in the set for the later rules and stages that the same packet meets,
    /// whatever `members` says, as on a machine that remembers.
    ///
    /// There is no flow table. A packet says itself what the lookup finds, in its fields `ct.state`
    /// (new when absent), `ct.mark` and `ct.direction`; none is invalid.
    pub fn oracle<T: Into<Tokens>>(
        tokens: impl IntoIterator<Item = T>,
        members: BTreeMap<(DynamicId, bool), bool>,
    ) -> Self {
        let tokens = tokens.into_iter().map(Into::into).collect();
        Self {
            oracle: Some(Oracle { tokens, members }),
            ..Self::empty(None)
        }
    }

    fn empty(flows: Option<Flows>) -> Self {
        Self {
            trace: false,
            sieve: None,
            buckets: Vec::new(),
            sets: Vec::new(),
            oracle: None,
            flows,
            turns: Turns::default(),
            down: BTreeSet::new(),
            port: None,
            addresses: BTreeMap::new(),
            restored: Vec::new(),
        }
    }

    /// A packet of `ir` comes.
    pub(super) fn begin(&mut self, ir: &Ir, now: u64) {
        if let Some(oracle) = self.oracle.take() {
            let options = Options::default();
            let bucket = |(id, bucket)| {
                let told = oracle.tokens.get::<BucketId>(id).copied();
                Meter::new(bucket, &options, told.or(Some(Tokens::Enough)))
            };
            let set = |(id, set)| {
                let told = Told {
                    source: oracle.says(id, false),
                    dest: oracle.says(id, true),
                    now: BTreeSet::new(),
                };
                Members::new(set, options.max_set, Some(told))
            };
            self.buckets = ir.buckets.iter().enumerate().map(bucket).collect();
            self.sets = ir.dynamic.iter().enumerate().map(set).collect();
        }
        for bucket in &mut self.buckets {
            bucket.begin();
        }
        for set in &mut self.sets {
            set.begin(now);
        }
    }

    /// Whether a packet's source (or pair), or its destination, is in a dynamic set.
    pub(super) fn has(&self, set: DynamicId, view: &View, dest: bool) -> bool {
        match (&self.oracle, self.sets.get(set)) {
            (_, Some(members)) => members.has(view, dest),
            (Some(oracle), None) => oracle.says(set, dest),
            (None, None) => false,
        }
    }

    /// Says whether a proxy listens.
    pub fn set_proxy(&mut self, proxy: ProxyId, up: bool) {
        if up {
            self.down.remove(&proxy);
        } else {
            self.down.insert(proxy);
        }
    }

    /// Whether a proxy listens.
    pub fn is_proxy_up(&self, proxy: ProxyId) -> bool {
        !self.down.contains(&proxy)
    }

    /// Makes every choice among several targets fall on this one, counted from 0 (and from the
    /// beginning again after the last); `None` leaves it to the policy.
    pub fn choose_target(&mut self, index: Option<usize>) {
        self.turns.told = index;
    }

    /// Says from which port the next flows leave that get another source: which one it is, is the
    /// machine's matter. `None` is the flow's own.
    pub fn choose_port(&mut self, port: Option<u16>) {
        self.port = port;
    }

    /// Says that an interface has an address: the first of a family is that of masqueraded flows
    /// that leave by it, and of redirected ones that come in. Unless it is known, answers to these
    /// are expected at, or from, the address that the flow had before.
    pub fn add_address(&mut self, iface: &str, addr: IpAddr) {
        self.addresses.entry(iface.into()).or_default().push(addr);
    }

    /// An interface's address of the same family as `like`.
    pub(super) fn address(&self, iface: &str, like: IpAddr) -> Option<IpAddr> {
        let same = |a: &&IpAddr| a.is_ipv4() == like.is_ipv4();
        self.addresses.get(iface)?.iter().find(same).copied()
    }

    /// Ends the flow that `packet`, of either direction, belongs to. Nothing else ends one.
    pub fn forget(&mut self, packet: &Packet) {
        if let Some(flows) = &mut self.flows
            && let Some(found) = flows.find(packet, None)
        {
            flows.remove(found.id);
            for bucket in &mut self.buckets {
                bucket.leave(found.id);
            }
        }
    }

    /// The same machine, which knows no flow.
    #[must_use]
    pub fn without_flows(&self) -> Self {
        Self {
            trace: self.trace,
            sieve: self.sieve.clone(),
            buckets: self.buckets.clone(),
            sets: self.sets.clone(),
            oracle: self.oracle.clone(),
            flows: self.flows.as_ref().map(|_| Flows::default()),
            turns: self.turns.clone(),
            down: self.down.clone(),
            port: self.port,
            addresses: self.addresses.clone(),
            restored: self.restored.clone(),
        }
    }

    /// How many flows are known.
    pub fn flow_count(&self) -> usize {
        self.flows.as_ref().map_or(0, Flows::len)
    }
}

/// The marks that rules set, but for those of guard, which sees no flows, and of proxies. A mark
/// without a bit is not restored: it is what a packet has that comes in.
fn restored(ir: &Ir) -> Vec<Restored> {
    let mut out: Vec<Restored> = Vec::new();
    for (stage, rule) in ir.rules() {
        let mark = rule
            .effects
            .mark
            .filter(|m| stage != Stage::Guard && m.value & m.mask != 0);
        if let Some(mark) = mark
            && out.iter().all(|r| r.mark != mark)
        {
            let original = matches!(rule.verdict, Some(Verdict::Route { .. }));
            out.push(Restored { mark, original });
        }
    }
    out
}
