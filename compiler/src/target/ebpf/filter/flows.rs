//! The flow table: two maps, so that a flood of flows that nobody answers pushes out no flow that
//! was answered.
//!
//! A flow's key is the same for both directions: its ends are ordered. A flow begins in the map of
//! fresh flows, and moves to the other one with the packet that shows that both ends take part.
//! Both forget the flow that was not used for longest when they are full.
//!
//! | key, 40 bytes | | value, 16 bytes | |
//! |---|---|---|---|
//! | 0 | lower address, its lower half first | 0 | the time until which it is known, in nanoseconds of the monotonic clock |
//! | 16 | higher address | 8 | mark |
//! | 32 | port of the lower end | 12 | flags |
//! | 34 | port of the higher end | | |
//! | 36 | protocol | | the upper 24 bits: when it was opened, in units of 2²⁰ nanoseconds |
//! | 37 | 1 for IPv6; 2 if the higher end asks (ICMP) | | |
//!
//! Values of policies that steer, or change sources, go on:
//!
//! | value, 56 bytes | |
//! |---|---|
//! | 16 | what was decided ([`decision`](super::decision)) |
//! | 20 | the port that the flow was opened to, and that it leaves from |
//! | 24 | the address that it was opened to, lower half first |
//! | 40 | the address that it leaves from |
//!
//! The key is then of packets as the filter sees them: their destination is what steer has made of it, their
//! source what it was before egress. What they look like outside is in two more maps, the aliases.
//!
//! ICMP has its identifier for the first port, and the question's type and code for the second. The
//! fragments of an admitted packet are among the fresh flows, too: their key has 0x80 set at 37,
//! source before destination, and the number of the packet at 32; IPv6 has no protocol there.

use polc_bpf::asm::{Assembler, Label};
use polc_bpf::insn::Cond::{Eq, Gt, Le, Lt, Ne};
use polc_bpf::insn::Reg::{R0, R1, R2, R3, R4, R5, R7, R8, R9, R10};
use polc_bpf::insn::Width::{B, DW, W};
use polc_bpf::insn::{AluOp, Helper, Reg};
use polc_bpf::map::{Map, MapType, Shape};

use super::super::hook::Hook;
use super::super::record::{Item, Record};
use super::decision::{DECISION, PENDING};
use super::stack::Stack;
use crate::field::{DPORT, Field, ICMP, ICMP_CODE, ICMP_TYPE, ICMPV6, SPORT};

/// The size of a key.
pub(in super::super) const KEY: i16 = 40;
/// The size of a value.
const VALUE: i16 = 16;
/// The size of a value with what was decided.
const LONG_VALUE: i16 = 56;

/// Where in a value the time is.
pub(in super::super) const UNTIL: i16 = 0;
/// Where in a value the mark is.
pub(in super::super) const MARK: i16 = 8;
/// Where in a value the flags are.
pub(in super::super) const FLAGS: i16 = 12;

/// The higher end has opened the flow.
pub(in super::super) const BY_HIGHER: i32 = 1;
/// The other end has answered.
pub(super) const REPLIED: i32 = 2;
/// The flow was rejected; only the answer to it passes.
pub(in super::super) const REJECTED: i32 = 4;
/// One end has reset the connection.
pub(super) const RESET: i32 = 8;
/// The lower end has finished; the higher one's flag is the next.
pub(super) const FIN_LOWER: i32 = 0x10;
/// Both ends have finished.
pub(in super::super) const FINISHED: i32 = 0x30;
/// The end that has not opened the connection has reset it. It does not hurt itself: the other one
/// could forge a reset that its peer takes no notice of.
pub(in super::super) const CUT: i32 = 0x40;

/// The filter has admitted the flow: steer alone has not.
pub(super) const FILTERED: i32 = 0x80;

/// Where in the flags the time begins at which the flow was opened.
pub(in super::super) const STAMP_SHIFT: i32 = 8;
/// How many bits of a time in nanoseconds it leaves away.
pub(in super::super) const STAMP_CLOCK: i32 = 20;
/// The bits of the rest that it has.
pub(in super::super) const STAMP: i32 = 0xff_ffff;

const SECOND: u64 = 1_000_000_000;

/// For how long fragments may follow the first.
const FRAGMENTS: u64 = 30 * SECOND;

/// The flag of a key of fragments.
const FRAGMENT_KEY: u64 = 0x80 << 40;

/// The two maps.
#[derive(Clone, Debug)]
pub(in super::super) struct Flows {
    fresh: String,
    settled: String,
    size: u32,
    /// Whether values say what was decided.
    decides: bool,
}

impl Flows {
    /// A table for so many flows of each kind; `decides` is whether values say what was decided. Its maps
    /// carry both in their names: other tables are others.
    pub(in super::super) fn new(size: u32, decides: bool) -> Self {
        let size = size.max(1);
        let kind = if decides { "d" } else { "" };
        Self {
            fresh: format!("fresh{kind}_{size:x}"),
            settled: format!("flows{kind}_{size:x}"),
            size,
            decides,
        }
    }

    /// The size of a value.
    pub(in super::super) fn value(&self) -> i16 {
        if self.decides { LONG_VALUE } else { VALUE }
    }

    /// Whether values say what was decided.
    pub(in super::super) fn decides(&self) -> bool {
        self.decides
    }

    /// The maps.
    pub(super) fn maps(&self) -> [Map; 2] {
        let (key, value) = (
            KEY.unsigned_abs().into(),
            self.value().unsigned_abs().into(),
        );
        let shape = Shape::new(MapType::LruHash, key, value, self.size);
        [&self.fresh, &self.settled].map(|name| Map::new(name, shape))
    }

    /// Goes to `found` with the flow of the key in `R7`, and whether it has settled in `R8`, or to
    /// `unknown`. The time is noted.
    pub(in super::super) fn find(
        &self,
        asm: &mut Assembler,
        stack: &Stack,
        found: Label,
        unknown: Label,
    ) {
        time(asm, stack);
        self.look_up(asm, stack, found, unknown);
    }

    /// As [`Flows::find`], at the time that was noted.
    pub(in super::super) fn look_up(
        &self,
        asm: &mut Assembler,
        stack: &Stack,
        found: Label,
        unknown: Label,
    ) {
        for (map, settled) in [(&self.settled, 1), (&self.fresh, 0)] {
            let not_here = asm.label("not_here");
            asm.mov(R8, settled);
            address(asm, map, stack);
            asm.call(Helper::MapLookupElem);
            asm.jump_if(Eq, R0, 0, not_here);
            asm.mov(R7, R0);
            stack.now.get(asm, R1);
            asm.load(DW, R2, R7, UNTIL);
            asm.jump_if(Gt, R2, R1, found);
            asm.bind(not_here);
        }
        asm.jump(unknown);
    }

    /// The names of the maps.
    pub(in super::super) fn names(&self) -> [&str; 2] {
        [&self.settled, &self.fresh]
    }

    /// Writes a fresh flow with the key, the time until which it is known in `R1`, its flags in `R2`
    /// and the mark that was noted. Goes to `full` if that fails. An earlier flow of the same ends is
    /// over, and would hide this one if it was left among those that have settled. What steer has decided
    /// of the flow stays. Changes `R7`.
    pub(super) fn open(&self, asm: &mut Assembler, stack: &Stack, full: Label) {
        asm.alu(AluOp::Or, R2, FILTERED);
        begin(asm, stack);
        let opened = asm.label("opened");
        if self.decides {
            let new = asm.label("new_flow");
            address(asm, &self.fresh, stack);
            asm.call(Helper::MapLookupElem);
            asm.jump_if(Eq, R0, 0, new);
            asm.load(W, R1, R0, DECISION);
            asm.jump_if(Eq, R1, 0, new);
            asm.mov(R2, R1);
            asm.alu(AluOp::And, R2, PENDING);
            asm.jump_if(Eq, R2, 0, new);
            asm.alu(AluOp::Xor, R1, PENDING);
            asm.store(W, R0, DECISION, R1);
            // The flags are its first byte: the moment in which steer has opened it stays.
            for (width, at) in [(DW, UNTIL), (W, MARK), (B, FLAGS)] {
                asm.load(width, R1, R10, stack.value + at);
                asm.store(width, R0, at, R1);
            }
            asm.jump(opened);
            asm.bind(new);
            for word in (DECISION..self.value()).step_by(8) {
                asm.store(DW, R10, stack.value + word, 0);
            }
        }
        update(asm, &self.fresh, stack);
        asm.jump_if(Ne, R0, 0, full);
        self.forget_settled(asm, stack);
        asm.bind(opened);
    }

    /// Writes a fresh flow of the whole value that is on the stack. Goes to `full` if that fails.
    pub(in super::super) fn decide(&self, asm: &mut Assembler, stack: &Stack, full: Label) {
        update(asm, &self.fresh, stack);
        asm.jump_if(Ne, R0, 0, full);
        self.forget_settled(asm, stack);
    }

    /// Forgets a fresh flow.
    fn forget(&self, asm: &mut Assembler, stack: &Stack) {
        address(asm, &self.fresh, stack);
        asm.call(Helper::MapDeleteElem);
    }

    /// Forgets what steer has decided of a flow that the filter does not admit.
    pub(super) fn forget_pending(&self, asm: &mut Assembler, stack: &Stack) {
        let kept = asm.label("kept");
        address(asm, &self.fresh, stack);
        asm.call(Helper::MapLookupElem);
        asm.jump_if(Eq, R0, 0, kept);
        asm.load(W, R1, R0, DECISION);
        asm.alu(AluOp::And, R1, PENDING);
        asm.jump_if(Eq, R1, 0, kept);
        self.forget(asm, stack);
        asm.bind(kept);
    }

    /// Forgets the flow of the same key that has settled and ended. It would be found first.
    fn forget_settled(&self, asm: &mut Assembler, stack: &Stack) {
        let none = asm.label("none_before");
        address(asm, &self.settled, stack);
        asm.call(Helper::MapLookupElem);
        asm.jump_if(Eq, R0, 0, none);
        address(asm, &self.settled, stack);
        asm.call(Helper::MapDeleteElem);
        asm.bind(none);
    }

    /// Moves the flow in `R7` to those that have settled.
    pub(in super::super) fn settle(&self, asm: &mut Assembler, stack: &Stack) {
        let stays = asm.label("stays");
        for at in (0..self.value()).step_by(8) {
            asm.load(DW, R1, R7, at);
            asm.store(DW, R10, stack.value + at, R1);
        }
        update(asm, &self.settled, stack);
        asm.jump_if(Ne, R0, 0, stays);
        address(asm, &self.fresh, stack);
        asm.call(Helper::MapDeleteElem);
        asm.bind(stays);
    }

    /// Lets the fragments behind this one pass.
    pub(super) fn expect_fragments(&self, asm: &mut Assembler, stack: &Stack) {
        fragment_key(asm, stack);
        time(asm, stack);
        asm.load_wide(R1, FRAGMENTS);
        asm.add(R1, R0);
        asm.store(DW, R10, stack.value + UNTIL, R1);
        for word in (MARK..self.value()).step_by(8) {
            asm.store(DW, R10, stack.value + word, 0);
        }
        update(asm, &self.fresh, stack);
    }

    /// Goes to `expected` with a fragment whose first one has passed.
    pub(super) fn is_expected(&self, asm: &mut Assembler, stack: &Stack, expected: Label) {
        let missing = asm.label("no_first_fragment");
        fragment_key(asm, stack);
        time(asm, stack);
        address(asm, &self.fresh, stack);
        asm.call(Helper::MapLookupElem);
        asm.jump_if(Eq, R0, 0, missing);
        stack.now.get(asm, R1);
        asm.load(DW, R2, R0, UNTIL);
        asm.jump_if(Gt, R2, R1, expected);
        asm.bind(missing);
    }
}

/// The beginning of a value: the time until which it is known is in `R1`, its flags are in `R2`, the mark
/// was noted.
pub(in super::super) fn begin(asm: &mut Assembler, stack: &Stack) {
    asm.store(DW, R10, stack.value + UNTIL, R1);
    stack.mark.get(asm, R1);
    asm.store(W, R10, stack.value + MARK, R1);
    stack.now.get(asm, R1);
    asm.alu(AluOp::Rsh, R1, STAMP_CLOCK);
    asm.alu32(AluOp::Lsh, R1, STAMP_SHIFT);
    asm.alu(AluOp::Or, R2, R1);
    asm.store(W, R10, stack.value + FLAGS, R2);
}

/// Makes the key of a packet that nobody has looked up, and notes which end has sent it and the time.
pub(super) fn name(asm: &mut Assembler, hook: Hook, stack: &Stack) {
    key(asm, stack, &stack.record);
    hook.hide(asm, R9, R1);
    stack.way.set(asm, R9);
    time(asm, stack);
}

/// Notes the time, also in `R0`.
fn time(asm: &mut Assembler, stack: &Stack) {
    asm.call(Helper::KtimeGetCoarseNs);
    stack.now.set(asm, R0);
}

/// `R1 =` a map, `R2 =` the flow's key.
fn address(asm: &mut Assembler, map: &str, stack: &Stack) {
    asm.load_map(R1, map);
    asm.mov(R2, R10);
    asm.add(R2, i32::from(stack.key));
}

/// Writes the value under the flow's key. `R0` is not 0 if that fails.
fn update(asm: &mut Assembler, map: &str, stack: &Stack) {
    address(asm, map, stack);
    asm.mov(R3, R10);
    asm.add(R3, i32::from(stack.value));
    asm.mov(R4, 0);
    asm.call(Helper::MapUpdateElem);
}

/// Makes the key of a packet that is known in `record`, and `R9 =` 1 if its source is the higher
/// end.
pub(in super::super) fn key(asm: &mut Assembler, stack: &Stack, record: &Record) {
    let [higher, lower, done, ports] =
        ["higher", "lower", "keyed", "ports"].map(|name| asm.label(name));
    addresses(asm, record);
    record.get(asm, R5, Item::Protocol);
    stack.family.get(asm, R0);
    let [echo, echo6] = ["echo", "echo"].map(|name| asm.label(name));
    asm.jump_if(Ne, R0, 0, echo6);
    asm.jump_if(Ne, R5, number(ICMP), ports);
    asm.jump(echo);
    asm.bind(echo6);
    asm.jump_if(Ne, R5, number(ICMPV6), ports);
    asm.bind(echo);
    question(asm, record);
    asm.jump_if(Gt, R2, R4, higher);
    asm.jump_if(Lt, R2, R4, lower);
    asm.jump_if(Gt, R1, R3, higher);
    asm.jump_if(Lt, R1, R3, lower);
    // What an address says to itself has one end.
    asm.mov(R9, 0);
    asm.jump(lower);

    asm.bind(ports);
    port(asm, R7, record, SPORT);
    port(asm, R8, record, DPORT);
    asm.mov(R9, 0);
    let [swap, keep] = ["swap", "keep"].map(|name| asm.label(name));
    asm.jump_if(Gt, R2, R4, swap);
    asm.jump_if(Lt, R2, R4, keep);
    asm.jump_if(Gt, R1, R3, swap);
    asm.jump_if(Lt, R1, R3, keep);
    asm.jump_if(Le, R7, R8, keep);
    asm.bind(swap);
    asm.mov(R0, R7);
    asm.mov(R7, R8);
    asm.mov(R8, R0);
    asm.jump(higher);
    asm.bind(keep);
    asm.jump(lower);

    // `R9` is 1 if this is an answer (ICMP).
    asm.bind(higher);
    let at = stack.key;
    for (offset, reg) in [(0, R3), (8, R4), (16, R1), (24, R2)] {
        asm.store(DW, R10, at + offset, reg);
    }
    asm.mov(R0, R9);
    asm.alu(AluOp::Xor, R0, 1);
    asm.mov(R9, 1);
    asm.jump(done);
    asm.bind(lower);
    for (offset, reg) in [(0, R1), (8, R2), (16, R3), (24, R4)] {
        asm.store(DW, R10, at + offset, reg);
    }
    asm.mov(R0, R9);
    asm.mov(R9, 0);
    asm.bind(done);
    rest(asm, stack, record);
}

/// The part of a key behind the addresses: ports in `R7` and `R8`, whether the higher end asks in
/// `R0`.
fn rest(asm: &mut Assembler, stack: &Stack, record: &Record) {
    let told = asm.label("asker_told");
    asm.alu(AluOp::Lsh, R8, 16);
    asm.alu(AluOp::Or, R7, R8);
    record.get(asm, R5, Item::Protocol);
    stack.family.get(asm, R2);
    asm.mov(R1, R2);
    // Only ICMP, whose number depends on the family, has one end that asks.
    asm.alu(AluOp::Mul, R1, number(ICMPV6) - number(ICMP));
    asm.add(R1, number(ICMP));
    asm.jump_if(Eq, R1, R5, told);
    asm.mov(R0, 0);
    asm.bind(told);
    asm.alu(AluOp::Lsh, R0, 1);
    asm.alu(AluOp::Or, R2, R0);
    asm.alu(AluOp::Lsh, R2, 40);
    asm.alu(AluOp::Lsh, R5, 32);
    asm.alu(AluOp::Or, R7, R5);
    asm.alu(AluOp::Or, R7, R2);
    asm.store(DW, R10, stack.key + 32, R7);
}

/// `R1`, `R2` = source, `R3`, `R4` = destination, lower halves first.
fn addresses(asm: &mut Assembler, record: &Record) {
    for (item, low, high) in [(Item::Source, R1, R2), (Item::Destination, R3, R4)] {
        record.get_half(asm, low, item, false);
        record.get_half(asm, high, item, true);
    }
}

/// `R7 =` the identifier, `R8 =` type and code of the question, `R9 =` 1 for an answer. The protocol
/// is in `R5`.
fn question(asm: &mut Assembler, record: &Record) {
    const ANSWERS: [(i32, i32); 4] = [(0, 8), (14, 13), (16, 15), (18, 17)];
    const ANSWERS6: [(i32, i32); 2] = [(129, 128), (140, 139)];
    let [six, asked] = ["six", "asked"].map(|name| asm.label(name));
    record.get(asm, R7, Item::EchoId);
    port(asm, R8, record, ICMP_TYPE);
    asm.mov(R9, 0);
    let answers = |asm: &mut Assembler, pairs: &[(i32, i32)]| {
        for (answer, question) in pairs {
            let other = asm.label("other_type");
            asm.jump_if(Ne, R8, *answer, other);
            asm.mov(R8, *question);
            asm.mov(R9, 1);
            asm.jump(asked);
            asm.bind(other);
        }
        asm.jump(asked);
    };
    asm.jump_if(Ne, R5, number(ICMP), six);
    answers(asm, &ANSWERS);
    asm.bind(six);
    answers(asm, &ANSWERS6);
    asm.bind(asked);
    asm.alu(AluOp::Lsh, R8, 8);
    port(asm, R0, record, ICMP_CODE);
    asm.alu(AluOp::And, R0, 0xff);
    asm.alu(AluOp::Or, R8, R0);
    asm.alu(AluOp::And, R8, 0xffff);
}

/// A field of 16 bits; 0 when the packet does not have it.
fn port(asm: &mut Assembler, dst: Reg, record: &Record, field: Field) {
    record.get(asm, dst, Item::Field(field));
    asm.alu(AluOp::And, dst, 0xffff);
}

/// The key of the fragments of a packet.
pub(in super::super) fn fragment_key(asm: &mut Assembler, stack: &Stack) {
    addresses(asm, &stack.record);
    for (offset, reg) in [(0, R1), (8, R2), (16, R3), (24, R4)] {
        asm.store(DW, R10, stack.key + offset, reg);
    }
    let six = asm.label("ipv6");
    stack.record.get(asm, R1, Item::FragmentId);
    stack.family.get(asm, R2);
    asm.jump_if(Ne, R2, 0, six);
    // Later fragments of IPv6 do not show which protocol is behind further headers (RFC 8200, 4.5).
    stack.record.get(asm, R3, Item::Protocol);
    asm.alu(AluOp::Lsh, R3, 32);
    asm.alu(AluOp::Or, R1, R3);
    asm.bind(six);
    asm.alu(AluOp::Lsh, R2, 40);
    asm.alu(AluOp::Or, R1, R2);
    asm.load_wide(R2, FRAGMENT_KEY);
    asm.alu(AluOp::Or, R1, R2);
    asm.store(DW, R10, stack.key + 32, R1);
}

/// A protocol's number.
pub(in super::super) fn number(protocol: u64) -> i32 {
    i32::try_from(protocol).unwrap_or(-1)
}
