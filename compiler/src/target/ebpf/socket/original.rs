//! Where a connection was meant to go: the answer to `SO_ORIGINAL_DST`, which proxies ask for.
//!
//! The kernel's answer is that of its connection tracking, which may know nothing. The program runs behind it,
//! looks the socket's own ends up in the flow table, and answers in its place where the table says that
//! the flow goes somewhere else than its client sees. It is asked for every option of every socket of the
//! machine, and soon done with nearly all of them.
//!
//! A flow is looked up whether its time is over or not: as long as there is a socket, no other flow has
//! its ends.

use polc_bpf::asm::{AsmError, Assembler, Isa, Label, Program};
use polc_bpf::insn::Cond::{Eq, Gt, Le, Lt, Ne, Sle};
use polc_bpf::insn::Reg::{R0, R1, R2, R3, R4, R5, R6, R7, R8, R9, R10};
use polc_bpf::insn::Width::{DW, H, W};
use polc_bpf::insn::{AluOp, Helper, SwapBits};

use super::super::filter::{DECISION, DNAT, FLOW_KEY, OPENED_PORT, OPENED_TO, PROXY};
use super::{GO_ON, only_here};
use crate::ir::{Ir, Stage, Verdict};

/// Where `struct bpf_sockopt` has what (include/uapi/linux/bpf.h).
const SOCKET: i16 = 0;
const VALUE: i16 = 8;
const VALUE_END: i16 = 16;
const LEVEL: i16 = 24;
const NAME: i16 = 28;
const LENGTH: i16 = 32;
const RETURNED: i16 = 36;

/// Where `struct bpf_sock` has what.
const FAMILY: i16 = 4;
const PROTOCOL: i16 = 12;
const LOCAL4: i16 = 24;
const LOCAL6: i16 = 28;
const LOCAL_PORT: i16 = 44;
const REMOTE_PORT: i16 = 48;
const REMOTE4: i16 = 52;
const REMOTE6: i16 = 56;

const SOL_IP: i32 = 0;
const SOL_IPV6: i32 = 41;
/// `SO_ORIGINAL_DST`, and `IP6T_SO_ORIGINAL_DST`.
const ORIGINAL: i32 = 80;

const AF_INET: i32 = 2;
const AF_INET6: i32 = 10;
/// The sizes of `struct sockaddr_in` and `struct sockaddr_in6`.
const ADDRESS4: i32 = 16;
const ADDRESS6: i32 = 28;

/// What begins the lower half of an IPv4 address that is written as one of IPv6.
const MAPPED: i32 = 0xffff;

/// The longest answer of the kernel that a program is shown all of. One that is longer has to be let
/// go by saying that it has no length: kernels before 6.5 would take it for a mistake (`EFAULT`).
const PAGE: i32 = 4096;

/// The places on the stack: the ends of the socket, each as two halves of an address (lower first) and a port,
/// then the key.
const LOCAL: i16 = -24;
const REMOTE: i16 = -48;
const PORT: i16 = 16;
/// 1 for IPv6.
const SIX: i16 = -56;
const KEY: i16 = SIX - FLOW_KEY;

/// Whether a policy has flows that a proxy may ask about.
pub(in super::super) fn is_needed(ir: &Ir) -> bool {
    let mut steer = ir.stage(Stage::Steer).iter();
    steer.any(|rule| {
        matches!(
            rule.verdict,
            Some(Verdict::Redirect { .. } | Verdict::Proxy(_))
        )
    })
}

/// The program; `flows` are the names of the maps of the flow table.
pub(in super::super) fn program(name: &str, flows: [&str; 2]) -> Result<Program, AsmError> {
    let mut asm = Assembler::new(name);
    let [done, found] = ["done", "found"].map(|name| asm.label(name));
    asm.mov(R6, R1);
    let short = asm.label("short");
    asm.load(W, R1, R6, LENGTH);
    asm.jump32_if(Sle, R1, PAGE, short);
    set(&mut asm, LENGTH, 0);
    asm.bind(short);
    asm.load(W, R1, R6, NAME);
    asm.jump_if(Ne, R1, ORIGINAL, done);
    asm.load(W, R1, R6, LEVEL);
    let level = asm.label("level");
    asm.jump_if(Eq, R1, SOL_IP, level);
    asm.jump_if(Ne, R1, SOL_IPV6, done);
    asm.bind(level);
    only_here(&mut asm, KEY, done);
    asm.part("key");
    ends(&mut asm, done);
    key(&mut asm);
    for map in flows {
        asm.load_map(R1, map);
        asm.mov(R2, R10);
        asm.add(R2, i32::from(KEY));
        asm.call(Helper::MapLookupElem);
        asm.jump_if(Ne, R0, 0, found);
    }
    asm.jump(done);
    asm.part("answer");
    asm.bind(found);
    answer(&mut asm, done);
    asm.bind(done);
    asm.mov(R0, GO_ON);
    asm.exit();
    asm.finish(Isa::V3)
}

/// Notes the ends of the socket; goes to `other` where these are not of the family that is asked for.
fn ends(asm: &mut Assembler, other: Label) {
    let [four, six, noted] = ["ipv4", "ipv6", "noted"].map(|name| asm.label(name));
    asm.load(DW, R8, R6, SOCKET);
    asm.load(W, R9, R6, LEVEL);
    asm.load(W, R1, R8, FAMILY);
    asm.jump_if(Eq, R1, AF_INET, four);
    asm.jump_if(Ne, R1, AF_INET6, other);
    asm.load(W, R1, R8, LOCAL6);
    asm.jump_if(Ne, R1, 0, six);
    asm.load(W, R1, R8, LOCAL6 + 4);
    asm.jump_if(Ne, R1, 0, six);
    asm.load(W, R1, R8, LOCAL6 + 8);
    asm.to_be(SwapBits::B32, R1);
    asm.jump_if(Ne, R1, MAPPED, six);
    asm.bind(four);
    asm.jump_if(Ne, R9, SOL_IP, other);
    for (from, to) in [(LOCAL4, LOCAL), (REMOTE4, REMOTE)] {
        asm.load(W, R1, R8, from);
        asm.to_be(SwapBits::B32, R1);
        asm.store(DW, R10, to, R1);
        asm.store(DW, R10, to + 8, 0);
    }
    asm.store(DW, R10, SIX, 0);
    asm.jump(noted);
    asm.bind(six);
    asm.jump_if(Ne, R9, SOL_IPV6, other);
    for (from, to) in [(LOCAL6, LOCAL), (REMOTE6, REMOTE)] {
        for (word, half) in [(from + 8, to), (from, to + 8)] {
            asm.load(W, R1, R8, word);
            asm.to_be(SwapBits::B32, R1);
            asm.alu(AluOp::Lsh, R1, 32);
            asm.load(W, R2, R8, word + 4);
            asm.to_be(SwapBits::B32, R2);
            asm.alu(AluOp::Or, R1, R2);
            asm.store(DW, R10, half, R1);
        }
    }
    asm.store(DW, R10, SIX, 1);
    asm.bind(noted);
    asm.load(W, R1, R8, LOCAL_PORT);
    asm.store(DW, R10, LOCAL + PORT, R1);
    asm.load(H, R1, R8, REMOTE_PORT);
    asm.to_be(SwapBits::B16, R1);
    asm.store(DW, R10, REMOTE + PORT, R1);
}

/// Makes the flow's key of the ends. The socket is in `R8`.
fn key(asm: &mut Assembler) {
    let [lower, higher, written] =
        ["local_lower", "local_higher", "ordered"].map(|name| asm.label(name));
    let end = |asm: &mut Assembler, from: i16, low, high| {
        asm.load(DW, low, R10, from);
        asm.load(DW, high, R10, from + 8);
    };
    end(asm, LOCAL, R1, R2);
    end(asm, REMOTE, R3, R4);
    asm.load(DW, R7, R10, LOCAL + PORT);
    asm.load(DW, R9, R10, REMOTE + PORT);
    asm.jump_if(Gt, R2, R4, higher);
    asm.jump_if(Lt, R2, R4, lower);
    asm.jump_if(Gt, R1, R3, higher);
    asm.jump_if(Lt, R1, R3, lower);
    asm.jump_if(Le, R7, R9, lower);
    asm.bind(higher);
    for (at, reg) in [(0, R3), (8, R4), (16, R1), (24, R2)] {
        asm.store(DW, R10, KEY + at, reg);
    }
    asm.mov(R0, R7);
    asm.mov(R7, R9);
    asm.mov(R9, R0);
    asm.jump(written);
    asm.bind(lower);
    for (at, reg) in [(0, R1), (8, R2), (16, R3), (24, R4)] {
        asm.store(DW, R10, KEY + at, reg);
    }
    asm.bind(written);
    asm.alu(AluOp::Lsh, R9, 16);
    asm.alu(AluOp::Or, R7, R9);
    for (shift, load) in [(32, (R8, W, PROTOCOL)), (40, (R10, DW, SIX))] {
        let (base, width, at) = load;
        asm.load(width, R1, base, at);
        asm.alu(AluOp::Lsh, R1, shift);
        asm.alu(AluOp::Or, R7, R1);
    }
    asm.store(DW, R10, KEY + 32, R7);
}

/// Writes the answer that follows from the flow in `R0`, if there is room for it.
fn answer(asm: &mut Assembler, done: Label) {
    let [proxied, visible, six] = ["proxied", "visible", "answer6"].map(|name| asm.label(name));
    asm.load(W, R1, R0, DECISION);
    asm.mov(R2, R1);
    asm.alu(AluOp::And, R2, DNAT);
    asm.jump_if(Ne, R2, 0, visible);
    asm.alu(AluOp::And, R1, PROXY);
    asm.jump_if(Ne, R1, 0, proxied);
    asm.jump(done);
    // `R3`, `R4` = the address, `R5` = the port.
    let answered = asm.label("answered");
    asm.bind(proxied);
    asm.load(DW, R3, R10, LOCAL);
    asm.load(DW, R4, R10, LOCAL + 8);
    asm.load(DW, R5, R10, LOCAL + PORT);
    asm.jump(answered);
    asm.bind(visible);
    asm.load(DW, R3, R0, OPENED_TO);
    asm.load(DW, R4, R0, OPENED_TO + 8);
    asm.load(H, R5, R0, OPENED_PORT);
    asm.bind(answered);
    asm.to_be(SwapBits::B16, R5);
    asm.load(DW, R7, R10, SIX);
    asm.jump_if(Ne, R7, 0, six);
    room(asm, ADDRESS4, done);
    asm.store(H, R1, 0, AF_INET);
    asm.store(H, R1, 2, R5);
    asm.to_be(SwapBits::B32, R3);
    asm.store(W, R1, 4, R3);
    for at in [8, 12] {
        asm.store(W, R1, at, 0);
    }
    answered_with(asm, ADDRESS4);
    asm.jump(done);
    asm.bind(six);
    room(asm, ADDRESS6, done);
    asm.store(H, R1, 0, AF_INET6);
    asm.store(H, R1, 2, R5);
    asm.store(W, R1, 4, 0);
    for (half, at) in [(R4, 8), (R3, 16)] {
        asm.to_be(SwapBits::B64, half);
        for part in [0, 4] {
            asm.store(W, R1, at + part, half);
            asm.alu(AluOp::Rsh, half, 32);
        }
    }
    asm.store(W, R1, 24, 0);
    answered_with(asm, ADDRESS6);
}

/// `R1 =` where the answer goes; goes to `none` when so many bytes have no room there. Changes `R2` and `R8`.
fn room(asm: &mut Assembler, bytes: i32, none: Label) {
    asm.load(DW, R1, R6, VALUE);
    asm.load(DW, R2, R6, VALUE_END);
    asm.mov(R8, R1);
    asm.add(R8, bytes);
    asm.jump_if(Gt, R8, R2, none);
}

/// Says that there is an answer.
fn answered_with(asm: &mut Assembler, bytes: i32) {
    set(asm, LENGTH, bytes);
    set(asm, RETURNED, 0);
}

/// Writes a number into the context. Changes `R1`: before Linux 6.4, it takes a register.
fn set(asm: &mut Assembler, at: i16, value: i32) {
    asm.mov(R1, value);
    asm.store(W, R6, at, R1);
}
