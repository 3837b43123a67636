//! Whether the flow is live that has a slot.
//!
//! Steer asks for a flow before it sends it elsewhere: the slot has the key of what its packets look like outside. The
//! flow table knows it by what they look like inside, and its alias tells what that is.

use polc_bpf::asm::{Assembler, Label};
use polc_bpf::insn::Cond::{Eq, Gt, Le, Lt, Ne, Set, Sgt};
use polc_bpf::insn::Reg::{R0, R1, R2, R3, R4, R5, R6, R7, R8, R9, R10};
use polc_bpf::insn::Width::{DW, H, W};
use polc_bpf::insn::{AluOp, Helper, Reg};

use super::super::filter::flows::number;
use super::super::filter::{
    CUT, FINISHED, FLAGS, FLOW_KEY, REJECTED, STAMP, STAMP_CLOCK, STAMP_SHIFT, UNTIL,
};
use super::super::steer::ends::PORT;
use super::{GRACE, Outside, PROCESSOR, Search, WAY_SHIFT};
use crate::field::{ICMP, ICMPV6};

/// For how long after steer has opened a flow filter or egress may ask for it, in units of the flow table: a packet
/// waits up to three seconds until it is known where its next station is.
const LATE: i32 = 0xfff;

/// Where in a flow's key the higher end's address is: so many bytes are in front of it, and so many bits in front of
/// its port.
const HIGHER: i16 = 16;
const PORT_BITS: i32 = 16;
/// Where the ports are.
const PORTS: i16 = 32;
/// Where the protocol is, and behind it the family and which end asks.
const KIND: i16 = 36;
/// The bits of the protocol and the family.
const PROTOCOL_AND_FAMILY: i32 = 0x1ff;
const SIX: i32 = 0x100;
/// By how many bits [`PORT_BITS`] has to be shifted to say that the higher end asks.
const ASKS: i32 = 5;

/// Where there is room for the key of a flow.
#[derive(Clone, Copy)]
pub(super) enum Room {
    /// So many bytes behind `R6`.
    Here(i16),
    /// So many bytes behind the pointer that is on the stack.
    Noted(i16),
}

/// Where in the frame of a function the pointer is.
const NOTED: i16 = -8;

impl Room {
    /// Notes the pointer in a register, if it has to be.
    pub(super) fn note(self, asm: &mut Assembler, pointer: Reg) {
        if matches!(self, Self::Noted(_)) {
            asm.store(DW, R10, NOTED, pointer);
        }
    }

    fn point(self, asm: &mut Assembler, dst: Reg) {
        let at = match self {
            Self::Here(at) => {
                asm.mov(dst, R6);
                at
            }
            Self::Noted(at) => {
                asm.load(DW, dst, R10, NOTED);
                at
            }
        };
        asm.add(dst, i32::from(at));
    }
}

impl Search<'_> {
    /// Goes to `live` if the flow is that has the slot whose value is in `R7`, taken at the time in `R8`, and to `own`,
    /// if that is asked for, with another key of the flow that looks for a slot. The time and the processor are in
    /// `R9`. Changes `R0` to `R5`.
    pub(super) fn live(&self, asm: &mut Assembler, room: Room, live: Label, own: Option<Label>) {
        let [unknown, ended] = ["unknown_flow", "ended"].map(|n| asm.label(n));
        if let Some(outside) = &self.limit.outside {
            let elsewhere = asm.label("elsewhere");
            let slot = |asm: &mut Assembler| asm.mov(R2, R7);
            self.known(asm, slot, [live, elsewhere, elsewhere]);
            asm.bind(elsewhere);
            inside(asm, outside, room, unknown);
            if let Some(own) = own.filter(|_| outside.shared) {
                let other = asm.label("other_inside");
                room.point(asm, R5);
                self.same(asm, R5, other);
                asm.jump(own);
                asm.bind(other);
            }
            self.known(asm, |asm| room.point(asm, R2), [live, ended, unknown]);
        } else {
            self.known(asm, |asm| asm.mov(R2, R7), [live, ended, unknown]);
        }

        asm.bind(unknown);
        asm.mov(R1, R9);
        asm.alu(AluOp::Sub, R1, R8);
        asm.jump_if(Sgt, R1, GRACE, ended);
        asm.mov(R1, R9);
        asm.alu(AluOp::Xor, R1, R8);
        asm.jump_if(Set, R1, PROCESSOR, live);
        asm.bind(ended);
    }

    /// Goes to `other` unless the flow that looks for a slot has the key in `base`. Changes `R1` and `R2`.
    pub(super) fn same(&self, asm: &mut Assembler, base: Reg, other: Label) {
        for word in (0..FLOW_KEY).step_by(8) {
            asm.load(DW, R1, base, word);
            asm.load(DW, R2, R6, self.to_flow + word);
            asm.jump_if(Ne, R1, R2, other);
        }
    }

    /// Looks up the flow of a key, to which `point` puts a pointer into `R2`, and that was opened when the slot was
    /// taken.
    fn known(
        &self,
        asm: &mut Assembler,
        point: impl Fn(&mut Assembler),
        [live, ended, unknown]: [Label; 3],
    ) {
        let [known, over] = ["known_flow", "over"].map(|n| asm.label(n));
        for map in self.flows.names() {
            asm.load_map(R1, map);
            point(asm);
            asm.call(Helper::MapLookupElem);
            asm.jump_if(Ne, R0, 0, known);
        }
        asm.jump(unknown);
        asm.bind(known);
        asm.load(W, R1, R0, FLAGS);
        asm.mov(R2, R1);
        asm.alu(AluOp::Rsh, R2, STAMP_SHIFT);
        asm.mov(R3, R8);
        asm.alu(AluOp::Rsh, R3, STAMP_CLOCK);
        asm.alu(AluOp::Sub, R3, R2);
        asm.alu(AluOp::And, R3, STAMP);
        asm.jump_if(Gt, R3, LATE, unknown);
        asm.load(DW, R2, R0, UNTIL);
        asm.jump_if(Le, R2, R9, over);
        asm.jump_if(Set, R1, REJECTED | CUT, over);
        asm.alu(AluOp::And, R1, FINISHED);
        asm.jump_if(Ne, R1, FINISHED, live);
        asm.bind(over);
        // One that was opened before may be another one of the same ends.
        asm.jump_if(Ne, R3, 0, unknown);
        asm.jump(ended);
    }
}

/// Makes the key that the flow of the slot in `R7` has inside; goes to `none` if it is the same, or nothing is known of
/// it.
fn inside(asm: &mut Assembler, outside: &Outside, room: Room, none: Label) {
    let [alias, higher, lower, placed, question, made] =
        ["alias", "higher", "lower", "placed", "question", "made"].map(|n| asm.label(n));
    for map in &outside.aliases {
        asm.load_map(R1, map);
        asm.mov(R2, R7);
        asm.call(Helper::MapLookupElem);
        asm.jump_if(Ne, R0, 0, alias);
    }
    asm.jump(none);

    // `R0` points to the other destination, `R2` to the source's address. The source's port is shifted by the bits in
    // `R1`.
    asm.bind(alias);
    room.point(asm, R5);
    const { assert!(PORT_BITS == 1 << 4, "the bit of the way, shifted") }
    asm.mov(R1, R8);
    asm.alu(AluOp::Rsh, R1, WAY_SHIFT - 4);
    asm.alu(AluOp::And, R1, PORT_BITS);
    asm.mov(R2, R7);
    asm.alu(AluOp::Add, R2, R1);
    for half in [8, 0] {
        asm.load(DW, R3, R2, half);
        asm.load(DW, R4, R0, half);
        asm.jump_if(Gt, R3, R4, higher);
        asm.jump_if(Lt, R3, R4, lower);
    }
    asks(asm, lower);
    source_port(asm);
    asm.load(H, R3, R0, PORT);
    asm.jump_if(Gt, R4, R3, higher);

    for (label, [source, dest], shift) in
        [(lower, [0, HIGHER], 0), (higher, [HIGHER, 0], PORT_BITS)]
    {
        asm.bind(label);
        for half in [0, 8] {
            for (from, to) in [(R2, source), (R0, dest)] {
                asm.load(DW, R3, from, half);
                asm.store(DW, R5, to + half, R3);
            }
        }
        asm.mov(R2, shift);
        asm.jump(placed);
    }
    asm.bind(placed);
    asks(asm, question);
    asm.store(W, R5, KIND, R3);
    source_port(asm);
    asm.alu(AluOp::Lsh, R4, R2);
    asm.alu(AluOp::Xor, R2, PORT_BITS);
    asm.load(H, R1, R0, PORT);
    asm.alu(AluOp::Lsh, R1, R2);
    asm.alu(AluOp::Or, R4, R1);
    asm.store(W, R5, PORTS, R4);
    asm.jump(made);
    // What stands there of a question stays.
    asm.bind(question);
    asm.alu(AluOp::Lsh, R2, ASKS);
    asm.alu(AluOp::Or, R4, R2);
    asm.store(W, R5, KIND, R4);
    asm.load(W, R4, R7, PORTS);
    asm.store(W, R5, PORTS, R4);
    asm.bind(made);
}

/// Goes to `question` with a flow of ICMP. `R3 =` protocol and family as the slot's key has them, `R4 =` without the end
/// that asks.
fn asks(asm: &mut Assembler, question: Label) {
    asm.load(W, R3, R7, KIND);
    asm.mov(R4, R3);
    asm.alu(AluOp::And, R4, PROTOCOL_AND_FAMILY);
    for kind in [number(ICMP), number(ICMPV6) | SIX] {
        asm.jump_if(Eq, R4, kind, question);
    }
}

/// `R4 =` the port of the source, which is shifted by the bits in `R1`.
fn source_port(asm: &mut Assembler) {
    asm.load(W, R4, R7, PORTS);
    asm.alu(AluOp::Rsh, R4, R1);
    asm.alu(AluOp::And, R4, 0xffff);
}
