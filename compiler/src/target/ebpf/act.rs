//! What follows from an answer: counters, and the verdict.
//!
//! An answer is the number of an action and, above it, that of the rule's counter; or [`MORE`] and the
//! number of a rule that has to do something before there is an answer.

use std::collections::BTreeMap;

use polc_bpf::asm::{Assembler, Label};
use polc_bpf::insn::Cond::{Eq, Ne};
use polc_bpf::insn::Reg::{R0, R1, R2, R7, R10};
use polc_bpf::insn::Width::{DW, W};
use polc_bpf::insn::{AluOp, Helper};

use super::record::{Item, Record};
use crate::field::META_LENGTH;
use crate::ir::{Reject, Rule, Verdict};

/// The map with packets and bytes of each counter.
pub(super) const COUNTERS: &str = "counters";

/// How many bits of an answer say which action it is.
const ACTION_BITS: i32 = 8;

/// The action of answers with the number of a rule that does something before it decides.
const MORE: u32 = (1 << ACTION_BITS) - 1;

/// The answer with the number of such a rule.
pub(super) fn more(rule: u32) -> u32 {
    MORE | rule << ACTION_BITS
}

/// Goes to `decided` unless the answer in `R0` is one with the number of a rule that does something
/// before: then that number is in `R0`.
pub(super) fn jump_unless_more(asm: &mut Assembler, decided: Label) {
    asm.mov(R1, R0);
    asm.alu(AluOp::And, R1, (1 << ACTION_BITS) - 1);
    asm.jump_if(Ne, R1, i32::try_from(MORE).unwrap_or(-1), decided);
    asm.alu(AluOp::Rsh, R0, ACTION_BITS);
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Outcome {
    /// It goes on.
    Pass,
    /// It goes on, and is not tracked.
    Untrack,
    /// It is dropped.
    Drop,
    /// It is dropped, and answered.
    Reject(Reject),
    /// Steer: it goes where it says.
    Direct {
        /// Whether its flow is admitted.
        admit: bool,
    },
    /// Steer: to this host, at the port of the choice.
    Redirect,
    /// Steer: to the target that was chosen.
    Dnat {
        /// Whether its flow is admitted.
        admit: bool,
    },
    /// Steer: to the proxy of that number.
    Proxy(usize),
    /// Steer: by another routing table.
    Route {
        /// The table.
        table: u32,
        /// Whether its flow is admitted.
        admit: bool,
    },
    /// Egress: from the source that was chosen.
    Snat,
    /// Egress: from the address of the interface by which it leaves.
    Masquerade,
}

impl Outcome {
    /// What a rule decides; `None` for one that does not.
    pub(super) fn of(rule: &Rule) -> Option<Self> {
        let admit = rule.admit;
        Some(match rule.verdict.as_ref()? {
            Verdict::Allow => Self::Pass,
            Verdict::Notrack => Self::Untrack,
            Verdict::Deny => Self::Drop,
            Verdict::Reject(reject) => Self::Reject(*reject),
            Verdict::Direct => Self::Direct { admit },
            Verdict::Redirect { .. } => Self::Redirect,
            Verdict::Dnat(_) => Self::Dnat { admit },
            Verdict::Proxy(proxy) => Self::Proxy(*proxy),
            Verdict::Route { table } => Self::Route {
                table: *table,
                admit,
            },
            Verdict::Snat(_) => Self::Snat,
            Verdict::Masquerade => Self::Masquerade,
        })
    }
}

/// What happens to a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Action {
    outcome: Outcome,
    /// Whether a counter counts it.
    counts: bool,
}

/// The actions of a program.
#[derive(Debug)]
pub(super) struct Actions {
    numbers: BTreeMap<Action, u32>,
}

impl Default for Actions {
    /// One lets the packet go on and does nothing else.
    fn default() -> Self {
        let action = Action {
            outcome: Outcome::Pass,
            counts: false,
        };
        Self {
            numbers: [(action, PASS)].into(),
        }
    }
}

/// The answer for what goes on because nobody says anything else.
pub(super) const PASS: u32 = 1;

impl Actions {
    /// The answer that means an action, with a counter if it counts.
    pub(super) fn answer(&mut self, outcome: Outcome, counter: Option<u32>) -> u32 {
        let action = Action {
            outcome,
            counts: counter.is_some(),
        };
        // 0 is no answer.
        let next = u32::try_from(self.numbers.len() + 1).unwrap_or(u32::MAX);
        let number = *self.numbers.entry(action).or_insert(next);
        number | counter.unwrap_or(0) << ACTION_BITS
    }

    /// What becomes of packets.
    pub(super) fn outcomes(&self) -> impl Iterator<Item = Outcome> {
        self.numbers.keys().map(|action| action.outcome)
    }

    /// Writes what follows from the answer in `R0`; `key` is a place on the stack. `end` writes what
    /// an outcome is, in instructions that do not go on.
    pub(super) fn write(
        &self,
        asm: &mut Assembler,
        record: &Record,
        key: i16,
        end: &dyn Fn(&mut Assembler, Outcome),
    ) {
        asm.mov(R7, R0);
        asm.alu(AluOp::Rsh, R7, ACTION_BITS);
        asm.alu(AluOp::And, R0, (1 << ACTION_BITS) - 1);
        let labels: Vec<(Action, Label)> = self
            .numbers
            .iter()
            .map(|(action, number)| {
                let label = asm.label("action");
                asm.jump_if(Eq, R0, i32::try_from(*number).unwrap_or(-1), label);
                (*action, label)
            })
            .collect();
        // No answer has another action.
        end(asm, Outcome::Drop);
        for (action, label) in labels {
            asm.bind(label);
            if action.counts {
                count(asm, record, key);
            }
            end(asm, action.outcome);
        }
    }
}

/// Counts the packet under the number in `R7`; `key` is a place on the stack. Each processor has
/// counters of its own, so that nothing needs to be atomic.
pub(super) fn count(asm: &mut Assembler, record: &Record, key: i16) {
    let missing = asm.label("uncounted");
    asm.store(W, R10, key, R7);
    asm.load_map(R1, COUNTERS);
    asm.mov(R2, R10);
    asm.add(R2, i32::from(key));
    asm.call(Helper::MapLookupElem);
    asm.jump_if(Eq, R0, 0, missing);
    asm.load(DW, R1, R0, 0);
    asm.add(R1, 1);
    asm.store(DW, R0, 0, R1);
    record.get(asm, R2, Item::Field(META_LENGTH));
    asm.load(DW, R1, R0, 8);
    asm.add(R1, R2);
    asm.store(DW, R0, 8, R1);
    asm.bind(missing);
}
