//! Limits of live flows.
//!
//! A key of a bucket has as many slots as there may be flows. A packet that could open a flow looks
//! for a slot that is free, and takes it. Nobody gives a slot back: one is free when the flow that has
//! it is not live any more, which the flow table knows. So whatever ends a flow, or keeps a packet
//! from opening one, frees the slot.
//!
//! | slot: key | | value, 48 bytes | |
//! |---|---|---|---|
//! | 0 | the packet's key; 4 bytes of 0 for a bucket without one | 0 | the key of the flow that has it |
//! | behind it | the slot's number, 4 bytes | 40 | when it was taken; in its lowest 15 bits by which processor, in the next one whether the flow's source is its higher end |
//!
//! A flow of the same ends and ports may come again, in another slot. So a slot belongs to a flow
//! only if that was opened in the moment in which the slot was taken. The flow table knows that
//! moment, too ([`STAMP`](super::filter::STAMP)); filter and egress may ask for what steer has opened a
//! little before.
//!
//! A flow begins to look at a slot that its key tells, and goes on in steps that become longer, which
//! lead to each slot once: as long as one of ten slots is free, it looks at ten of them. When none is
//! free, that is remembered with the key for [`HOLD`].
//!
//! A flow that steer sends elsewhere has another key from then on ([`live`]). Where both steer and those behind it ask,
//! it begins at a slot that its source tells, which stays the same, and so finds the one that it has.
//!
//! | key | | value, 16 bytes | |
//! |---|---|---|---|
//! | 0 | the packet's key | 0 | when it was last asked for, or known to have a live flow |
//! | | | 8 | the time until which no slot is looked for |

mod live;

use std::collections::BTreeMap;

use polc_bpf::asm::{Assembler, Label};
use polc_bpf::insn::Cond::{Eq, Ge, Gt, Ne};
use polc_bpf::insn::Reg::{R0, R1, R2, R3, R4, R6, R7, R8, R9, R10};
use polc_bpf::insn::Width::{DW, W};
use polc_bpf::insn::{AluOp, AtomicOp, Bits, FunctionId, Helper};

use self::live::Room;
use super::filter::{FLOW_KEY, Flows};
use super::record::{Item, Record};
use super::steer::Aliases;
use super::table::{self, NEW_ONLY};
use crate::field::SPORT;
use crate::ir::{BucketId, Ir, Key, Rule, Sense, Verdict};

/// The most live flows that a limit can allow: so many slots a packet may have to look at.
pub(super) const MOST: u32 = 65_536;

/// For how long a key that has no free slot is known to have none, in nanoseconds. However many keys
/// are at their limits, the packets of this time look at each flow of the flow table once at most.
const HOLD: i32 = 100_000_000;

/// For how long another processor may be at work on the packet for which it has taken a slot. The
/// clock moves in steps of up to 10 milliseconds.
const GRACE: i32 = 16_000_000;

/// The bits of a slot's time in which the processor's number is.
const PROCESSOR: i32 = 0x7fff;
/// Where the bit is that says whether the flow's source is its higher end.
const WAY_SHIFT: i32 = 15;
/// All of these.
const NOTES: i32 = 0xffff;

/// The error of an update that would not make a new entry: `-EEXIST`.
const EXISTS: i32 = -17;

/// The size of a slot's value: the flow's key, and when it was taken.
pub(super) const SLOT: i16 = FLOW_KEY + 8;
/// Where in a slot's value the time is.
const TAKEN: i16 = FLOW_KEY;

/// The size of a key's value.
pub(super) const SEEN: i16 = 16;
/// Where in a key's value the time is until which no slot is looked for.
const FULL_UNTIL: i16 = 8;

/// What a function answers.
const OVER: i32 = 0;
const WITHIN: i32 = 1;
const FULL: i32 = 2;

/// A limit, as packets of a family ask it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Limit {
    /// The bucket's name.
    pub(super) name: String,
    /// The names of the maps of slots and of keys.
    pub(super) slots: String,
    pub(super) keys: String,
    /// How many flows may be live.
    pub(super) count: u32,
    pub(super) key: Option<Key>,
    /// Whether packets are of IPv6.
    pub(super) v6: bool,
    /// What a new key counts as when there is no room.
    pub(super) full: Sense,
    /// The place of its last sweep's time.
    pub(super) sweep: i32,
    /// Where flows are asked for that steer sends elsewhere.
    pub(super) outside: Option<Outside>,
}

/// What there is to know of a limit that steer asks, in a policy that gives flows other destinations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Outside {
    /// The names of the maps of aliases.
    pub(super) aliases: [String; 2],
    /// Whether filter or egress ask, too.
    pub(super) shared: bool,
}

impl Outside {
    /// That of a limit, with tables for so many flows; `None` if the flow table knows all its flows by the keys with
    /// which they ask.
    pub(super) fn of(ir: &Ir, limit: BucketId, flows: u32) -> Option<Self> {
        let asks = |rules: &[Rule]| rules.iter().any(|r| r.buckets().any(|b| b == limit));
        let moves = |rule: &Rule| {
            matches!(
                rule.verdict,
                Some(Verdict::Redirect { .. } | Verdict::Dnat(_))
            )
        };
        (asks(&ir.steer) && ir.steer.iter().any(moves)).then(|| Self {
            aliases: Aliases::new(flows).names().map(str::to_owned),
            shared: asks(&ir.filter) || asks(&ir.egress),
        })
    }
}

/// The size of a packet's key in bytes.
pub(super) fn key_size(key: Option<Key>, v6: bool) -> i16 {
    key.map_or(4, |key| table::key_size(key.kind, v6))
}

/// Where a program has what it needs to ask for live flows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asking<'a> {
    pub(super) record: &'a Record,
    /// A place on the stack for the key of a slot, and what is behind it.
    pub(super) key: i16,
    /// Where on the stack the flow's key is, and behind it the time.
    pub(super) flow: i16,
    /// Where 1 is if the source is the higher end, in 32 bits.
    pub(super) way: i16,
    pub(super) functions: &'a Functions,
}

impl Limit {
    /// Where behind a packet's key the slot's number is.
    fn number_at(&self) -> i16 {
        key_size(self.key, self.v6)
    }

    /// Where the number is with which the search begins; the answer is behind it, and then room for
    /// a key's value, for a number and a time, and for the key that a flow has inside.
    fn start_at(&self) -> i16 {
        (self.number_at() + 4 + 7) / 8 * 8
    }

    fn answer_at(&self) -> i16 {
        self.start_at() + 4
    }

    fn new_at(&self) -> i16 {
        self.start_at() + 8
    }

    fn sweep_at(&self) -> i16 {
        self.new_at() + SEEN
    }

    fn inside_at(&self) -> i16 {
        self.sweep_at() + 8
    }

    /// How many bytes of the stack a slot's key and what is behind it take.
    pub(super) fn place_size(&self) -> i16 {
        self.inside_at() + self.outside.as_ref().map_or(0, |_| FLOW_KEY)
    }

    /// What its key is made of.
    pub(super) fn key_items(&self) -> &'static [Item] {
        self.key.map_or(&[], |key| table::key_items(key.kind))
    }

    /// Goes to `fails` when the limit is not as the rule wants it. The flow that the packet could open
    /// has taken a slot if it is within. The lowest bits of
    /// the time become the processor's number. Changes `R0` to `R5`.
    pub(super) fn ask(&self, asm: &mut Assembler, with: Asking, sense: Sense, fails: Label) {
        let Some(function) = with.functions.0.get(&self.slots) else {
            return;
        };
        asm.note(&format!("bucket {}", self.name));
        match self.key {
            Some(key) => table::write_key(asm, with.record, (key, self.v6), with.key),
            None => asm.store(W, R10, with.key, 0),
        }
        self.note(asm, with);
        match &self.outside {
            Some(outside) if outside.shared => hash_source(asm, with.record),
            _ => hash(asm, with.flow),
        }
        asm.store(W, R10, with.key + self.start_at(), R1);
        asm.mov(R1, R10);
        asm.add(R1, i32::from(with.key));
        asm.call_function(*function);
        match (sense, self.full) {
            (Sense::Within, Sense::Over) => asm.jump_if(Ne, R0, WITHIN, fails),
            (Sense::Within, Sense::Within) => asm.jump_if(Eq, R0, OVER, fails),
            (Sense::Over, Sense::Over) => asm.jump_if(Eq, R0, WITHIN, fails),
            (Sense::Over, Sense::Within) => asm.jump_if(Ne, R0, OVER, fails),
        }
    }

    /// Notes the processor in the time, and which end the source is.
    fn note(&self, asm: &mut Assembler, with: Asking) {
        asm.call(Helper::GetSmpProcessorId);
        asm.load(DW, R1, R10, with.flow + TAKEN);
        asm.alu(AluOp::And, R1, !NOTES);
        asm.alu(AluOp::And, R0, PROCESSOR);
        asm.alu(AluOp::Or, R1, R0);
        if self.outside.is_some() {
            asm.load(W, R0, R10, with.way);
            asm.alu(AluOp::And, R0, 1);
            asm.alu(AluOp::Lsh, R0, WAY_SHIFT);
            asm.alu(AluOp::Or, R1, R0);
        }
        asm.store(DW, R10, with.flow + TAKEN, R1);
    }
}

/// 2⁶⁴ divided by the golden ratio: its multiples are far from each other.
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

/// `R1 =` a number of 32 bits that the flow's key tells. Changes `R2` and `R3`.
fn hash(asm: &mut Assembler, flow: i16) {
    asm.load_wide(R2, FACTOR);
    asm.mov(R1, 0);
    for word in (0..FLOW_KEY).step_by(8) {
        asm.load(DW, R3, R10, flow + word);
        mix(asm);
    }
}

/// The same of a packet's source.
fn hash_source(asm: &mut Assembler, record: &Record) {
    asm.load_wide(R2, FACTOR);
    asm.mov(R1, 0);
    for upper in [false, true] {
        record.get_half(asm, R3, Item::Source, upper);
        mix(asm);
    }
    for item in [Item::Field(SPORT), Item::EchoId] {
        record.get(asm, R3, item);
        mix(asm);
    }
}

/// Adds `R3` to the number in `R1`, with the factor in `R2`.
fn mix(asm: &mut Assembler) {
    asm.alu(AluOp::Xor, R1, R3);
    asm.alu(AluOp::Mul, R1, R2);
    asm.mov(R3, R1);
    asm.alu(AluOp::Rsh, R3, 32);
    asm.alu(AluOp::Xor, R1, R3);
}

/// The functions of a program that ask for live flows, by the names of the limits' maps.
#[derive(Debug, Default)]
pub(super) struct Functions(BTreeMap<String, FunctionId>);

impl Functions {
    /// Writes a function for each limit. The program goes on with its entry. From the place of a
    /// slot's key on the stack to that of the flow's it is so many bytes.
    pub(super) fn write<'l>(
        asm: &mut Assembler,
        limits: impl IntoIterator<Item = &'l Limit>,
        flows: &Flows,
        to_flow: i16,
    ) -> Self {
        let limits: BTreeMap<&str, &Limit> =
            limits.into_iter().map(|l| (l.slots.as_str(), l)).collect();
        if limits.is_empty() {
            return Self::default();
        }
        let forget = table::forget(asm, "forget_key");
        let function = |(name, limit): (&str, &Limit)| {
            let search = Search {
                limit,
                flows,
                to_flow,
            };
            let functions = [search.take(asm), search.clear(asm), forget];
            let ask = asm.function(name);
            asm.begin(ask);
            search.ask(asm, functions);
            (name.to_owned(), ask)
        };
        let made = limits.into_iter().map(function).collect();
        asm.begin(FunctionId::ENTRY);
        Self(made)
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The search for a slot.
struct Search<'s> {
    limit: &'s Limit,
    flows: &'s Flows,
    to_flow: i16,
}

impl Search<'_> {
    /// From a pointer to a slot's key in `R1`, whose number is still open, to the answer.
    fn ask(&self, asm: &mut Assembler, [take, clear, forget]: [FunctionId; 3]) {
        let [again, known, search, over, full, no_room, end] =
            ["again", "known", "search", "over", "full", "no_room", "end"].map(|n| asm.label(n));
        let limit = self.limit;
        // The stack is small: all functions of a chain of calls share it.
        let [new, sweep] = [limit.new_at(), limit.sweep_at()];
        asm.mov(R6, R1);
        asm.load(DW, R7, R6, self.to_flow + TAKEN);
        asm.mov(R9, 0);
        asm.bind(again);
        address(asm, &limit.keys);
        asm.call(Helper::MapLookupElem);
        asm.jump_if(Ne, R0, 0, known);
        asm.store(DW, R6, new, R7);
        asm.store(DW, R6, new + FULL_UNTIL, 0);
        address(asm, &limit.keys);
        asm.mov(R3, R6);
        asm.add(R3, i32::from(new));
        asm.mov(R4, NEW_ONLY);
        asm.call(Helper::MapUpdateElem);
        asm.jump_if(Eq, R0, 0, search);
        asm.jump_if(Eq, R0, EXISTS, search);
        asm.jump(full);

        asm.bind(known);
        asm.store(DW, R0, 0, R7);
        asm.load(DW, R1, R0, FULL_UNTIL);
        asm.jump_if(Gt, R1, R7, over);
        asm.bind(search);
        asm.store(W, R6, limit.answer_at(), OVER);
        asm.mov(R1, limit.count.next_power_of_two().cast_signed());
        asm.load_function(R2, take);
        asm.mov(R3, R6);
        asm.mov(R4, 0);
        asm.call(Helper::Loop);
        asm.load(W, R0, R6, limit.answer_at());
        asm.jump_if(Eq, R0, WITHIN, end);
        asm.jump_if(Eq, R0, FULL, full);
        address(asm, &limit.keys);
        asm.call(Helper::MapLookupElem);
        asm.jump_if(Eq, R0, 0, over);
        asm.mov(R1, R7);
        asm.add(R1, HOLD);
        asm.store(DW, R0, FULL_UNTIL, R1);
        asm.bind(over);
        asm.mov(R0, OVER);
        asm.exit();

        asm.bind(full);
        asm.jump_if(Ne, R9, 0, no_room);
        asm.note("no room: forget what has ended");
        let turn = (limit.sweep, table::BETWEEN_SWEEPS);
        table::turn_to_sweep(asm, turn, (R6, sweep), no_room);
        asm.store(DW, R6, new, R7);
        asm.mov(R1, R7);
        asm.add(R1, -GRACE);
        asm.store(DW, R6, sweep, R1);
        for (map, function, time) in [(&limit.slots, clear, new), (&limit.keys, forget, sweep)] {
            asm.load_map(R1, map);
            asm.load_function(R2, function);
            asm.mov(R3, R6);
            asm.add(R3, i32::from(time));
            asm.mov(R4, 0);
            asm.call(Helper::ForEachMapElem);
        }
        asm.mov(R9, 1);
        asm.jump(again);
        asm.bind(no_room);
        asm.mov(R0, FULL);
        asm.bind(end);
        asm.exit();
    }

    /// A function that the kernel calls for each number in a row, until it returns 1: it tries to take
    /// the slot that the number leads to. `R2` points to the slot's key.
    fn take(&self, asm: &mut Assembler) -> FunctionId {
        let function = asm.function(&format!("take_{}", self.limit.slots));
        asm.begin(function);
        let [taken, own, next, done] = ["taken", "own", "next", "done"].map(|name| asm.label(name));
        let limit = self.limit;
        asm.mov(R6, R2);
        // Steps of 1, 2, 3 … among a power of two lead to each place once.
        asm.mov(R2, R1);
        asm.add(R2, 1);
        asm.alu(AluOp::Mul, R2, R1);
        asm.alu(AluOp::Rsh, R2, 1);
        asm.load(W, R1, R6, limit.start_at());
        asm.add(R2, R1);
        let places = limit.count.next_power_of_two();
        asm.alu(AluOp::And, R2, (places - 1).cast_signed());
        asm.jump_if(Ge, R2, limit.count.cast_signed(), next);
        asm.store(W, R6, limit.number_at(), R2);
        address(asm, &limit.slots);
        asm.call(Helper::MapLookupElem);
        asm.jump_if(Ne, R0, 0, taken);
        address(asm, &limit.slots);
        asm.mov(R3, R6);
        asm.add(R3, i32::from(self.to_flow));
        asm.mov(R4, NEW_ONLY);
        asm.call(Helper::MapUpdateElem);
        asm.mov(R1, WITHIN);
        asm.jump_if(Eq, R0, 0, done);
        asm.jump_if(Eq, R0, EXISTS, next);
        asm.mov(R1, FULL);
        asm.jump(done);

        asm.bind(taken);
        asm.mov(R7, R0);
        asm.load(DW, R8, R7, TAKEN);
        asm.load(DW, R9, R6, self.to_flow + TAKEN);
        let other = asm.label("other_flow");
        self.same(asm, R7, other);
        asm.jump(own);
        asm.bind(other);
        let room = Room::Here(limit.inside_at());
        self.live(asm, room, next, Some(own));
        asm.bind(own);
        asm.mov(R0, R8);
        asm.load(DW, R9, R6, self.to_flow + TAKEN);
        asm.atomic(AtomicOp::CmpXchg, Bits::B64, R7, TAKEN, R9);
        asm.jump_if(Ne, R0, R8, next);
        for word in (0..FLOW_KEY).step_by(8) {
            asm.load(DW, R1, R6, self.to_flow + word);
            asm.store(DW, R7, word, R1);
        }
        asm.mov(R1, WITHIN);
        asm.bind(done);
        asm.store(W, R6, limit.answer_at(), R1);
        asm.mov(R0, 1);
        asm.exit();
        asm.bind(next);
        asm.mov(R0, 0);
        asm.exit();
        function
    }

    /// A function that the kernel calls for each slot: deletes it when it is free, or notes that
    /// its key has a live flow. `R4` points to the time and the processor.
    fn clear(&self, asm: &mut Assembler) -> FunctionId {
        let function = asm.function(&format!("clear_{}", self.limit.slots));
        asm.begin(function);
        let [kept, done] = ["kept", "done"].map(|name| asm.label(name));
        // The slot's key goes where it was: `R6`.
        asm.mov(R6, R2);
        asm.mov(R7, R3);
        asm.load(DW, R8, R7, TAKEN);
        asm.load(DW, R9, R4, 0);
        let room = Room::Noted(self.limit.inside_at() - self.limit.new_at());
        if self.limit.outside.is_some() {
            room.note(asm, R4);
        }
        self.live(asm, room, kept, None);
        address(asm, &self.limit.slots);
        asm.call(Helper::MapDeleteElem);
        asm.jump(done);
        asm.bind(kept);
        address(asm, &self.limit.keys);
        asm.call(Helper::MapLookupElem);
        asm.jump_if(Eq, R0, 0, done);
        asm.store(DW, R0, 0, R9);
        asm.bind(done);
        asm.mov(R0, 0);
        asm.exit();
        function
    }
}

/// `R1 =` a map, `R2 = R6`, where the key is.
fn address(asm: &mut Assembler, map: &str) {
    asm.load_map(R1, map);
    asm.mov(R2, R6);
}
