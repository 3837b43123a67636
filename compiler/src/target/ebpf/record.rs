//! What a program knows of a packet: numbers at fixed places of its stack, in host order.
//!
//! Only what the rules ask for has a place. A field that a packet can lack has the number behind its
//! largest one when it is missing, so that no set of its values holds: 65536 is the port of a
//! packet without ports.
//!
//! Numbers of less than eight bytes share places of eight, of which the first byte stays free: of what
//! is not at the beginning of a place, the verifier knows nothing. It would look at all rules once for
//! each way in which fields can be missing.

use std::collections::{BTreeMap, BTreeSet};

use polc_bpf::asm::Assembler;
use polc_bpf::insn::Reg::R10;
use polc_bpf::insn::{AluOp, Reg, Width};

use crate::field::{CT_DIRECTION, CT_MARK, CT_STATE, Field, Header, IP_LENGTH};
use crate::ir::DynamicId;

/// The fields that packets of every protocol can lack: the longest IPv6 packets have no length that
/// the field could have, and what is not tracked is in no state.
const CAN_LACK: [Field; 4] = [IP_LENGTH, CT_STATE, CT_MARK, CT_DIRECTION];

/// Something that can be known of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Item {
    /// The number of the class of interfaces that the packet has come in by.
    Ingress,
    /// The source address: 128 bits, of which IPv4 uses the lowest 32.
    Source,
    /// The destination address.
    Destination,
    /// The protocol number.
    Protocol,
    /// A field.
    Field(Field),
    /// The number by which the fragments of a packet are known.
    FragmentId,
    /// 1 for a fragment that is not the first.
    Later,
    /// Where in the frame the header behind that of IP begins.
    Transport,
    /// The number by which an ICMP question and its answer are known.
    EchoId,
    /// The destination address that the packet's flow was opened to, before steer has made another of it.
    Opened,
    /// Of a packet that has come in: 1 if it is for another machine, or for several.
    Away,
    /// Whether packets have added the packet's key to a dynamic set: 1, or 0.
    Member {
        /// The set.
        set: DynamicId,
        /// Whether its destination is asked for, not its source.
        dest: bool,
    },
    /// Whether an address of the packet is in a set that has a table of its own: 1, or 0.
    Inside {
        /// The number of the set.
        set: u16,
        /// Whether its destination is asked for, not its source.
        dest: bool,
    },
    /// Whether the packet has a sender that is known by name: 1, or 0. The number is that of its place.
    Sender(u32),
}

impl Item {
    /// How much of a place it takes; `None` for addresses, which take two.
    fn width(self) -> Option<Width> {
        match self.bits(false) {
            _ if self.is_address() => None,
            0..=8 => Some(Width::B),
            9..=16 => Some(Width::H),
            17..=32 => Some(Width::W),
            _ => Some(Width::DW),
        }
    }

    /// Whether it is an address.
    pub(super) fn is_address(self) -> bool {
        matches!(self, Self::Source | Self::Destination | Self::Opened)
    }

    /// The number that says that the packet does not have it; `None` when every packet does.
    pub(super) fn absent(self) -> Option<u64> {
        match self {
            Self::Field(field)
                if field.def().header != Header::Network || CAN_LACK.contains(&field) =>
            {
                Some(field.largest() + 1)
            }
            Self::FragmentId | Self::Later | Self::Transport | Self::EchoId => Some(0),
            _ => None,
        }
    }

    /// How wide its numbers are, the one for a missing field included.
    pub(super) fn bits(self, v6: bool) -> u8 {
        match self {
            _ if self.is_address() && v6 => 128,
            Self::Source | Self::Destination | Self::Opened | Self::FragmentId => 32,
            Self::Protocol => 8,
            Self::Later
            | Self::Away
            | Self::Member { .. }
            | Self::Inside { .. }
            | Self::Sender(_) => 1,
            Self::Ingress | Self::Transport | Self::EchoId => 16,
            Self::Field(field) => {
                let largest = self.absent().unwrap_or(field.largest());
                u8::try_from(u64::BITS - largest.leading_zeros()).unwrap_or(64)
            }
        }
    }
}

/// Where on the stack everything is.
#[derive(Clone, Debug, Default)]
pub(super) struct Record {
    places: BTreeMap<Item, i16>,
    /// The lowest place in use, a multiple of 8.
    lowest: i16,
}

impl Record {
    /// A record with a place for each of the items.
    pub(super) fn of(items: impl IntoIterator<Item = Item>) -> Self {
        Self::below(0, items)
    }

    /// A record whose places are below one that is a multiple of 8.
    pub(super) fn below(top: i16, items: impl IntoIterator<Item = Item>) -> Self {
        let mut record = Self {
            places: BTreeMap::new(),
            lowest: top,
        };
        let items: BTreeSet<Item> = items.into_iter().collect();
        let mut open = Vec::new();
        for width in [Width::W, Width::H, Width::B] {
            for item in items.iter().filter(|item| item.width() == Some(width)) {
                let at = record.part(&mut open, width);
                record.places.insert(*item, at);
            }
        }
        for item in items {
            let size = match item.width() {
                None => 16,
                Some(Width::DW) => 8,
                Some(_) => continue,
            };
            let at = record.reserve(size);
            record.places.insert(item, at);
        }
        record
    }

    /// Takes a part of a place, of one of the `open` ones if it has room, each of which is said to
    /// have some bytes in use.
    fn part(&mut self, open: &mut Vec<(i16, u8)>, width: Width) -> i16 {
        let parts: &[(i16, u8)] = match width {
            Width::W => &[(4, 0xf0)],
            Width::H => &[(2, 0x0c), (4, 0x30), (6, 0xc0)],
            _ => &[(1, 2), (2, 4), (3, 8), (4, 16), (5, 32), (6, 64), (7, 128)],
        };
        for (place, used) in open.iter_mut() {
            if let Some((at, bytes)) = parts.iter().find(|(_, bytes)| *used & bytes == 0) {
                *used |= bytes;
                return *place + at;
            }
        }
        let place = self.reserve(8);
        let (at, bytes) = parts.first().copied().unwrap_or_default();
        open.push((place, bytes));
        place + at
    }

    /// The lowest place in use.
    pub(super) fn lowest(&self) -> i16 {
        self.lowest
    }

    /// Whether an item has a place.
    pub(super) fn has(&self, item: Item) -> bool {
        self.places.contains_key(&item)
    }

    /// Whether one of some fields has a place.
    pub(super) fn has_any(&self, fields: &[Field]) -> bool {
        fields.iter().any(|field| self.has(Item::Field(*field)))
    }

    /// Takes some bytes, at a multiple of 8.
    pub(super) fn reserve(&mut self, bytes: i16) -> i16 {
        self.lowest -= (bytes + 7) / 8 * 8;
        self.lowest
    }

    /// Notes an item that is in a register, if it has a place.
    pub(super) fn put(&self, asm: &mut Assembler, item: Item, value: Reg) {
        if let Some(at) = self.places.get(&item) {
            asm.store(width(item), R10, *at, value);
        }
    }

    /// Notes the parts of an address, if it has a place. Changes them.
    ///
    /// The second write makes the verifier forget what the first one was about: it would know an
    /// address once a rule has compared it, and look at all rules behind once for each.
    pub(super) fn put_address(&self, asm: &mut Assembler, item: Item, high: Option<Reg>, low: Reg) {
        let Some(at) = self.places.get(&item) else {
            return;
        };
        asm.store(Width::DW, R10, *at, low);
        let Some(high) = high else {
            for offset in [4, 8, 12] {
                asm.store(Width::W, R10, at + offset, 0);
            }
            return;
        };
        asm.store(Width::DW, R10, at + 8, high);
        for (half, offset) in [(low, 4), (high, 12)] {
            asm.alu(AluOp::Rsh, half, 32);
            asm.store(Width::W, R10, at + offset, half);
        }
    }

    /// Notes that the packet has none of the fields that packets can lack. `zero` puts 0 into a register;
    /// changes `R1` and `R2`.
    pub(super) fn clear(&self, asm: &mut Assembler, zero: impl FnOnce(&mut Assembler, Reg)) {
        if self.places.keys().any(|item| item.absent() == Some(0)) {
            zero(asm, Reg::R2);
        }
        for (item, at) in &self.places {
            let Some(absent) = item.absent() else {
                continue;
            };
            if absent == 0 {
                asm.store(width(*item), R10, *at, Reg::R2);
            } else if let Ok(absent) = i32::try_from(absent) {
                asm.store(width(*item), R10, *at, absent);
            } else {
                asm.load_wide(Reg::R1, absent);
                asm.store(width(*item), R10, *at, Reg::R1);
            }
        }
    }

    /// Loads an item that is no address.
    pub(super) fn get(&self, asm: &mut Assembler, dst: Reg, item: Item) {
        debug_assert!(self.has(item), "{item:?} is asked for and not known");
        if let Some(at) = self.places.get(&item) {
            asm.load(width(item), dst, R10, *at);
        }
    }

    /// Loads the lower, or the upper, 64 bits of an address.
    pub(super) fn get_half(&self, asm: &mut Assembler, dst: Reg, item: Item, upper: bool) {
        debug_assert!(self.has(item), "{item:?} is asked for and not known");
        if let Some(at) = self.places.get(&item) {
            asm.load(Width::DW, dst, R10, at + if upper { 8 } else { 0 });
        }
    }
}

fn width(item: Item) -> Width {
    item.width().unwrap_or(Width::DW)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_share_places_and_leave_the_first_byte() {
        let inside = (0..9).map(|set| Item::Inside { set, dest: false });
        let halves = [Item::Ingress, Item::Transport, Item::EchoId];
        let items = [Item::FragmentId, Item::Source].into_iter();
        let record = Record::of(items.chain(inside).chain(halves));
        let mut taken = BTreeSet::new();
        for (item, at) in &record.places {
            let size = match item.width() {
                None => 16,
                Some(Width::W) => 4,
                Some(Width::H) => 2,
                _ => 1,
            };
            assert!(size == 16 || at.rem_euclid(8) != 0, "{item:?}");
            assert_eq!(at.rem_euclid(size.min(8)), 0, "{item:?}");
            assert!((*at..*at + size).all(|byte| taken.insert(byte)), "{item:?}");
        }
        // An address, the fragment's number with two of the halves' bytes, and the rest.
        assert_eq!(record.lowest(), -(16 + 3 * 8));
    }
}
