//! Refusing with an answer: the packet is rewritten into it, and sent back.
//!
//! The answer comes from the address that the packet was for. TCP gets a reset (RFC 9293, 3.10.7.1),
//! the rest an ICMP error (RFC 792, RFC 4443) that quotes the packet's IP header, without options, and
//! the first bytes behind it. What is not for one receiver, or comes from no sender, is dropped
//! without.

use polc_bpf::asm::{Assembler, Label};
use polc_bpf::insn::Cond::{Eq, Ge, Lt, Ne, Set};
use polc_bpf::insn::Reg::{R0, R1, R2, R3, R4, R5, R6, R7, R10};
use polc_bpf::insn::Width::{B, DW, H, W};
use polc_bpf::insn::{AluOp, Helper, Reg, SwapBits, Width};

use super::super::hook::Hook;
use super::super::link::Link;
use super::super::noted;
use super::super::record::Item;
use super::begin::SKB_PKTTYPE;
use super::direction::{SKB_INGRESS, SKB_INTERFACE};
use super::flows::{FLAGS, Flows, REJECTED, name, number};
use super::stack::Stack;
use super::track::{FIRST_QUESTION, ICMP_ERRORS, Kind};
use crate::field::{DPORT, ICMP, ICMPV6, SPORT, TCP};
use crate::ir::Reject;

const TCP_HEADER: i16 = 20;
const ICMP_HEADER: i16 = 8;
/// What an error quotes of a packet behind its IP header.
const QUOTED: i16 = 8;

/// The longest answer, without a link header: an ICMPv6 error.
pub(super) const LONGEST: i16 = 40 + ICMP_HEADER + 40 + QUOTED;

/// For how long the answer may pass, in nanoseconds.
const ANSWER: u64 = 10_000_000_000;

const ACK: i32 = 0x10;
const RST: i32 = 0x04;

/// The bits of the flags that have a sequence number.
const FIN: i32 = 0;
const SYN: i32 = 1;

/// `BPF_F_RECOMPUTE_CSUM`, and `BPF_F_INGRESS` of `bpf_redirect`.
const RECOMPUTE: i32 = 1;
const TO_INGRESS: i32 = 1;

/// Notes what the answer is: 0 for a reset, otherwise type and code of an ICMP error.
pub(super) fn choose(asm: &mut Assembler, stack: &Stack, reject: Reject, answer: Label) {
    let (v4, v6) = match reject {
        Reject::TcpReset => {
            stack.answer.set(asm, 0);
            asm.jump(answer);
            return;
        }
        Reject::Default | Reject::PortUnreachable => (0x0303, 0x0104),
        Reject::HostUnreachable => (0x0301, 0x0103),
        Reject::AdminProhibited => (0x030d, 0x0101),
        Reject::NoRoute => (0x0300, 0x0100),
    };
    if reject == Reject::Default {
        let other = asm.label("no_reset");
        stack.answer.set(asm, 0);
        stack.record.get(asm, R1, Item::Protocol);
        asm.jump_if(Ne, R1, number(TCP), other);
        asm.jump(answer);
        asm.bind(other);
    }
    let six = asm.label("ipv6");
    stack.answer.set(asm, v6);
    stack.family.get(asm, R1);
    asm.jump_if(Ne, R1, 0, six);
    stack.answer.set(asm, v4);
    asm.bind(six);
    asm.jump(answer);
}

/// Sends the answer that was chosen; goes to `drop` where there is none.
pub(super) struct Answer<'a> {
    pub(super) hook: Hook,
    pub(super) link: Link,
    pub(super) flows: &'a Flows,
    pub(super) stack: &'a Stack,
    pub(super) drop: Label,
    /// Whether there are packets that are not tracked.
    pub(super) untracks: bool,
}

impl Answer<'_> {
    pub(super) fn write(&self, asm: &mut Assembler) {
        let [six, reset4, reset6, sent] =
            ["ipv6", "reset", "reset", "send_back"].map(|name| asm.label(name));
        self.is_answered(asm);
        self.expect(asm);
        self.stack.answer.get(asm, R7);
        self.stack.family.get(asm, R1);
        asm.jump_if(Ne, R1, 0, six);
        asm.jump_if(Eq, R7, 0, reset4);
        self.error(asm, false);
        asm.jump(sent);
        asm.bind(reset4);
        self.reset(asm, false);
        asm.jump(sent);
        asm.bind(six);
        asm.jump_if(Eq, R7, 0, reset6);
        self.error(asm, true);
        asm.jump(sent);
        asm.bind(reset6);
        self.reset(asm, true);
        asm.bind(sent);
        self.send(asm);
    }

    /// Groups and nobody get no answers.
    fn is_answered(&self, asm: &mut Assembler) {
        let [six, yes] = ["ipv6", "answered"].map(|name| asm.label(name));
        let record = &self.stack.record;
        if self.hook == Hook::Ingress {
            // Frames for all carry packets to the broadcast addresses of networks, too.
            asm.load(W, R1, R6, SKB_PKTTYPE);
            asm.jump_if(Ne, R1, 0, self.drop);
        }
        record.get_half(asm, R1, Item::Source, false);
        record.get_half(asm, R2, Item::Source, true);
        asm.alu(AluOp::Or, R1, R2);
        asm.jump_if(Eq, R1, 0, self.drop);
        self.stack.family.get(asm, R1);
        asm.jump_if(Ne, R1, 0, six);
        record.get_half(asm, R1, Item::Destination, false);
        asm.alu(AluOp::Rsh, R1, 28);
        asm.jump_if(Ge, R1, 0xe, self.drop);
        asm.jump(yes);
        asm.bind(six);
        record.get_half(asm, R1, Item::Destination, true);
        asm.alu(AluOp::Rsh, R1, 56);
        asm.jump_if(Eq, R1, 0xff, self.drop);
        asm.bind(yes);
    }

    /// The answer belongs to a flow that lets nothing else pass.
    fn expect(&self, asm: &mut Assembler) {
        if self.untracks {
            let tracked = asm.label("has_flow");
            self.stack.kind.get(asm, R1);
            asm.jump_if(Ne, R1, Kind::Untracked as i32, tracked);
            noted::put(asm, noted::NOTHING);
            name(asm, self.hook, self.stack);
            asm.bind(tracked);
        }
        let known = asm.label("flow_lives_on");
        if self.stack.told.is_some() || self.untracks {
            self.has_flow(asm, known);
        }
        self.stack.now.get(asm, R1);
        asm.load_wide(R2, ANSWER);
        asm.add(R1, R2);
        self.stack.way.get(asm, R2);
        asm.alu(AluOp::Or, R2, REJECTED);
        self.flows.open(asm, self.stack, self.drop);
        asm.bind(known);
    }

    /// Goes to `known` with a packet of a live flow, or of the same ends, that a section has judged by itself, or that
    /// is not tracked as the flow's fragments are: the flow goes on without it.
    fn has_flow(&self, asm: &mut Assembler, known: Label) {
        let [found, new] = ["found", "rejected_flow"].map(|name| asm.label(name));
        self.stack.kind.get(asm, R1);
        asm.jump_if(Eq, R1, Kind::New as i32, new);
        self.flows.find(asm, self.stack, found, new);
        asm.bind(found);
        asm.load(W, R1, R7, FLAGS);
        asm.alu(AluOp::And, R1, REJECTED);
        asm.jump_if(Eq, R1, 0, known);
        asm.bind(new);
    }

    /// Makes the packet a reset.
    fn reset(&self, asm: &mut Assembler, v6: bool) {
        let header = header(v6);
        let at = self.stack.area + header;
        self.stack.record.get(asm, R2, Item::Transport);
        asm.jump_if(Eq, R2, 0, self.drop);
        self.load(asm, at, TCP_HEADER);
        let [acknowledged, done] = ["acknowledged", "reset_made"].map(|name| asm.label(name));
        let flags = |asm: &mut Assembler, flags: i32| {
            asm.store(W, R10, at + 12, 0);
            asm.store(B, R10, at + 12, 0x50);
            asm.store(B, R10, at + 13, flags);
        };
        asm.load(B, R3, R10, at + 13);
        // Two machines that do not track their packets would answer each other without end (RFC 9293, 3.10.7.1).
        asm.jump_if(Set, R3, RST, self.drop);
        asm.jump_if(Set, R3, ACK, acknowledged);
        self.length(asm, at, v6);
        asm.load(W, R2, R10, at + 4);
        asm.to_be(SwapBits::B32, R2);
        asm.add(R1, R2);
        asm.to_be(SwapBits::B32, R1);
        asm.store(W, R10, at + 4, 0);
        asm.store(W, R10, at + 8, R1);
        flags(asm, RST | ACK);
        asm.jump(done);
        asm.bind(acknowledged);
        asm.load(W, R2, R10, at + 8);
        asm.store(W, R10, at + 4, R2);
        asm.store(W, R10, at + 8, 0);
        flags(asm, RST);
        asm.bind(done);
        asm.store(W, R10, at + 16, 0);
        for (field, offset) in [(DPORT, 0), (SPORT, 2)] {
            self.stack.record.get(asm, R1, Item::Field(field));
            asm.to_be(SwapBits::B16, R1);
            asm.store(H, R10, at + offset, R1);
        }
        self.finish(asm, v6, TCP, TCP_HEADER, 16);
    }

    /// `R1 =` how far the segment whose header is at a place of the stack takes its connection: its data, and one each
    /// for SYN and FIN.
    fn length(&self, asm: &mut Assembler, at: i16, v6: bool) {
        // Frames may be longer than what is in them.
        let (field, behind) = if v6 { (4, header(v6)) } else { (2, 0) };
        asm.mov(R2, self.link.size() + field);
        self.load(asm, self.stack.area, 2);
        asm.load(H, R1, R10, self.stack.area);
        asm.to_be(SwapBits::B16, R1);
        asm.add(R1, self.link.size() + i32::from(behind));
        self.stack.record.get(asm, R2, Item::Transport);
        asm.alu(AluOp::Sub, R1, R2);
        asm.load(B, R2, R10, at + 12);
        asm.alu(AluOp::Rsh, R2, 4);
        asm.alu(AluOp::Lsh, R2, 2);
        asm.alu(AluOp::Sub, R1, R2);
        for flag in [SYN, FIN] {
            asm.load(B, R2, R10, at + 13);
            asm.alu(AluOp::Rsh, R2, flag);
            asm.alu(AluOp::And, R2, 1);
            asm.add(R1, R2);
        }
    }

    /// Makes the packet an ICMP error; its type and code are in `R7`.
    fn error(&self, asm: &mut Assembler, v6: bool) {
        let header = header(v6);
        let at = self.stack.area + header;
        let quoted = at + ICMP_HEADER;
        asm.mov(R2, self.link.size());
        self.load(asm, quoted, header);
        self.stack.record.get(asm, R2, Item::Transport);
        asm.jump_if(Eq, R2, 0, self.drop);
        self.load(asm, quoted + header, QUOTED);
        self.is_question(asm, quoted + header, v6);
        // There is no room for options and extension headers. Who gets the error finds its flow by
        // what is left.
        if v6 {
            self.stack.record.get(asm, R1, Item::Protocol);
            asm.store(B, R10, quoted + 6, R1);
        } else {
            asm.store(B, R10, quoted, 0x45);
        }
        asm.store(W, R10, at, 0);
        asm.store(W, R10, at + 4, 0);
        asm.to_be(SwapBits::B16, R7);
        asm.store(H, R10, at, R7);
        let protocol = if v6 { ICMPV6 } else { ICMP };
        self.finish(asm, v6, protocol, ICMP_HEADER + header + QUOTED, 2);
    }

    /// Errors are not answered with errors (RFC 1122, 3.2.2; RFC 4443, 2.4). What may be one is at a place of the stack.
    fn is_question(&self, asm: &mut Assembler, at: i16, v6: bool) {
        let question = asm.label("no_error");
        let protocol = if v6 { ICMPV6 } else { ICMP };
        self.stack.record.get(asm, R1, Item::Protocol);
        asm.jump_if(Ne, R1, number(protocol), question);
        asm.load(B, R1, R10, at);
        if v6 {
            asm.jump_if(Lt, R1, FIRST_QUESTION, self.drop);
        } else {
            for kind in ICMP_ERRORS {
                asm.jump_if(Eq, R1, kind, self.drop);
            }
        }
        asm.bind(question);
    }

    /// Loads bytes of the frame from offset `R2` on to a place on the stack.
    fn load(&self, asm: &mut Assembler, at: i16, size: i16) {
        asm.mov(R1, R6);
        asm.mov(R3, R10);
        asm.add(R3, i32::from(at));
        asm.mov(R4, i32::from(size));
        asm.call(Helper::SkbLoadBytes);
        asm.jump_if(Ne, R0, 0, self.drop);
    }

    /// Gives what stands behind the place of the IP header its checksum, and a header, and puts it
    /// into the packet.
    fn finish(&self, asm: &mut Assembler, v6: bool, protocol: u64, size: i16, checksum: i16) {
        let (at, header) = (self.stack.area, header(v6));
        let whole = header + size;
        self.header(asm, v6, protocol, size);
        asm.mov(R5, 0);
        if v6 {
            sum(asm, at + 8, 32);
            asm.mov(R5, R0);
        } else if protocol == TCP {
            sum(asm, at + 12, 8);
            asm.mov(R5, R0);
        }
        sum(asm, at + header, size);
        if v6 || protocol == TCP {
            let pseudo = u16::try_from(protocol).unwrap_or(0).to_be();
            asm.add(R0, i32::from(pseudo));
            asm.add(R0, i32::from(size.unsigned_abs().to_be()));
        }
        fold(asm);
        asm.store(H, R10, at + header + checksum, R0);
        asm.mov(R1, R6);
        asm.mov(R2, self.link.size() + i32::from(whole));
        asm.mov(R3, 0);
        // The kernel cuts off nothing of what it takes for headers, such as those of a packet in a tunnel. Then there is
        // more behind the answer, which its length leaves out; and in what is too short for it nothing can be stored.
        asm.call(Helper::SkbChangeTail);
        self.store(asm, self.link.size(), at, whole);
    }

    /// The IP header: from where the packet was for to where it came from.
    fn header(&self, asm: &mut Assembler, v6: bool, protocol: u64, size: i16) {
        let at = self.stack.area;
        let ends = [Item::Destination, Item::Source];
        let set = |asm: &mut Assembler, width: Width, offset: i16, value: i32| {
            asm.store(width, R10, at + offset, value);
        };
        let protocol = number(protocol);
        if v6 {
            set(asm, W, 0, 0x60);
            set(asm, H, 4, i32::from(size.unsigned_abs().to_be()));
            set(asm, B, 6, protocol);
            set(asm, B, 7, 64);
            for (item, offset) in ends.into_iter().zip([8, 24]) {
                for (upper, offset) in [(true, offset), (false, offset + 8)] {
                    self.stack.record.get_half(asm, R1, item, upper);
                    asm.to_be(SwapBits::B64, R1);
                    asm.store(DW, R10, at + offset, R1);
                }
            }
            return;
        }
        set(asm, H, 0, 0x45);
        set(asm, H, 2, i32::from((20 + size.unsigned_abs()).to_be()));
        // Not to be fragmented.
        set(asm, W, 4, 0x0040_0000);
        set(asm, B, 8, 64);
        set(asm, B, 9, protocol);
        set(asm, H, 10, 0);
        for (item, offset) in ends.into_iter().zip([12, 16]) {
            self.stack.record.get_half(asm, R1, item, false);
            asm.to_be(SwapBits::B32, R1);
            asm.store(W, R10, at + offset, R1);
        }
        asm.mov(R5, 0);
        sum(asm, at, 20);
        fold(asm);
        asm.store(H, R10, at + 10, R0);
    }

    /// Writes bytes of the stack into the frame.
    fn store(&self, asm: &mut Assembler, offset: i32, at: i16, size: i16) {
        asm.mov(R1, R6);
        asm.mov(R2, offset);
        asm.mov(R3, R10);
        asm.add(R3, i32::from(at));
        asm.mov(R4, i32::from(size));
        asm.mov(R5, RECOMPUTE);
        asm.call(Helper::SkbStoreBytes);
        asm.jump_if(Ne, R0, 0, self.drop);
    }

    /// Sends the packet back: by the interface that it has come in by, or to this host itself.
    fn send(&self, asm: &mut Assembler) {
        let own = asm.label("own");
        if self.hook == Hook::Egress {
            asm.load(W, R1, R6, SKB_INGRESS);
            asm.jump_if(Eq, R1, 0, own);
            self.send_on(asm);
            asm.bind(own);
        }
        if self.link == Link::Ethernet {
            self.swap_stations(asm);
        }
        asm.load(W, R1, R6, SKB_INTERFACE);
        asm.mov(
            R2,
            if self.hook == Hook::Egress {
                TO_INGRESS
            } else {
                0
            },
        );
        asm.call(Helper::Redirect);
        asm.exit();
    }

    /// Sends it by the interface in `R1`, whose frames may begin in another way.
    fn send_on(&self, asm: &mut Assembler) {
        if self.link == Link::Bare {
            // What the kernel sends on so has an Ethernet header, which it takes off.
            asm.mov(R1, R6);
            asm.mov(R2, Link::Ethernet.size());
            asm.mov(R3, 0);
            asm.call(Helper::SkbChangeHead);
            asm.jump_if(Ne, R0, 0, self.drop);
            asm.load(W, R1, R6, SKB_INGRESS);
        }
        for argument in [R2, R3, R4] {
            asm.mov(argument, 0);
        }
        asm.call(Helper::RedirectNeigh);
        asm.exit();
    }

    /// The station that has sent the frame is the one that gets it.
    fn swap_stations(&self, asm: &mut Assembler) {
        let at = self.stack.area;
        asm.mov(R2, 0);
        self.load(asm, at, 12);
        for offset in [0, 2, 4] {
            let (to, from) = (at + offset, at + offset + 6);
            asm.load(H, R1, R10, to);
            asm.load(H, R2, R10, from);
            asm.store(H, R10, to, R2);
            asm.store(H, R10, from, R1);
        }
        self.store(asm, 0, at, 12);
    }
}

/// The size of an IP header.
fn header(v6: bool) -> i16 {
    if v6 { 40 } else { 20 }
}

/// `R0 =` the sum of some bytes on the stack and `R5`.
fn sum(asm: &mut Assembler, at: i16, size: i16) {
    asm.mov(R1, 0);
    asm.mov(R2, 0);
    asm.mov(R3, R10);
    asm.add(R3, i32::from(at));
    asm.mov(R4, i32::from(size));
    asm.call(Helper::CsumDiff);
}

/// `R0 =` the checksum of a sum (RFC 1071).
fn fold(asm: &mut Assembler) {
    let half: Reg = R1;
    for _ in 0..3 {
        asm.mov(half, R0);
        asm.alu(AluOp::Rsh, half, 16);
        asm.alu(AluOp::And, R0, 0xffff);
        asm.add(R0, half);
    }
    asm.alu(AluOp::Xor, R0, 0xffff);
}
