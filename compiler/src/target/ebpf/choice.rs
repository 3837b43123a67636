//! Targets of `redirect`, `dnat` and `snat`, and how a rule chooses one of several.
//!
//! All targets of an object are in one table of read-only data, which programs read by the number that
//! was chosen. An entry says how a target comes from the address that it replaces:
//!
//! | entry, 40 bytes | |
//! |---|---|
//! | 0 | the bits of the address that stay, lower half first |
//! | 16 | the bits that take the others' place |
//! | 32 | the port; 0 for that of the packet |

use std::collections::BTreeMap;
use std::sync::Arc;

use polc_bpf::asm::Assembler;
use polc_bpf::insn::Cond::Eq;
use polc_bpf::insn::Reg::{R0, R1, R2, R3, R4, R5, R7, R10};
use polc_bpf::insn::Width::{DW, W};
use polc_bpf::insn::{AluOp, AtomicOp, Bits, Helper, Reg, SwapBits};

use super::record::{Item, Record};
use crate::ir::{Balance, NatTarget, Rule, Verdict};

/// The name of the table.
pub(super) const TARGETS: &str = "targets";
/// The map with the turns of rules that take their targets in turn.
pub(super) const TURNS: &str = "turns";

/// The size of an entry.
const ENTRY: usize = 40;

/// The start of the hash by which a source gets its target: the same in every target.
const SEED: u32 = 0x706f_6c63;
/// Where the kernel's hash begins (`JHASH_INITVAL` of include/linux/jhash.h).
const INITIAL: u32 = 0xdead_beef;

/// The targets of an object.
#[derive(Debug, Default)]
pub(super) struct Targets {
    entries: Vec<[u8; ENTRY]>,
    /// The numbers of turns: each rule has its own, and so has each family and what this host sends, in
    /// whatever program it is asked.
    turns: BTreeMap<(Arc<str>, bool, bool), u32>,
}

/// A choice of targets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Choice {
    /// The number of the first.
    first: u32,
    /// How many there are.
    count: u32,
    by: By,
}

/// How one of several is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Source,
    Random,
    /// In turn: the number of the turns.
    Turn(u32),
}

impl Targets {
    /// The choice that a rule means to a family, for what this host sends or for the rest; `None` for one without
    /// targets.
    pub(super) fn choice(&mut self, rule: &Rule, v6: bool, own: bool) -> Option<Choice> {
        let (entries, balance) = match rule.verdict.as_ref()? {
            Verdict::Redirect { port } => (vec![entry(0, 0, *port)], None),
            Verdict::Dnat(nat) | Verdict::Snat(nat) => {
                let targets = if v6 { &nat.v6 } else { &nat.v4 };
                let entries = targets.iter().map(target).collect();
                (entries, nat.balance)
            }
            _ => return None,
        };
        let count = u32::try_from(entries.len()).ok().filter(|n| *n > 0)?;
        let first = self.place(&entries);
        let by = match balance {
            Some(Balance::Random) => By::Random,
            Some(Balance::RoundRobin) if count > 1 => {
                let next = self.turns();
                let turns = self.turns.entry((rule.name.clone(), v6, own));
                By::Turn(*turns.or_insert(next))
            }
            _ => By::Source,
        };
        Some(Choice { first, count, by })
    }

    /// How many turns there are.
    pub(super) fn turns(&self) -> u32 {
        u32::try_from(self.turns.len()).unwrap_or(u32::MAX)
    }

    /// Where entries are in the table.
    fn place(&mut self, entries: &[[u8; ENTRY]]) -> u32 {
        let mut windows = self.entries.windows(entries.len());
        let place = windows.position(|window| window == entries);
        let place = place.unwrap_or_else(|| {
            self.entries.extend_from_slice(entries);
            self.entries.len() - entries.len()
        });
        u32::try_from(place).unwrap_or(u32::MAX)
    }

    /// The number of entries with room for those that nobody has.
    fn room(&self) -> usize {
        self.entries.len().next_power_of_two()
    }

    /// The table; `None` when there is none.
    pub(super) fn data(&self) -> Option<Vec<u8>> {
        let mut data: Vec<u8> = self.entries.iter().flatten().copied().collect();
        data.resize(self.room() * ENTRY, 0);
        (!self.entries.is_empty()).then_some(data)
    }

    /// The mask of the numbers of entries so far.
    pub(super) fn mask(&self) -> u32 {
        u32::try_from(self.room() - 1).unwrap_or(u32::MAX)
    }
}

fn target(target: &NatTarget) -> [u8; ENTRY] {
    let bits = |addr: std::net::IpAddr| match addr {
        std::net::IpAddr::V4(addr) => u128::from(u32::from(addr)),
        std::net::IpAddr::V6(addr) => u128::from(addr),
    };
    match *target {
        NatTarget::Addr(addr, port) => entry(0, bits(addr), port),
        NatTarget::Prefix { to, len, .. } => {
            let width = if to.is_ipv4() { 32 } else { 128 };
            let all = u128::MAX >> (128 - width);
            let keep = all.checked_shr(u32::from(len)).unwrap_or(0);
            entry(keep, bits(to) & !keep, None)
        }
    }
}

fn entry(keep: u128, set: u128, port: Option<u16>) -> [u8; ENTRY] {
    let mut bytes = [0; ENTRY];
    let numbers = keep.to_le_bytes().into_iter().chain(set.to_le_bytes());
    let port = u64::from(port.unwrap_or(0)).to_le_bytes();
    for (to, from) in bytes.iter_mut().zip(numbers.chain(port)) {
        *to = from;
    }
    bytes
}

impl Choice {
    /// What it asks of packets.
    pub(super) fn items(&self) -> impl Iterator<Item = Item> + use<> {
        let asks = self.count > 1 && self.by == By::Source;
        asks.then_some(Item::Source).into_iter()
    }

    /// Writes the number of the target to a place of the stack. `key` is a place for the key of a map. Changes
    /// `R0` to `R5` and `R7`.
    pub(super) fn write(
        &self,
        asm: &mut Assembler,
        record: &Record,
        (v6, key): (bool, i16),
        place: i16,
    ) {
        if self.count > 1 {
            match self.by {
                By::Source => {
                    by_source(asm, record, v6);
                    asm.mov32(R0, R3);
                    asm.load_wide(R1, u64::from(self.count));
                    asm.alu(AluOp::Mul, R0, R1);
                    asm.alu(AluOp::Rsh, R0, 32);
                }
                By::Random => {
                    asm.call(Helper::GetPrandomU32);
                    self.modulo(asm);
                }
                By::Turn(turn) => self.turn(asm, turn, key),
            }
        } else {
            asm.mov(R0, 0);
        }
        asm.load_wide(R1, u64::from(self.first));
        asm.add(R0, R1);
        asm.store(W, R10, place, R0);
    }

    fn modulo(&self, asm: &mut Assembler) {
        asm.load_wide(R1, u64::from(self.count));
        asm.alu(AluOp::Mod, R0, R1);
    }

    fn turn(&self, asm: &mut Assembler, turn: u32, key: i16) {
        let none = asm.label("no_turn");
        asm.load_wide(R1, u64::from(turn));
        asm.store(W, R10, key, R1);
        asm.load_map(R1, TURNS);
        asm.mov(R2, R10);
        asm.add(R2, i32::from(key));
        asm.call(Helper::MapLookupElem);
        asm.mov(R7, R0);
        asm.mov(R0, 0);
        asm.jump_if(Eq, R7, 0, none);
        asm.mov(R0, 1);
        asm.atomic(AtomicOp::FetchAdd, Bits::B64, R7, 0, R0);
        asm.bind(none);
        self.modulo(asm);
    }
}

/// `R3 =` the kernel's hash of the source (include/linux/jhash.h). Changes `R0` to `R5`.
fn by_source(asm: &mut Assembler, record: &Record, v6: bool) {
    let length = if v6 { 16 } else { 4 };
    let start = INITIAL.wrapping_add(length).wrapping_add(SEED);
    for reg in [R1, R2, R3] {
        asm.load_wide(reg, u64::from(start));
    }
    let add = |asm: &mut Assembler, to: Reg, upper: bool, shift: i32| {
        record.get_half(asm, R4, Item::Source, upper);
        asm.alu(AluOp::Rsh, R4, shift);
        asm.mov32(R4, R4);
        // The kernel reads the octets as they are.
        asm.to_be(SwapBits::B32, R4);
        asm.alu32(AluOp::Add, to, R4);
    };
    if v6 {
        add(asm, R1, true, 32);
        add(asm, R2, true, 0);
        add(asm, R3, false, 32);
        for (a, b, c, by) in [
            (R1, R3, R2, 4),
            (R2, R1, R3, 6),
            (R3, R2, R1, 8),
            (R1, R3, R2, 16),
            (R2, R1, R3, 19),
            (R3, R2, R1, 4),
        ] {
            asm.alu32(AluOp::Sub, a, b);
            rotated(asm, b, by);
            asm.alu32(AluOp::Xor, a, R4);
            asm.alu32(AluOp::Add, b, c);
        }
        add(asm, R1, false, 0);
    } else {
        add(asm, R1, false, 0);
    }
    for (to, of, by) in [
        (R3, R2, 14),
        (R1, R3, 11),
        (R2, R1, 25),
        (R3, R2, 16),
        (R1, R3, 4),
        (R2, R1, 14),
        (R3, R2, 24),
    ] {
        asm.alu32(AluOp::Xor, to, of);
        rotated(asm, of, by);
        asm.alu32(AluOp::Sub, to, R4);
    }
}

/// `R4 =` a number of 32 bits, rotated to the left. Changes `R5`.
fn rotated(asm: &mut Assembler, of: Reg, by: i32) {
    asm.mov32(R4, of);
    asm.alu32(AluOp::Lsh, R4, by);
    asm.mov32(R5, of);
    asm.alu32(AluOp::Rsh, R5, 32 - by);
    asm.alu32(AluOp::Or, R4, R5);
}

/// Writes the target that was chosen to `to`: what takes the place of an address, lower half first, and
/// behind it the port. The address that it replaces and the packet's own port are there before. `mask` is that of
/// the table. Changes `R0` to `R3`.
pub(super) fn target_of(asm: &mut Assembler, mask: u32, place: i16, to: i16) {
    let own = asm.label("own_port");
    asm.load(W, R1, R10, place);
    asm.load_wide(R2, u64::from(mask));
    asm.alu(AluOp::And, R1, R2);
    asm.alu(AluOp::Mul, R1, i32::try_from(ENTRY).unwrap_or(0));
    asm.load_data(R2, TARGETS, 0);
    asm.add(R2, R1);
    for half in [0, 8] {
        asm.load(DW, R0, R10, to + half);
        asm.load(DW, R1, R2, half);
        asm.alu(AluOp::And, R0, R1);
        asm.load(DW, R1, R2, half + 16);
        asm.alu(AluOp::Or, R0, R1);
        asm.store(DW, R10, to + half, R0);
    }
    asm.load(DW, R1, R2, 32);
    asm.jump_if(Eq, R1, 0, own);
    asm.store(polc_bpf::insn::Width::H, R10, to + 16, R1);
    asm.bind(own);
}
