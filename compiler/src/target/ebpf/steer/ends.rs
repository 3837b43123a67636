//! Ends of packets on the stack: an address, lower half first, and behind it a port or an identifier of ICMP.

use polc_bpf::asm::{Assembler, Label};
use polc_bpf::insn::AluOp;
use polc_bpf::insn::Cond::{Eq, Gt, Le, Ne};
use polc_bpf::insn::Reg;
use polc_bpf::insn::Reg::{R1, R2, R3, R10};
use polc_bpf::insn::Width::{DW, H, W};

use super::super::filter::flows::number;
use super::super::filter::stack::Stack;
use super::super::nat::{End, Rewrite};
use super::super::record::{Item, Record};
use crate::field::{DPORT, ICMP, ICMPV6, SPORT};

/// The size of an end.
pub(in super::super) const END: i16 = 24;
/// Where in it the port is.
pub(in super::super) const PORT: i16 = 16;

/// The largest port.
pub(super) const LARGEST: i32 = 0xffff;

/// Where a program that translates has its ends, in the area of its stack. A value of the flow table is below
/// them.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Ends {
    /// The end that takes the place of another one.
    pub(in super::super) to: i16,
    /// The one that was there.
    pub(in super::super) outer: i16,
    /// What instructions use at once.
    pub(in super::super) scratch: i16,
}

impl Ends {
    /// How many bytes of the area they take, with a value of so many bytes.
    pub(in super::super) fn size(value: i16) -> i16 {
        value + 2 * END + SCRATCH
    }

    /// Behind a value of so many bytes.
    pub(in super::super) fn new(stack: &Stack, value: i16) -> Self {
        let to = stack.area + value;
        Self {
            to,
            outer: to + END,
            scratch: to + 2 * END,
        }
    }
}

/// A tuple of IPv6, rounded up.
const SCRATCH: i16 = 40;
const _: () = assert!(SCRATCH >= Rewrite::SCRATCH, "what rewrites has room");

/// Where the record has an end.
fn items(end: End) -> (Item, Item) {
    match end {
        End::Source => (Item::Source, Item::Field(SPORT)),
        End::Destination => (Item::Destination, Item::Field(DPORT)),
    }
}

/// Writes an end of the packet to the stack. What has no ports has an identifier, or 0. Changes `R1`.
pub(in super::super) fn save(asm: &mut Assembler, stack: &Stack, end: End, at: i16) {
    let (address, _) = items(end);
    for (upper, offset) in [(false, 0), (true, 8)] {
        stack.record.get_half(asm, R1, address, upper);
        asm.store(DW, R10, at + offset, R1);
    }
    port(asm, stack, end, R1);
    // The bytes behind it are part of values.
    asm.store(DW, R10, at + PORT, R1);
}

/// Makes the verifier forget what it knows of an end on the stack. Changes `R1`.
pub(in super::super) fn blur(asm: &mut Assembler, at: i16) {
    for word in [0, 8, PORT] {
        asm.load(DW, R1, R10, at + word);
        asm.alu(AluOp::Rsh, R1, 32);
        asm.store(W, R10, at + word + 4, R1);
    }
}

/// `dst =` the port of an end, or the identifier of ICMP.
pub(in super::super) fn port(asm: &mut Assembler, stack: &Stack, end: End, dst: Reg) {
    let (_, port) = items(end);
    let has = asm.label("has_port");
    stack.record.get(asm, dst, port);
    asm.jump_if(Le, dst, LARGEST, has);
    stack.record.get(asm, dst, Item::EchoId);
    asm.bind(has);
}

/// Notes the end on the stack as the packet's. Changes `R1` to `R3`.
pub(in super::super) fn put(asm: &mut Assembler, stack: &Stack, end: End, at: i16) {
    let (address, port) = items(end);
    let [other, done] = ["no_port", "end_noted"].map(|name| asm.label(name));
    asm.load(DW, R1, R10, at);
    asm.load(DW, R2, R10, at + 8);
    stack.record.put_address(asm, address, Some(R2), R1);
    asm.load(H, R1, R10, at + PORT);
    stack.record.get(asm, R3, port);
    asm.jump_if(Gt, R3, LARGEST, other);
    stack.record.put(asm, port, R1);
    asm.jump(done);
    asm.bind(other);
    stack.record.put(asm, Item::EchoId, R1);
    asm.bind(done);
}

/// As [`save`], with the source of a packet that an ICMP error quotes. There, what is missing is 0.
pub(super) fn save_quoted(asm: &mut Assembler, quote: &Record, at: i16) {
    for (upper, offset) in [(false, 0), (true, 8)] {
        quote.get_half(asm, R1, Item::Source, upper);
        asm.store(DW, R10, at + offset, R1);
    }
    // It has one of the two.
    quote.get(asm, R1, Item::Field(SPORT));
    quote.get(asm, R2, Item::EchoId);
    asm.alu(AluOp::Or, R1, R2);
    asm.store(DW, R10, at + PORT, R1);
}

/// As [`put`], with the source of a packet that an ICMP error quotes.
pub(super) fn put_quoted(asm: &mut Assembler, quote: &Record, at: i16) {
    let [identified, done] = ["identified", "end_noted"].map(|name| asm.label(name));
    asm.load(DW, R1, R10, at);
    asm.load(DW, R2, R10, at + 8);
    quote.put_address(asm, Item::Source, Some(R2), R1);
    asm.load(H, R1, R10, at + PORT);
    quote.get(asm, R2, Item::Protocol);
    for protocol in [ICMP, ICMPV6] {
        asm.jump_if(Eq, R2, number(protocol), identified);
    }
    quote.put(asm, Item::Field(SPORT), R1);
    asm.jump(done);
    asm.bind(identified);
    quote.put(asm, Item::EchoId, R1);
    asm.bind(done);
}

/// Goes to `other` unless the end at `at` is the one that the value in `base` has at these places. Changes `R1` and
/// `R2`.
pub(in super::super) fn same(
    asm: &mut Assembler,
    at: i16,
    base: Reg,
    (address, port): (i16, i16),
    other: Label,
) {
    for half in [0, 8] {
        asm.load(DW, R1, R10, at + half);
        asm.load(DW, R2, base, address + half);
        asm.jump_if(Ne, R1, R2, other);
    }
    asm.load(H, R1, R10, at + PORT);
    asm.load(H, R2, base, port);
    asm.jump_if(Ne, R1, R2, other);
}
