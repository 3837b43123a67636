//! For how long flows are known, and which segments of TCP are part of one.
//!
//! Timeouts are those of Linux's connection tracking (`nf_conntrack_*_timeout`), which is where
//! operators know them from. A connection that one end resets is known for as long as one that is
//! finishing if packets still come: a forged reset does not end it.

use polc_bpf::asm::{Assembler, Label};
use polc_bpf::insn::AluOp;
use polc_bpf::insn::Cond::{Eq, Gt, Ne, Set};
use polc_bpf::insn::Reg::{R0, R1, R2, R3, R4, R8, R9};

use super::super::record::Item;
use super::flows::{BY_HIGHER, CUT, FIN_LOWER, FINISHED, REPLIED, RESET, number};
use super::stack::Stack;
use super::track::Lookup;
use crate::field::{ICMP, ICMPV6, TCP, TCP_FLAGS, UDP};

const SECOND: u64 = 1_000_000_000;
/// What the first packet of a connection, and its answer, wait for.
const HANDSHAKE: [u64; 2] = [120 * SECOND, 60 * SECOND];
const ESTABLISHED: u64 = 432_000 * SECOND;
const UNANSWERED: u64 = 300 * SECOND;
const FINISHING: u64 = 120 * SECOND;
const RESETTING: u64 = 10 * SECOND;
const DATAGRAMS: [u64; 2] = [30 * SECOND, 120 * SECOND];
const QUESTIONS: u64 = 30 * SECOND;
const OTHER: u64 = 600 * SECOND;

const FIN: i32 = 0x01;
const SYN: i32 = 0x02;
pub(super) const RST: i32 = 0x04;
const ACK: i32 = 0x10;
const URG: i32 = 0x20;

impl Lookup<'_> {
    /// TCP: it settles when both ends have spoken, and what comes is no part of a handshake.
    pub(super) fn segment(&self, asm: &mut Assembler, unknown: Label, late: Label, known: Label) {
        let [begins, fresh, reset, ends, plain, ending] =
            ["begins", "fresh", "reset", "ends", "plain", "ending"].map(|name| asm.label(name));
        let [no_fin, no_end, open] = ["no_fin", "no_end", "open"].map(|name| asm.label(name));
        self.stack.record.get(asm, R3, Item::Field(TCP_FLAGS));
        // A segment without flags is a stump, which the rules let through or not.
        asm.jump_if(Gt, R3, 0xff, unknown);
        one_of(asm, &SOUND, unknown);
        asm.jump_if(Set, R3, RST, reset);
        asm.jump_if(Set, R3, SYN, begins);
        asm.jump_if(Set, R3, FIN, ends);
        asm.jump(plain);

        asm.bind(begins);
        asm.jump_if(Set, R3, ACK, open);
        // The same ends begin another connection.
        asm.jump_if(Set, R2, RESET, unknown);
        asm.mov(R1, R2);
        asm.alu(AluOp::And, R1, FINISHED);
        asm.jump_if(Eq, R1, FINISHED, unknown);
        asm.bind(open);
        // What looks like a handshake does not make an established connection a new one.
        asm.jump_if(Ne, R8, 0, plain);
        asm.load_wide(R0, HANDSHAKE[1]);
        asm.jump_if(Set, R3, ACK, known);
        asm.load_wide(R0, HANDSHAKE[0]);
        asm.jump(known);

        asm.bind(reset);
        const { assert!(BY_HIGHER << 6 == CUT, "an answer's reset cuts the flow") }
        asm.mov(R1, R4);
        asm.alu(AluOp::And, R1, BY_HIGHER);
        asm.alu(AluOp::Xor, R1, R9);
        asm.alu(AluOp::Lsh, R1, 6);
        asm.alu(AluOp::Or, R4, R1);
        asm.alu(AluOp::Or, R4, RESET);
        asm.load_wide(R0, RESETTING);
        asm.jump(known);

        asm.bind(ends);
        asm.mov(R1, FIN_LOWER);
        asm.jump_if(Eq, R9, 0, no_fin);
        asm.mov(R1, FIN_LOWER << 1);
        asm.bind(no_fin);
        asm.alu(AluOp::Or, R4, R1);
        asm.bind(plain);
        asm.jump_if(Set, R4, RESET | FINISHED, ending);
        asm.jump_if(Set, R4, REPLIED, fresh);
        asm.load_wide(R0, UNANSWERED);
        asm.jump(known);
        asm.bind(fresh);
        asm.load_wide(R0, ESTABLISHED);
        asm.jump(late);
        asm.bind(ending);
        asm.load_wide(R0, FINISHING);
        asm.jump_if(Set, R4, REPLIED, no_end);
        asm.jump(known);
        asm.bind(no_end);
        asm.jump(late);
    }
}

/// Anything but TCP: it settles with the first answer.
pub(super) fn datagram(asm: &mut Assembler, late: Label, known: Label) {
    let [udp, icmp, fresh] = ["udp", "icmp", "fresh"].map(|name| asm.label(name));
    asm.jump_if(Eq, R1, number(UDP), udp);
    asm.jump_if(Eq, R1, number(ICMP), icmp);
    asm.jump_if(Eq, R1, number(ICMPV6), icmp);
    asm.load_wide(R0, OTHER);
    asm.jump_if(Set, R4, REPLIED, late);
    asm.jump(known);
    asm.bind(icmp);
    asm.load_wide(R0, QUESTIONS);
    asm.jump(known);
    asm.bind(udp);
    asm.load_wide(R0, DATAGRAMS[0]);
    asm.jump_if(Set, R4, REPLIED, fresh);
    asm.jump(known);
    asm.bind(fresh);
    asm.load_wide(R0, DATAGRAMS[1]);
    asm.jump(late);
}

/// Writes for how long a flow is known that this packet opens, into `R0`.
pub(in super::super) fn first_timeout(asm: &mut Assembler, stack: &Stack) {
    let [tcp, short, syn, done] = ["tcp", "short", "syn", "timed"].map(|name| asm.label(name));
    stack.record.get(asm, R1, Item::Protocol);
    asm.jump_if(Eq, R1, number(TCP), tcp);
    for protocol in [UDP, ICMP, ICMPV6] {
        asm.jump_if(Eq, R1, number(protocol), short);
    }
    asm.load_wide(R0, OTHER);
    asm.jump(done);
    asm.bind(short);
    asm.load_wide(R0, DATAGRAMS[0]);
    asm.jump(done);
    asm.bind(tcp);
    stack.record.get(asm, R1, Item::Field(TCP_FLAGS));
    asm.jump_if(Set, R1, SYN, syn);
    asm.load_wide(R0, UNANSWERED);
    asm.jump(done);
    asm.bind(syn);
    asm.load_wide(R0, HANDSHAKE[0]);
    asm.bind(done);
}

/// Goes to `other` with a segment that is no mere SYN.
pub(in super::super) fn only_syn(asm: &mut Assembler, stack: &Stack, other: Label) {
    let pass = asm.label("not_strict");
    stack.record.get(asm, R1, Item::Protocol);
    asm.jump_if(Ne, R1, number(TCP), pass);
    stack.record.get(asm, R1, Item::Field(TCP_FLAGS));
    asm.jump_if(Gt, R1, 0xff, pass);
    asm.alu(AluOp::And, R1, FIN | SYN | RST | ACK);
    asm.jump_if(Ne, R1, SYN, other);
    asm.bind(pass);
}

/// The combinations of flags that a connection can carry, PSH and those of congestion apart.
const SOUND: [i32; 9] = [
    SYN,
    SYN | ACK,
    RST,
    RST | ACK,
    FIN | ACK,
    ACK,
    SYN | URG,
    FIN | ACK | URG,
    ACK | URG,
];

/// Those that can open one.
pub(super) const OPENING: [i32; 4] = [SYN, SYN | URG, ACK, ACK | URG];

/// Goes to `other` unless the flags in `R3` are one of some combinations. Changes `R0` and `R1`.
pub(super) fn one_of(asm: &mut Assembler, combinations: &[i32], other: Label) {
    let bits = combinations
        .iter()
        .fold(0u64, |bits, flags| bits | 1 << flags);
    asm.mov(R0, R3);
    asm.alu(AluOp::And, R0, FIN | SYN | RST | ACK | URG);
    asm.load_wide(R1, bits);
    asm.alu(AluOp::Rsh, R1, R0);
    asm.alu(AluOp::And, R1, 1);
    asm.jump_if(Eq, R1, 0, other);
}
