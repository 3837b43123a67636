//! The packet that an ICMP error is about.

use polc_bpf::asm::{Assembler, Label};
use polc_bpf::insn::Cond::{Eq, Lt, Ne};
use polc_bpf::insn::Reg::{R1, R2, R3, R7, R8, R9};
use polc_bpf::insn::Width::{B, DW, W};
use polc_bpf::insn::{AluOp, Reg, SwapBits};

use super::super::hook::Hook;
use super::super::record::Item;
use super::flows::number;
use super::stack::Stack;
use crate::field::{DPORT, Field, ICMP, ICMP_CODE, ICMP_TYPE, ICMPV6, SPORT};

/// An ICMP header.
const ICMP_HEADER: i32 = 8;

/// The longest header that is read at once.
pub(super) const LONGEST: i16 = 40;

/// The most extension headers of a packet that an error quotes.
const MOST_EXTENSIONS: usize = 4;

/// The protocols whose first four bytes are ports: TCP, UDP, DCCP, SCTP, UDP-Lite.
const WITH_PORTS: [i32; 5] = [6, 17, 33, 132, 136];

/// Reads the packet that the ICMP error quotes; goes to `quoted` with it, or to `invalid`.
pub(in super::super) fn write(
    asm: &mut Assembler,
    hook: Hook,
    stack: &Stack,
    quoted: Label,
    invalid: Label,
) {
    let reader = Reader {
        hook,
        stack,
        invalid,
    };
    let [six, transport] = ["quoted_ipv6", "quoted_transport"].map(|name| asm.label(name));
    hook.zero(asm, R2);
    for field in [SPORT, DPORT, ICMP_TYPE, ICMP_CODE] {
        stack.quoted.put(asm, Item::Field(field), R2);
    }
    stack.quoted.put(asm, Item::EchoId, R2);
    stack.record.get(asm, R7, Item::Transport);
    asm.add(R7, ICMP_HEADER);
    stack.family.get(asm, R1);
    asm.jump_if(Ne, R1, 0, six);
    reader.ip4(asm);
    asm.jump(transport);
    asm.bind(six);
    reader.ip6(asm);
    asm.bind(transport);
    reader.transport(asm, quoted);
}

/// Reads behind an ICMP header: `R7` is where, `R9` the protocol.
struct Reader<'r> {
    hook: Hook,
    stack: &'r Stack,
    invalid: Label,
}

impl Reader<'_> {
    fn read(&self, asm: &mut Assembler, size: i32) {
        self.hook
            .read_seldom(asm, size, self.stack.area, self.invalid);
    }

    fn ip4(&self, asm: &mut Assembler) {
        self.read(asm, 20);
        asm.load(B, R8, R1, 0);
        asm.mov(R2, R8);
        asm.alu(AluOp::Rsh, R2, 4);
        asm.jump_if(Ne, R2, 4, self.invalid);
        asm.alu(AluOp::And, R8, 0x0f);
        asm.alu(AluOp::Lsh, R8, 2);
        asm.jump_if(Lt, R8, 20, self.invalid);
        be16(asm, R2, R1, 6);
        asm.alu(AluOp::And, R2, 0x1fff);
        asm.jump_if(Ne, R2, 0, self.invalid);
        for (item, offset) in [(Item::Source, 12), (Item::Destination, 16)] {
            asm.load(W, R2, R1, offset);
            asm.to_be(SwapBits::B32, R2);
            self.stack.quoted.put_address(asm, item, None, R2);
        }
        asm.load(B, R9, R1, 9);
        asm.add(R7, R8);
    }

    fn ip6(&self, asm: &mut Assembler) {
        self.read(asm, 40);
        asm.load(B, R2, R1, 0);
        asm.alu(AluOp::Rsh, R2, 4);
        asm.jump_if(Ne, R2, 6, self.invalid);
        for (item, offset) in [(Item::Source, 8), (Item::Destination, 24)] {
            for (half, at) in [(R2, offset), (R3, offset + 8)] {
                asm.load(DW, half, R1, at);
                asm.to_be(SwapBits::B64, half);
            }
            self.stack.quoted.put_address(asm, item, Some(R2), R3);
        }
        asm.load(B, R9, R1, 6);
        asm.add(R7, 40);
        let done = asm.label("extensions_read");
        for _ in 0..MOST_EXTENSIONS {
            let [extension, fragment, step] =
                ["extension", "fragment", "step"].map(|name| asm.label(name));
            asm.jump_if(Eq, R9, 44, fragment);
            for header in [0, 43, 60] {
                asm.jump_if(Eq, R9, header, extension);
            }
            asm.jump(done);
            asm.bind(extension);
            self.read(asm, 8);
            asm.load(B, R9, R1, 0);
            asm.load(B, R8, R1, 1);
            asm.add(R8, 1);
            asm.alu(AluOp::Lsh, R8, 3);
            asm.jump(step);
            asm.bind(fragment);
            self.read(asm, 8);
            asm.load(B, R9, R1, 0);
            be16(asm, R2, R1, 2);
            asm.alu(AluOp::Rsh, R2, 3);
            asm.jump_if(Ne, R2, 0, self.invalid);
            asm.mov(R8, 8);
            asm.bind(step);
            asm.add(R7, R8);
        }
        asm.bind(done);
    }

    fn transport(&self, asm: &mut Assembler, quoted: Label) {
        let [ports, icmp] = ["quoted_ports", "quoted_icmp"].map(|name| asm.label(name));
        self.stack.quoted.put(asm, Item::Protocol, R9);
        self.stack.quoted.put(asm, Item::Transport, R7);
        for protocol in WITH_PORTS {
            asm.jump_if(Eq, R9, protocol, ports);
        }
        asm.jump_if(Eq, R9, number(ICMP), icmp);
        asm.jump_if(Eq, R9, number(ICMPV6), icmp);
        asm.jump(quoted);
        asm.bind(ports);
        self.read(asm, 8);
        for (field, offset) in [(SPORT, 0), (DPORT, 2)] {
            be16(asm, R2, R1, offset);
            self.field(asm, field);
        }
        asm.jump(quoted);
        asm.bind(icmp);
        self.read(asm, 8);
        asm.load(B, R2, R1, 0);
        self.field(asm, ICMP_TYPE);
        asm.load(B, R2, R1, 1);
        self.field(asm, ICMP_CODE);
        be16(asm, R2, R1, 4);
        self.stack.quoted.put(asm, Item::EchoId, R2);
        asm.jump(quoted);
    }

    /// Notes the number in `R2`.
    fn field(&self, asm: &mut Assembler, field: Field) {
        self.stack.quoted.put(asm, Item::Field(field), R2);
    }
}

/// `dst =` a number of 16 bits.
fn be16(asm: &mut Assembler, dst: Reg, base: Reg, offset: i16) {
    asm.load(polc_bpf::insn::Width::H, dst, base, offset);
    asm.to_be(SwapBits::B16, dst);
}
