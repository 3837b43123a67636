//! The packet's own headers.
//!
//! The kernel may know the sum over what an interface has received, or have promised a packet of this
//! host to an interface that computes its checksum. Its helpers keep both right if they are told which
//! change is one of the pseudo header, and if whatever changes the sum over all bytes is written with
//! `BPF_F_RECOMPUTE_CSUM`: an IPv6 address, and a port under no checksum. An IPv4 address and a port
//! under a checksum do not, because a checksum in the same packet makes up for them.

use polc_bpf::asm::{Assembler, Label};
use polc_bpf::insn::Cond::{Eq, Gt, Ne};
use polc_bpf::insn::Reg::{R0, R1, R2, R3, R4, R5, R6, R7, R8, R9, R10};
use polc_bpf::insn::Width::{DW, H, W};
use polc_bpf::insn::{AluOp, Helper, Operand, Reg, SwapBits};

use super::super::link::Link;
use super::super::record::{Item, Record};
use super::checksum;
use crate::field::{DPORT, Field, ICMP, ICMP_TYPE, ICMPV6, SPORT, TCP};

/// Flags of `bpf_skb_store_bytes`: `BPF_F_RECOMPUTE_CSUM`, `BPF_F_INVALIDATE_HASH`.
const RECOMPUTE: i32 = 1;
const FORGET_HASH: i32 = 2;

/// Flags of `bpf_l4_csum_replace`: `BPF_F_PSEUDO_HDR`, `BPF_F_MARK_MANGLED_0`.
const PSEUDO_HEADER: i32 = 0x10;
pub(super) const ZERO_IS_NONE: i32 = 0x20;

/// The protocols whose checksum is 0 when there is none: UDP, and UDP-Lite, which has to have one.
const UDP_LIKE: [i32; 2] = [17, 136];
const DCCP: i32 = 33;

/// Where headers have their checksum: TCP; UDP, UDP-Lite and DCCP; ICMP of both families.
pub(super) const TCP_SUM: i32 = 16;
pub(super) const UDP_SUM: i32 = 6;
pub(super) const ICMP_SUM: i32 = 2;

/// The messages that carry an identifier: questions and their answers.
pub(super) const WITH_ID: [i32; 8] = [0, 8, 13, 14, 15, 16, 17, 18];
pub(super) const WITH_ID6: [i32; 2] = [128, 129];

/// One end of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum End {
    Source,
    Destination,
}

impl End {
    pub(super) fn address(self) -> Item {
        match self {
            Self::Source => Item::Source,
            Self::Destination => Item::Destination,
        }
    }

    /// The port, and where in a header it is.
    pub(super) fn port(self) -> (Field, i32) {
        match self {
            Self::Source => (SPORT, 0),
            Self::Destination => (DPORT, 2),
        }
    }

    /// Where in the IP header the address is.
    fn offset(self, v6: bool) -> i32 {
        match (self, v6) {
            (Self::Source, false) => 12,
            (Self::Destination, false) => 16,
            (Self::Source, true) => 8,
            (Self::Destination, true) => 24,
        }
    }
}

/// What a header has that is rewritten besides addresses.
#[derive(Clone, Copy)]
pub(super) struct Kinds {
    /// Ports under a checksum that is never missing.
    pub(super) tcp: Label,
    pub(super) dccp: Label,
    /// Ports, perhaps under a checksum.
    pub(super) udp: Label,
    /// An identifier, under a checksum without pseudo header.
    pub(super) icmp: Label,
    /// A checksum with pseudo header, perhaps an identifier.
    pub(super) icmp6: Label,
}

impl Kinds {
    pub(super) fn new(asm: &mut Assembler) -> Self {
        let [tcp, dccp, udp, icmp, icmp6] =
            ["tcp", "dccp", "udp", "icmp", "icmpv6"].map(|name| asm.label(name));
        Self {
            tcp,
            dccp,
            udp,
            icmp,
            icmp6,
        }
    }

    /// Tells them by the protocol in `R1`, and goes on with the rest. SCTP's checksum covers no
    /// addresses, and its ports stay.
    pub(super) fn tell(self, asm: &mut Assembler) {
        asm.jump_if(Eq, R1, number(TCP), self.tcp);
        for protocol in UDP_LIKE {
            asm.jump_if(Eq, R1, protocol, self.udp);
        }
        asm.jump_if(Eq, R1, DCCP, self.dccp);
        asm.jump_if(Eq, R1, number(ICMP), self.icmp);
        asm.jump_if(Eq, R1, number(ICMPV6), self.icmp6);
    }
}

/// Gives packets another source or destination.
///
/// The context is in `R6`; all other registers are changed, and the packet cannot be read any more by
/// pointers that were made before.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Rewrite<'r> {
    /// What the frame begins with. A VLAN tag is none of it.
    pub(in super::super) link: Link,
    /// The packet: addresses, protocol, ports, type and identifier of ICMP, where its transport header is.
    pub(in super::super) record: &'r Record,
    /// Where on the stack a word says 1 for IPv6.
    pub(in super::super) family: i16,
    /// Where on the stack the new end is: the halves of the address, the lower one first, and the port,
    /// or the identifier of ICMP, in 16 bits; all in host order. IPv4 addresses have an upper half of 0.
    pub(in super::super) to: i16,
    /// [`SCRATCH`](Self::SCRATCH) bytes on the stack.
    pub(in super::super) scratch: i16,
    /// Where a packet goes that cannot be rewritten. Perhaps a part of it was: it is to be dropped.
    pub(in super::super) fail: Label,
}

impl Rewrite<'_> {
    /// How many bytes of the stack it uses, at a multiple of 8.
    pub(in super::super) const SCRATCH: i16 = 16;

    /// Gives the packet another end, and notes it in the record.
    ///
    /// Ports change if the packet has them, and identifiers in messages that carry one; what has neither,
    /// such as a later fragment, gets the address alone.
    pub(in super::super) fn packet(&self, asm: &mut Assembler, end: End) {
        let done = asm.label("rewritten");
        asm.note("another end");
        checksum::addresses(asm, self.record, end.address(), self.to);
        asm.mov(R7, self.link.size());
        self.address(asm, end, [FORGET_HASH, FORGET_HASH | RECOMPUTE]);
        asm.load(DW, R1, R10, self.to);
        asm.load(DW, R2, R10, self.to + 8);
        self.record.put_address(asm, end.address(), Some(R2), R1);
        self.transport(asm, end, done);
        asm.bind(done);
    }

    /// Writes the address into the IP header at `R7`, and corrects its checksum by the difference in
    /// `R8`. The flags are for IPv4 and IPv6.
    pub(super) fn address(&self, asm: &mut Assembler, end: End, [flags4, flags6]: [i32; 2]) {
        let [six, written] = ["ipv6", "address_written"].map(|name| asm.label(name));
        asm.load(W, R1, R10, self.family);
        asm.jump_if(Ne, R1, 0, six);
        asm.load(W, R1, R10, self.to);
        asm.to_be(SwapBits::B32, R1);
        asm.store(W, R10, self.scratch, R1);
        self.write(asm, end.offset(false), 4, flags4);
        asm.mov(R2, R7);
        asm.add(R2, 10);
        self.correct_with(asm, Helper::L3CsumReplace, R8, 0);
        asm.jump(written);
        asm.bind(six);
        for (half, at) in [(8, 0), (0, 8)] {
            asm.load(DW, R1, R10, self.to + half);
            asm.to_be(SwapBits::B64, R1);
            asm.store(DW, R10, self.scratch + at, R1);
        }
        self.write(asm, end.offset(true), 16, flags6);
        asm.bind(written);
    }

    /// Corrects the checksum of the transport header by the difference in `R8`, and replaces the port.
    fn transport(&self, asm: &mut Assembler, end: End, done: Label) {
        let [summed, sum, port, id] =
            ["has_checksum", "checksum", "port", "identifier"].map(|name| asm.label(name));
        let (field, offset) = end.port();
        let record = self.record;
        let kinds = Kinds::new(asm);
        record.get(asm, R7, Item::Transport);
        record.get(asm, R1, Item::Protocol);
        kinds.tell(asm);
        asm.jump(done);

        asm.bind(kinds.icmp);
        self.flags(asm, 0);
        asm.mov(R9, ICMP_SUM);
        asm.add(R9, R7);
        record.get(asm, R1, Item::Field(ICMP_TYPE));
        carries_id(asm, &WITH_ID, id);
        asm.jump(done);

        asm.bind(kinds.icmp6);
        record.get(asm, R1, Item::Field(ICMP_TYPE));
        asm.jump_if(Gt, R1, 0xff, done);
        self.flags(asm, 0);
        asm.mov(R9, ICMP_SUM);
        asm.add(R9, R7);
        self.pseudo_header(asm);
        record.get(asm, R1, Item::Field(ICMP_TYPE));
        carries_id(asm, &WITH_ID6, id);
        asm.jump(done);

        asm.bind(id);
        self.number(asm, (Item::EchoId, 4), done);
        asm.jump(done);

        for (kind, at) in [(kinds.tcp, TCP_SUM), (kinds.dccp, UDP_SUM)] {
            asm.bind(kind);
            self.flags(asm, 0);
            asm.mov(R9, at);
            asm.jump(summed);
        }
        asm.bind(kinds.udp);
        self.flags(asm, ZERO_IS_NONE);
        asm.mov(R9, UDP_SUM);
        asm.bind(summed);
        record.get(asm, R1, Item::Field(field));
        asm.jump_if(Gt, R1, 0xffff, done);
        asm.add(R9, R7);
        record.get(asm, R1, Item::Protocol);
        asm.jump_if(Ne, R1, UDP_LIKE[0], sum);
        self.read(asm, R9);
        asm.jump_if(Ne, R0, 0, sum);
        asm.store(W, R10, self.scratch + 12, FORGET_HASH | RECOMPUTE);
        asm.jump(port);
        asm.bind(sum);
        self.pseudo_header(asm);
        asm.bind(port);
        self.number(asm, (Item::Field(field), offset), done);
    }

    /// Notes the flags with which a checksum is corrected; that of a port makes up for it.
    fn flags(&self, asm: &mut Assembler, flags: i32) {
        asm.store(W, R10, self.scratch + 8, flags);
        asm.store(W, R10, self.scratch + 12, FORGET_HASH);
    }

    /// Corrects the checksum at `R9` by the difference of addresses in `R8`.
    fn pseudo_header(&self, asm: &mut Assembler) {
        asm.load(W, R1, R10, self.scratch + 8);
        asm.alu(AluOp::Or, R1, PSEUDO_HEADER);
        asm.mov(R2, R9);
        self.correct(asm, R8, R1);
    }

    /// Replaces a port or an identifier so many bytes into the header at `R7`, and corrects the checksum
    /// at `R9`. Goes to `done` if it is the same.
    fn number(&self, asm: &mut Assembler, (item, offset): (Item, i32), done: Label) {
        self.record.get(asm, R8, item);
        asm.load(H, R2, R10, self.to + 16);
        asm.jump_if(Eq, R8, R2, done);
        self.record.put(asm, item, R2);
        checksum::numbers(asm, R8);
        asm.to_be(SwapBits::B16, R2);
        asm.store(H, R10, self.scratch, R2);
        asm.load(W, R1, R10, self.scratch + 12);
        self.write(asm, offset, 2, R1);
        asm.mov(R2, R9);
        asm.load(W, R1, R10, self.scratch + 8);
        self.correct(asm, R8, R1);
    }

    /// Writes bytes of the scratch so many bytes behind `R7` into the packet.
    pub(super) fn write(
        &self,
        asm: &mut Assembler,
        offset: i32,
        size: i32,
        flags: impl Into<Operand>,
    ) {
        asm.mov(R5, flags);
        asm.mov(R1, R6);
        asm.mov(R2, R7);
        asm.add(R2, offset);
        asm.mov(R3, R10);
        asm.add(R3, i32::from(self.scratch));
        asm.mov(R4, size);
        asm.call(Helper::SkbStoreBytes);
        asm.jump_if(Ne, R0, 0, self.fail);
    }

    /// `R0 =` the number of 16 bits at an offset of the packet.
    pub(super) fn read(&self, asm: &mut Assembler, offset: impl Into<Operand>) {
        asm.mov(R2, offset);
        asm.mov(R1, R6);
        asm.mov(R3, R10);
        asm.add(R3, i32::from(self.scratch));
        asm.mov(R4, 2);
        asm.call(Helper::SkbLoadBytes);
        asm.jump_if(Ne, R0, 0, self.fail);
        asm.load(H, R0, R10, self.scratch);
        asm.to_be(SwapBits::B16, R0);
    }

    /// Corrects the checksum at the offset in `R2` by a difference. It is one of a transport header.
    pub(super) fn correct(&self, asm: &mut Assembler, difference: Reg, flags: impl Into<Operand>) {
        self.correct_with(asm, Helper::L4CsumReplace, difference, flags);
    }

    fn correct_with(
        &self,
        asm: &mut Assembler,
        helper: Helper,
        difference: Reg,
        flags: impl Into<Operand>,
    ) {
        asm.mov(R5, flags);
        asm.mov(R1, R6);
        asm.mov(R3, 0);
        asm.mov(R4, difference);
        asm.call(helper);
        asm.jump_if(Ne, R0, 0, self.fail);
    }
}

/// Goes to `id` if the message of the type in `R1` is one of some.
pub(super) fn carries_id(asm: &mut Assembler, types: &[i32], id: Label) {
    for kind in types {
        asm.jump_if(Eq, R1, *kind, id);
    }
}

/// A protocol's number.
fn number(protocol: u64) -> i32 {
    i32::try_from(protocol).unwrap_or(-1)
}
