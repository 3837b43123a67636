//! Packets of this host that have to go another way than they were routed: they are seen where they leave.

use polc_bpf::asm::{Assembler, Label};
use polc_bpf::insn::Cond::{Eq, Ne};
use polc_bpf::insn::Reg::{R0, R1, R2, R3, R4, R5, R6, R10};
use polc_bpf::insn::Width::{DW, H, W};
use polc_bpf::insn::{AluOp, Helper};

use super::super::filter::decision::{PROXY_SHIFT, ROUTED};
use super::super::filter::direction;
use super::super::filter::stack::{Place, Stack};
use super::super::link::Link;
use super::super::noted;
use crate::ir::{Ir, Verdict};

/// The loopback interface, which has the same number in every network namespace.
pub(super) const LOOPBACK: i32 = 1;
/// `BPF_F_INGRESS`: as if it came in.
const TO_INGRESS: i32 = 1;
/// `BPF_F_RECOMPUTE_CSUM`.
const RECOMPUTE: i32 = 1;

/// `BPF_FIB_LOOKUP_DIRECT | BPF_FIB_LOOKUP_TBID`: by the table of that number.
const BY_TABLE: i32 = 1 | 8;
/// Where `struct bpf_fib_lookup` has the table.
const TABLE: i16 = 48;

/// Goes to `next` with a packet that was sent another way before.
pub(super) fn arrived(asm: &mut Assembler, next: Label) {
    let other = asm.label("first_way");
    noted::unless(asm, noted::REROUTED, other);
    noted::put(asm, noted::NOTHING);
    asm.jump(next);
    asm.bind(other);
}

/// The answers of routing that mean a next station, known or not.
const FOUND: i32 = 0;
const NO_NEIGHBOUR: i32 = 7;
/// What means this host.
pub(super) const NOT_FORWARDED: i32 = 4;

/// The tables that rules of steer route by.
fn tables(ir: &Ir) -> Vec<u32> {
    let tables = ir.steer.iter().filter_map(|rule| match rule.verdict {
        Some(Verdict::Route { table }) => Some(table),
        _ => None,
    });
    let mut tables: Vec<u32> = tables.collect();
    tables.sort_unstable();
    tables.dedup();
    tables
}

/// The number by which decisions know a table.
pub(super) fn number(ir: &Ir, table: u32) -> i32 {
    let place = tables(ir).iter().position(|other| *other == table);
    place
        .and_then(|place| i32::try_from(place).ok())
        .unwrap_or(0)
}

/// Sends packets on another way.
pub(super) struct Reroute<'r> {
    pub(super) ir: &'r Ir,
    pub(super) link: Link,
    pub(super) stack: &'r Stack,
    /// Where the decision is noted.
    pub(super) decision: Place,
    pub(super) drop: Label,
}

impl Reroute<'_> {
    /// By the way that routing says, to `home` with what is for this host.
    pub(super) fn write(&self, asm: &mut Assembler, home: Label) {
        let [looked, found] = ["routed", "way_found"].map(|name| asm.label(name));
        asm.mov(R1, LOOPBACK);
        direction::question(asm, self.stack);
        for (number, table) in (0..).zip(tables(self.ir)) {
            let other = asm.label("other_table");
            self.decision.get(asm, R1);
            asm.mov(R2, R1);
            asm.alu(AluOp::And, R2, ROUTED);
            asm.jump_if(Eq, R2, 0, other);
            asm.alu(AluOp::Rsh, R1, PROXY_SHIFT);
            asm.jump_if(Ne, R1, number, other);
            asm.load_wide(R1, u64::from(table));
            asm.store(W, R10, self.stack.area + TABLE, R1);
            asm.mov(R4, BY_TABLE);
            direction::ask(asm, self.stack);
            asm.jump(looked);
            asm.bind(other);
        }
        asm.mov(R4, 0);
        direction::ask(asm, self.stack);
        asm.bind(looked);
        asm.jump_if(Eq, R0, FOUND, found);
        asm.jump_if(Eq, R0, NO_NEIGHBOUR, found);
        asm.jump_if(Eq, R0, NOT_FORWARDED, home);
        asm.jump(self.drop);
        asm.bind(found);
        // Where it leaves next, it is one that has found its way.
        noted::put(asm, noted::REROUTED);
        if self.link == Link::Bare {
            add_header(asm, self.drop);
        }
        asm.load(W, R1, R10, self.stack.area + 8);
        for argument in [R2, R3, R4] {
            asm.mov(argument, 0);
        }
        asm.call(Helper::RedirectNeigh);
        asm.exit();
    }
}

/// To this host itself: as if the packet came in by the loopback interface. Uses [`Link::Ethernet`]'s bytes of the
/// stack at `scratch`.
pub(in super::super) fn home(
    asm: &mut Assembler,
    link: Link,
    stack: &Stack,
    (scratch, drop): (i16, Label),
) {
    let [six, typed] = ["ipv6", "typed"].map(|name| asm.label(name));
    if link == Link::Bare {
        add_header(asm, drop);
    }
    asm.store(DW, R10, scratch, 0);
    asm.store(W, R10, scratch + 8, 0);
    stack.family.get(asm, R1);
    asm.jump_if(Ne, R1, 0, six);
    asm.store(H, R10, scratch + 12, i32::from(0x0800u16.to_be()));
    asm.jump(typed);
    asm.bind(six);
    asm.store(H, R10, scratch + 12, i32::from(0x86ddu16.to_be()));
    asm.bind(typed);
    asm.mov(R1, R6);
    asm.mov(R2, 0);
    asm.mov(R3, R10);
    asm.add(R3, i32::from(scratch));
    asm.mov(R4, Link::Ethernet.size());
    asm.mov(R5, RECOMPUTE);
    asm.call(Helper::SkbStoreBytes);
    asm.jump_if(Ne, R0, 0, drop);
    asm.mov(R1, LOOPBACK);
    asm.mov(R2, TO_INGRESS);
    asm.call(Helper::Redirect);
    asm.exit();
}

/// A header of Ethernet in front of a packet without one.
fn add_header(asm: &mut Assembler, drop: Label) {
    asm.mov(R1, R6);
    asm.mov(R2, Link::Ethernet.size());
    asm.mov(R3, 0);
    asm.call(Helper::SkbChangeHead);
    asm.jump_if(Ne, R0, 0, drop);
}
