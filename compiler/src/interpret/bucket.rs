//! Rates: buckets of tokens, and limits of live flows. Exact, in integers.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use super::decision::RuleId;
use super::expiring::Expiring;
use super::flow::FlowId;
use super::target::prefix_of;
use super::view::View;
use crate::field::{IP_LENGTH, META_LENGTH};
use crate::ir::{Bucket, Key, KeyKind, Rate, Sense, TimeUnit};
use crate::target::Options;

/// What tells the tokens of one packet from those of another: nothing for a bucket without a key.
pub(super) type KeyOf = (Option<IpAddr>, Option<IpAddr>);

/// What a bucket has for a packet, as an oracle is told. Each time that the packet asks and there is
/// a token, it takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tokens {
    /// A token whenever it asks.
    Enough,
    /// So many tokens.
    Left(u32),
    /// A token each time it asks before this place, as far as the bucket's burst goes, and none from
    /// there on.
    Until(Ask),
}

impl Tokens {
    /// No token.
    pub const NONE: Self = Self::Left(0);
}

impl From<bool> for Tokens {
    fn from(within: bool) -> Self {
        if within { Self::Enough } else { Self::NONE }
    }
}

/// A place where a rule asks a bucket. A packet comes to these places in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ask {
    /// The rule.
    pub rule: RuleId,
    /// Which of its rates: an index into [`Rule::limits`](crate::ir::Rule::limits), or their number
    /// for the rate of its log entries.
    pub nth: usize,
}

/// What an oracle was told of a bucket.
#[derive(Clone, Copy, Debug)]
struct Told {
    tokens: Tokens,
    /// How many of them the packet under judgement has taken.
    taken: u32,
    /// How many there can be.
    most: u64,
}

impl Told {
    fn ask(&mut self, at: Ask) -> bool {
        let within = match self.tokens {
            Tokens::Enough => true,
            Tokens::Left(tokens) => self.taken < tokens,
            Tokens::Until(end) => at < end && u64::from(self.taken) < self.most,
        };
        self.taken += u32::from(within);
        within
    }
}

/// A bucket while packets pass.
///
/// Each key has its own tokens, or its own flows. There is room for `max` keys of each family, as a
/// target keeps one table for each. A key unused for `idle` is forgotten: its tokens are full
/// again when it comes back. A key of live flows stays as long as one of them does.
#[derive(Clone, Debug)]
pub(super) struct Meter {
    pub(super) name: Arc<str>,
    rate: Rate,
    key: Option<Key>,
    max: usize,
    full: Sense,
    /// What to answer, with nothing recorded from packet to packet.
    told: Option<Told>,
    tables: [Table; 2],
}

/// The keys of a family.
#[derive(Clone, Debug)]
struct Table {
    /// The tokens of each key, in parts: a token has as many parts as the rate's time has
    /// milliseconds, so that `count` parts come in each millisecond.
    tokens: Expiring<KeyOf, u128>,
    flows: BTreeMap<KeyOf, BTreeSet<FlowId>>,
}

impl Meter {
    pub(super) fn new(bucket: &Bucket, options: &Options, told: Option<Tokens>) -> Self {
        // Forgetting a key when its tokens are full again changes nothing.
        let idle = bucket
            .idle
            .unwrap_or_else(|| options.idle.max(refill(bucket.rate)));
        Self {
            name: Arc::clone(&bucket.name),
            rate: bucket.rate,
            key: bucket.key,
            max: usize::try_from(bucket.max.unwrap_or(options.max_set)).unwrap_or(usize::MAX),
            full: bucket.full,
            told: told.map(|tokens| Told {
                tokens,
                taken: 0,
                most: bucket.most_asks().unwrap_or(u64::MAX),
            }),
            tables: [Table::new(idle), Table::new(idle)],
        }
    }

    /// A packet comes.
    pub(super) fn begin(&mut self) {
        if let Some(told) = &mut self.told {
            told.taken = 0;
        }
    }

    /// Takes what the packet costs, and says whether it was there; for a limit of live flows,
    /// whether one more is within it. `flow` is the packet's flow if it has one already.
    pub(super) fn ask(&mut self, at: Ask, view: &View, flow: Option<FlowId>) -> bool {
        if let Some(told) = &mut self.told {
            return told.ask(at);
        }
        match self.rate {
            Rate::Flows { count } => self.ask_flows(view, flow, count),
            Rate::Packets { count, per, burst } => self.take(view, 1, count, millis(per), burst),
            Rate::Bytes { count, burst } => self.take(view, length(view), count, 1000, burst),
        }
    }

    /// Whether it limits live flows.
    pub(super) fn counts_flows(&self) -> bool {
        matches!(self.rate, Rate::Flows { .. })
    }

    fn take(&mut self, view: &View, cost: u64, count: u64, per: u64, burst: u64) -> bool {
        let (key, now) = (self.key_of(view), view.now);
        let most = u128::from(burst) * u128::from(per);
        let cost = u128::from(cost) * u128::from(per);
        let (max, full) = (self.max, self.full);
        let tokens = &mut self.table(view).tokens;
        tokens.expire(now);
        if tokens.len() >= max && !tokens.contains(&key, now) {
            return full == Sense::Within;
        }
        let (used, parts) = tokens.touch(key, now, || most);
        let gained = u128::from(now.saturating_sub(used)) * u128::from(count);
        *parts = parts.saturating_add(gained).min(most);
        match parts.checked_sub(cost) {
            Some(rest) => {
                *parts = rest;
                true
            }
            None => false,
        }
    }

    fn ask_flows(&mut self, view: &View, flow: Option<FlowId>, count: u32) -> bool {
        let key = self.key_of(view);
        let (max, full) = (self.max, self.full);
        let table = self.table(view);
        let room = table.flows.len() < max;
        match table.flows.get(&key) {
            Some(flows) => {
                let others = flows.iter().filter(|f| Some(**f) != flow).count();
                others < usize::try_from(count).unwrap_or(usize::MAX)
            }
            None if room => count > 0,
            None => full == Sense::Within,
        }
    }

    /// Counts `flow`, which has asked and was admitted.
    pub(super) fn join(&mut self, view: &View, flow: FlowId) {
        let (key, max) = (self.key_of(view), self.max);
        let table = self.table(view);
        if table.flows.contains_key(&key) || table.flows.len() < max {
            table.flows.entry(key).or_default().insert(flow);
        }
    }

    /// Forgets `flow`, which has ended.
    pub(super) fn leave(&mut self, flow: FlowId) {
        for table in &mut self.tables {
            table.flows.retain(|_, flows| {
                flows.remove(&flow);
                !flows.is_empty()
            });
        }
    }

    fn table(&mut self, view: &View) -> &mut Table {
        let [v4, v6] = &mut self.tables;
        // Without a key there is one bucket for both families.
        if self.key.is_none() || view.saddr.is_ipv4() {
            v4
        } else {
            v6
        }
    }

    fn key_of(&self, view: &View) -> KeyOf {
        let Some(key) = self.key else {
            return (None, None);
        };
        let part = |addr: IpAddr| prefix_of(addr, if addr.is_ipv4() { key.v4 } else { key.v6 });
        let (source, dest) = (part(view.saddr), part(view.daddr));
        match key.kind {
            KeyKind::Source => (Some(source), None),
            KeyKind::Dest => (None, Some(dest)),
            KeyKind::Pair => (Some(source), Some(dest)),
        }
    }
}

impl Table {
    fn new(idle: u64) -> Self {
        Self {
            tokens: Expiring::new(Some(idle)),
            flows: BTreeMap::new(),
        }
    }
}

/// The bytes of a packet. One that does not say has none.
fn length(view: &View) -> u64 {
    let packet = view.packet;
    packet
        .field(META_LENGTH)
        .or_else(|| packet.field(IP_LENGTH))
        .unwrap_or(0)
}

fn millis(per: TimeUnit) -> u64 {
    match per {
        TimeUnit::Second => 1000,
        TimeUnit::Minute => 60_000,
        TimeUnit::Hour => 3_600_000,
        TimeUnit::Day => 86_400_000,
    }
}

/// The milliseconds in which an empty bucket fills.
fn refill(rate: Rate) -> u64 {
    match rate {
        Rate::Packets { count, per, burst } => {
            burst.saturating_mul(millis(per)).div_ceil(count.max(1))
        }
        Rate::Bytes { count, burst } => burst.saturating_mul(1000).div_ceil(count.max(1)),
        Rate::Flows { .. } => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interpret::{Packet, Place};
    use crate::ir::Stage;
    use crate::source::{FileId, Span};
    use proptest::prelude::*;

    const HERE: Ask = Ask {
        rule: RuleId {
            stage: Stage::Filter,
            index: 0,
        },
        nth: 0,
    };

    fn packet() -> Packet {
        let addr: IpAddr = "192.0.2.1".parse().unwrap();
        Packet {
            ingress: Place::Host,
            egress: Place::Host,
            detour: Place::Host,
            saddr: addr,
            daddr: addr,
            proto: 17,
            fields: [].into(),
            principals: [].into(),
        }
    }

    fn meter(count: u64, per: TimeUnit, burst: u64) -> Meter {
        let span = Span {
            file: FileId::default(),
            start: 0,
            end: 0,
        };
        let bucket = Bucket {
            name: "b".into(),
            rate: Rate::Packets { count, per, burst },
            key: None,
            max: None,
            idle: None,
            full: Sense::Over,
            span,
        };
        Meter::new(&bucket, &Options::default(), None)
    }

    proptest! {
        /// In no stretch of time are there more tokens than the burst and what has come meanwhile,
        /// and whoever asks all the time gets all of these.
        #[test]
        fn tokens_are_counted_exactly(
            count in 1u64..2000,
            burst in 1u64..50,
            steps in proptest::collection::vec((0u64..3000, 0usize..70), 1..60),
        ) {
            let packet = packet();
            let mut meter = meter(count, TimeUnit::Minute, burst);
            // A model in fractions: parts of a token are counted in 1/60000.
            let (mut parts, most) = (u128::from(burst) * 60_000, u128::from(burst) * 60_000);
            let mut now = 0;
            for (wait, asks) in steps {
                now += wait;
                parts = most.min(parts + u128::from(wait) * u128::from(count));
                for _ in 0..asks {
                    let view = View::new(&packet, Stage::Filter, now);
                    let expected = parts >= 60_000;
                    parts -= if expected { 60_000 } else { 0 };
                    prop_assert_eq!(meter.ask(HERE, &view, None), expected);
                }
            }
        }
    }

    #[test]
    fn a_token_comes_at_its_millisecond() {
        let packet = packet();
        let at =
            |meter: &mut Meter, now| meter.ask(HERE, &View::new(&packet, Stage::Filter, now), None);
        let mut thirds = meter(3, TimeUnit::Second, 1);
        assert!(at(&mut thirds, 0) && !at(&mut thirds, 333) && at(&mut thirds, 334));
        // The bucket was full: nothing is left from the last.
        assert!(!at(&mut thirds, 667) && at(&mut thirds, 668));
        let mut day = meter(1, TimeUnit::Day, 1);
        assert!(at(&mut day, 0) && !at(&mut day, 86_399_999) && at(&mut day, 86_400_000));
        // The clock never runs backwards for a bucket.
        assert!(!at(&mut day, 0));
    }
}
