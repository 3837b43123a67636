//! Trials in which time passes, or limits of live flows are met.
//!
//! Nobody knows when exactly the kernel judges a packet: later than it was sent, and earlier than it was seen again.
//! So two interpreters judge it, with clocks between which the kernel's is: of one that is slow, no more time has
//! passed between two salvos than surely has, and of one that is fast, as much as may have. What they judge alike is
//! compared; with the first packet that they do not, the trial is over.

use std::collections::BTreeSet;
use std::thread::sleep;
use std::time::{Duration, Instant};

use fastrand::Rng;
use polc_compiler::ir::print::print;
use polc_compiler::ir::{DynamicSet, Ir, Rate, TimeUnit};

use crate::Error;
use crate::cast::{Memory, cast, salvo};
use crate::difference::Mismatch;
use crate::duel::{Duel, now};
use crate::traffic::{Attempt, Maker};

/// How many policies there are for one that is tried so.
const EVERY: u64 = 7;

/// How far the kernel's clock may be off: its ticks are 10 ms at most, and the interpreter counts whole milliseconds.
const TICK: Duration = Duration::from_millis(12);

/// Between salvos. A token comes every 500, 750, 1000 or 2000 ms: of none is there one within 120 ms of the second
/// or third salvo, whether its bucket was last full with the first or with the second.
const WAIT: Duration = Duration::from_millis(620);
const SALVOS: usize = 3;
const RATES: [(u64, TimeUnit); 4] = [
    (2, TimeUnit::Second),
    (60, TimeUnit::Minute),
    (30, TimeUnit::Minute),
    (80, TimeUnit::Minute),
];

/// When what is idle leaves.
const IDLE: u64 = 1_000;

/// The largest bursts, and limits of live flows.
const MOST: u8 = 3;

/// How often each packet is sent in a salvo: more than a bucket has for it.
const TIMES: usize = 5;

/// A salvo that takes longer is not compared: tokens may have come while it was sent.
const LATE: Duration = Duration::from_millis(200);

/// Between packets that ask limits of live flows: Netfilter counts those that it denied until its clock has
/// ticked.
const GAP: Duration = Duration::from_millis(25);

/// What such a trial is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    /// Buckets fill while one waits, and what is idle leaves dynamic sets.
    Time,
    /// Limits of live flows are met; time stands still.
    Flows,
}

impl Pace {
    /// What the policy of a seed is tried with, if it is tried so at all.
    pub(crate) fn of(ir: &Ir, seed: u64) -> Option<Self> {
        if seed % EVERY != 1 {
            return None;
        }
        let either = [Self::Flows, Self::Time];
        let mut fitting = either.into_iter().filter(|p| !p.memories(ir).is_empty());
        let first = fitting.next()?;
        // Of both, one or the other.
        let second = fitting.next().filter(|_| (seed / EVERY) % 2 == 1);
        Some(second.unwrap_or(first))
    }

    /// What is met in a trial.
    fn memories(self, ir: &Ir) -> BTreeSet<Memory> {
        let limits = ir.rules().flat_map(|(_, rule)| &rule.limits);
        let buckets = limits.map(|limit| limit.bucket).filter(|id| {
            let rate = ir.buckets.get(*id).map(|bucket| bucket.rate);
            match self {
                Self::Time => matches!(rate, Some(Rate::Packets { .. })),
                Self::Flows => matches!(rate, Some(Rate::Flows { .. })),
            }
        });
        let sets = ir.dynamic.iter().enumerate();
        let sets = sets.filter(|(_, set)| self == Self::Time && is_emptied(set));
        let buckets = buckets.map(Memory::Bucket);
        buckets.chain(sets.map(|(id, _)| Memory::Set(id))).collect()
    }

    /// Makes of a policy in which time stands still, made of `original`, one for such a trial.
    pub(crate) fn set(self, ir: &mut Ir, original: &Ir) {
        for (number, (bucket, original)) in ir.buckets.iter_mut().zip(&original.buckets).enumerate()
        {
            let size = 1 + u8::try_from(number % usize::from(MOST)).unwrap_or(0);
            match (self, original.rate) {
                (Self::Time, Rate::Packets { .. }) => {
                    let (count, per) = RATES
                        .iter()
                        .cycle()
                        .nth(number)
                        .copied()
                        .unwrap_or(RATES[0]);
                    let burst = size.into();
                    bucket.rate = Rate::Packets { count, per, burst };
                }
                (Self::Flows, Rate::Flows { .. }) => {
                    bucket.rate = Rate::Flows { count: size.into() };
                }
                _ => {}
            }
        }
        if self == Self::Time {
            for set in ir.dynamic.iter_mut().filter(|set| is_emptied(set)) {
                set.idle = Some(IDLE);
                // Targets take room from what is idle when they come to it.
                set.max = None;
            }
        }
    }

    /// Tries a policy that was made for it, until a packet is judged differently, or one is not clear.
    pub(crate) fn run(self, duel: &mut Duel<'_>, rng: &mut Rng) -> Result<Option<Mismatch>, Error> {
        duel.ends_unclear = true;
        let oracle = &mut duel.oracle;
        oracle.now = now();
        let ir = oracle.ir;
        let maker = Maker {
            net: duel.net,
            cutter: None,
        };
        let roles = cast(rng, &maker, oracle, &self.memories(ir));
        let mut clock = Clock::from(oracle.now);
        let mismatch = match self {
            Self::Time => {
                duel.ahead = Some(oracle.clone());
                pass(duel, rng, &roles, &mut clock)?
            }
            Self::Flows => {
                let attempts = salvo(rng, &duel.table, &roles, TIMES);
                one_by_one(duel, &attempts)?
            }
        };
        duel.totals.paced = duel.totals.packets;
        Ok(mismatch.map(|Mismatch { difference, text }| Mismatch {
            difference,
            text: format!("{text}\n{}", self.describe(ir, &clock)),
        }))
    }

    /// What is not as the policy says.
    fn describe(self, ir: &Ir, clock: &Clock) -> String {
        let text = print(ir);
        let lines = text.lines().map(str::trim);
        let changed = lines.filter(|l| l.starts_with("bucket ") || l.starts_with("dynamic "));
        let when = match self {
            Self::Time => format!("salvos at {:?}", clock.sent),
            Self::Flows => format!("each packet {GAP:?} after the one before"),
        };
        let changed: Vec<&str> = changed.collect();
        format!("  at a pace: {when}\n    {}", changed.join("\n    "))
    }
}

/// Whether elements leave a set while one waits. (Those that it begins with are older than the trial.)
fn is_emptied(set: &DynamicSet) -> bool {
    set.idle.is_some() && set.initial.is_empty()
}

/// Sends salvos and waits between them.
fn pass(
    duel: &mut Duel<'_>,
    rng: &mut Rng,
    roles: &[Attempt],
    clock: &mut Clock,
) -> Result<Option<Mismatch>, Error> {
    for number in 0..SALVOS {
        if number > 0 {
            sleep(WAIT);
        }
        let attempts = salvo(rng, &duel.table, roles, TIMES);
        let before = Instant::now();
        let volley = duel.fire(&attempts)?;
        let (slow, fast) = clock.advance((before, Instant::now()));
        if before.elapsed() > LATE {
            duel.totals.unclear += attempts.len() as u64;
            return Ok(None);
        }
        duel.oracle.now = slow;
        if let Some(ahead) = &mut duel.ahead {
            ahead.now = fast;
        }
        if let Err(mismatch) = duel.compare_all(&attempts, &volley) {
            return Ok(Some(mismatch));
        }
        if duel.totals.unclear > 0 {
            break;
        }
    }
    Ok(None)
}

/// Sends packets with some time between them.
fn one_by_one(duel: &mut Duel<'_>, attempts: &[Attempt]) -> Result<Option<Mismatch>, Error> {
    for attempt in attempts {
        sleep(GAP);
        let attempts = std::slice::from_ref(attempt);
        let volley = duel.fire(attempts)?;
        if let Err(mismatch) = duel.compare_all(attempts, &volley) {
            return Ok(Some(mismatch));
        }
        if duel.totals.unclear > 0 {
            break;
        }
    }
    Ok(None)
}

/// The slow clock and the fast one.
#[derive(Debug)]
struct Clock {
    /// When they began, in milliseconds since the Unix epoch.
    begin: u64,
    slow: Duration,
    fast: Duration,
    /// When the last salvo began and ended.
    last: Option<(Instant, Instant)>,
    /// What the clocks said when there were salvos, in milliseconds since the first.
    sent: Vec<(u64, u64)>,
}

impl Clock {
    fn from(begin: u64) -> Self {
        Self {
            begin,
            slow: Duration::ZERO,
            fast: Duration::ZERO,
            last: None,
            sent: Vec::new(),
        }
    }

    /// A salvo began and ended. What the clocks say of it, in milliseconds.
    fn advance(&mut self, (began, ended): (Instant, Instant)) -> (u64, u64) {
        if let Some((last_began, last_ended)) = self.last {
            let least = began.saturating_duration_since(last_ended);
            self.slow += least.saturating_sub(TICK);
            self.fast += ended.saturating_duration_since(last_began) + TICK;
        }
        self.last = Some((began, ended));
        let [slow, fast] = [self.slow, self.fast]
            .map(|clock| u64::try_from(clock.as_millis()).unwrap_or(u64::MAX));
        self.sent.push((slow, fast));
        let from = |passed| self.begin.saturating_add(passed);
        (from(slow), from(fast))
    }
}
