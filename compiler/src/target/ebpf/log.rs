//! Log entries: records of 64 bytes in a ring that user space reads.
//!
//! | from | bytes | in the machine's byte order, unless said |
//! |---|---|---|
//! | 0 | 8 | nanoseconds since the machine's start |
//! | 8 | 4 | the rule: `log_id` in the manifest |
//! | 12 | 4 | the interface's index |
//! | 16 | 4 | the packet's bytes, without the link's header |
//! | 20 | 1 | where: 0 XDP, 1 arriving packets |
//! | 21 | 1 | the family: 4 or 6 |
//! | 22 | 1 | the protocol |
//! | 23 | 1 | the rule's verdict: 0 none, 1 passes, 2 denied, 3 rejected |
//! | 24 | 16 | the source, in network order; of IPv4 the first 4 bytes |
//! | 40 | 16 | the destination |
//! | 56 | 2 | the source port, 0 where there is none |
//! | 58 | 2 | the destination port |
//! | 60 | 4 | nothing yet: 0 |
//!
//! An entry that finds no room is counted in place of being written.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use polc_bpf::asm::Assembler;
use polc_bpf::insn::Cond::Eq;
use polc_bpf::insn::Reg::{R0, R1, R2, R3, R6, R7, R10};
use polc_bpf::insn::Width::{B, DW, H, W};
use polc_bpf::insn::{Helper, SwapBits};
use polc_bundle::sha256_hex;

use super::hook::Hook;
use super::rate::{Asking, Meter};
use super::record::Item;
use crate::field::{DPORT, META_LENGTH, SPORT};
use crate::ir::{Ir, Sense, Verdict};

/// The ring.
pub(super) const RING: &str = "log";

/// The size of the ring in bytes.
pub(super) const RING_SIZE: u32 = 256 << 10;

/// The map with the number of entries that found no room, for each processor.
pub(super) const LOST: &str = "log_lost";

/// The size of an entry in bytes.
const ENTRY: i32 = 64;

/// What an entry says of a packet.
pub(super) const ASKED: [Item; 6] = [
    Item::Source,
    Item::Destination,
    Item::Protocol,
    Item::Field(SPORT),
    Item::Field(DPORT),
    Item::Field(META_LENGTH),
];

/// The numbers of the rules that log, by their names: the beginning of the name's hash, or the next
/// number that no rule before it has.
pub(super) fn ids(ir: &Ir) -> BTreeMap<Arc<str>, u32> {
    let logging = ir.rules().filter(|(_, rule)| rule.effects.log.is_some());
    let mut taken = BTreeSet::new();
    let id = |name: &Arc<str>| {
        let hash = sha256_hex(name.as_bytes());
        let mut id = hash
            .get(..8)
            .and_then(|digits| u32::from_str_radix(digits, 16).ok())
            .unwrap_or(0);
        while !taken.insert(id) {
            id = id.wrapping_add(1);
        }
        (Arc::clone(name), id)
    };
    logging.map(|(_, rule)| &rule.name).map(id).collect()
}

/// The log entries of a rule.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// The rule's number.
    pub(super) id: u32,
    /// What it decides.
    pub(super) verdict: i32,
    /// How many there may be.
    pub(super) at: Option<Meter>,
}

/// The number of a verdict.
pub(super) fn verdict(verdict: Option<&Verdict>) -> i32 {
    match verdict {
        None => 0,
        Some(Verdict::Deny) => 2,
        Some(Verdict::Reject(_)) => 3,
        Some(_) => 1,
    }
}

impl Entry {
    /// Writes an entry, if there may be one. Changes all registers but `R6`.
    pub(super) fn write(&self, asm: &mut Assembler, with: &Asking, hook: Hook, v6: bool) {
        let [lost, done] = ["lost", "logged"].map(|name| asm.label(name));
        if let Some(meter) = &self.at {
            meter.ask(asm, with, Sense::Within, done);
        }
        asm.note("log");
        asm.load_map(R1, RING);
        asm.mov(R2, ENTRY);
        asm.mov(R3, 0);
        asm.call(Helper::RingbufReserve);
        asm.jump_if(Eq, R0, 0, lost);
        asm.mov(R7, R0);
        asm.call(Helper::KtimeGetNs);
        asm.store(DW, R7, 0, R0);
        asm.store(W, R7, 8, self.id.cast_signed());
        asm.load(W, R1, R6, hook.interface());
        asm.store(W, R7, 12, R1);
        with.record.get(asm, R1, Item::Field(META_LENGTH));
        asm.store(W, R7, 16, R1);
        asm.store(B, R7, 20, hook.number());
        asm.store(B, R7, 21, if v6 { 6 } else { 4 });
        with.record.get(asm, R1, Item::Protocol);
        asm.store(B, R7, 22, R1);
        asm.store(B, R7, 23, self.verdict);
        for (item, at) in [(Item::Source, 24), (Item::Destination, 40)] {
            address(asm, with, item, at, v6);
        }
        // What says that there is none has zeroes in its lower half.
        for (field, at) in [(SPORT, 56), (DPORT, 58)] {
            with.record.get(asm, R1, Item::Field(field));
            asm.store(H, R7, at, R1);
        }
        asm.store(W, R7, 60, 0);
        asm.mov(R1, R7);
        asm.mov(R2, 0);
        asm.call(Helper::RingbufSubmit);
        asm.jump(done);

        asm.bind(lost);
        asm.store(W, R10, with.key, 0);
        asm.load_map(R1, LOST);
        asm.mov(R2, R10);
        asm.add(R2, i32::from(with.key));
        asm.call(Helper::MapLookupElem);
        asm.jump_if(Eq, R0, 0, done);
        asm.load(DW, R1, R0, 0);
        asm.add(R1, 1);
        asm.store(DW, R0, 0, R1);
        asm.bind(done);
    }
}

/// Writes an address to the entry in `R7`.
fn address(asm: &mut Assembler, with: &Asking, item: Item, at: i16, v6: bool) {
    if v6 {
        for (upper, at) in [(true, at), (false, at + 8)] {
            with.record.get_half(asm, R1, item, upper);
            asm.to_be(SwapBits::B64, R1);
            asm.store(DW, R7, at, R1);
        }
    } else {
        with.record.get_half(asm, R1, item, false);
        asm.to_be(SwapBits::B32, R1);
        asm.store(W, R7, at, R1);
        asm.store(W, R7, at + 4, 0);
        asm.store(DW, R7, at + 8, 0);
    }
}
