//! Blocks of 16 bits, then 8 and 8: the fewest reads.
//!
//! With 192.0.2.0/24 as the only member of an IPv4 set, the root has 2^16 entries, of which 192.0
//! refers to a block of 256, of which entry 2 is 1. Nothing is longer than 24 bits, so that there is
//! no third level. IPv6 goes on in steps of 8 bits as far as anything begins there, to 64 bits;
//! the rest is in chunks (see [`Tails`]). Blocks with the same entries are one block.
//!
//! Where there are only two values, the blocks of the last level have a bit for each entry: the
//! networks of a set, however many, are 2 MB.

use std::hash::BuildHasher;

use rustc_hash::{FxBuildHasher, FxHashMap};

use super::super::draft::{Data, Draft, FLAG};
use super::super::partition::Partition;
use super::super::plan::{Slot, Step, TableId, Term, Width};
use super::cuts::{Cuts, Head};
use super::{Estimate, Growth, Order, Results, StageKind, Tails, Unfit, head, part};

/// Where it is.
struct Tables {
    /// The root, then the blocks of each level.
    levels: Vec<Level>,
    /// The lower bits of wide fields.
    tails: Tails,
}

/// The blocks of a level.
struct Level {
    /// The blocks, one behind the other.
    table: TableId,
    /// How many lower bits of the field are left to the levels below.
    shift: u8,
    /// How many bits select an entry of a block.
    bits: u8,
}

/// How many bits each level has.
fn strides(bits: u8) -> impl Iterator<Item = u8> {
    let rest = bits.saturating_sub(16);
    let levels = std::iter::repeat_n(8, usize::from(rest / 8));
    [16].into_iter().chain(levels)
}

/// Counts the blocks of every level before equal ones are one.
pub(super) fn estimate(partition: &Partition) -> Estimate {
    let head = Head::of(partition);
    let mut shift = head.cuts.bits;
    let mut levels = Vec::new();
    for bits in strides(head.cuts.bits) {
        let blocks = if levels.is_empty() {
            1
        } else {
            blocks(&head.cuts.starts, shift)
        };
        levels.push((blocks, bits));
        shift -= bits;
    }
    let tails = head.tails.map_or(0, |tails| tails.room(Growth::Fixed));
    let below = levels
        .iter()
        .skip(1)
        .map(|(blocks, _)| *blocks)
        .chain([tails]);
    let last = levels.iter().rposition(|(blocks, _)| *blocks > 0);
    let packed = last.filter(|last| *last > 0 && tails == 0 && partition.two_values().is_some());
    let bytes = |(at, ((blocks, bits), below)): (usize, (&(usize, u8), usize))| {
        if packed == Some(at) {
            return (blocks << bits) / 8;
        }
        let largest = below.max(partition.largest() as usize) as u64;
        (blocks << bits) * Width::holding(largest * 2 + 1).bytes() as usize
    };
    Estimate {
        kind: StageKind::Multibit,
        bytes: levels
            .iter()
            .zip(below)
            .enumerate()
            .map(bytes)
            .sum::<usize>()
            + tails * 12,
        reads: levels.iter().filter(|(blocks, _)| *blocks > 0).count(),
    }
}

/// How many runs of `2^shift` numbers a piece begins inside of.
fn blocks(starts: &[u64], shift: u8) -> usize {
    let low = (1u64 << shift) - 1;
    let inside = starts.iter().filter(|start| *start & low != 0);
    let (mut count, mut last) = (0, None);
    for run in inside.map(|start| start >> shift) {
        count += usize::from(last != Some(run));
        last = Some(run);
    }
    count
}

pub(super) fn build(draft: &mut Draft, order: Order<'_>) -> Result<Slot, Unfit> {
    let bits = order.partition.bits();
    if bits.min(64) < 24 || !bits.is_multiple_of(8) || (65..88).contains(&bits) {
        return Err(Unfit::Bits(bits));
    }
    let (cuts, tails) = head(draft, order);
    let mut levels = Builder::of(&cuts).levels;
    levels.retain(|level| !level.entries.is_empty());
    let rooms: Vec<usize> = levels
        .iter()
        .map(|level| level.room(order.growth))
        .collect();
    // Tails would be referred to.
    let last_is_last = tails.tables.is_none() && levels.len() > 1;
    let packed = order.partition.two_values().filter(|_| last_is_last);
    let last = levels.len() - 1;
    let mut places = Vec::new();
    for (at, level) in levels.into_iter().enumerate() {
        let below = rooms
            .get(at + 1)
            .map(|room| super::super::draft::room(*room));
        let results = match below {
            Some(room) => Results {
                largest: order.largest,
                references: u32::try_from(room - 1).unwrap_or(FLAG - 1),
            },
            None => tails.results,
        };
        let room = rooms.get(at).copied().unwrap_or_default() << level.bits;
        let data = match packed.filter(|_| at == last) {
            Some([zero, _]) => Data::wide(pack(&level.entries, zero)).with_room(room / 64),
            None => results.data(level.entries).with_room(room),
        };
        places.push(Level {
            table: draft.table(data),
            shift: tails.shift + level.shift,
            bits: level.bits,
        });
    }
    let tables = Tables {
        levels: places,
        tails,
    };
    Ok(tables.steps(draft, order.field, packed))
}

/// A bit for each entry: whether it is the larger of two values.
fn pack(entries: &[u32], zero: u32) -> Vec<u64> {
    let word = |entries: &[u32]| {
        let bits = (0u32..).zip(entries).filter(|(_, entry)| **entry != zero);
        bits.fold(0, |word, (bit, _)| word | 1 << bit)
    };
    entries.chunks(64).map(word).collect()
}

impl Tables {
    fn steps(&self, draft: &mut Draft, field: u16, packed: Option<[u32; 2]>) -> Slot {
        let (slot, mut flag) = (draft.slot(), 0);
        for (at, level) in self.levels.iter().enumerate() {
            let part = part(field, level.shift, level.bits);
            draft.push(match at {
                0 => Step::Load {
                    to: slot,
                    table: level.table,
                    index: vec![Term::part(part)],
                },
                _ => match packed.filter(|_| at + 1 == self.levels.len()) {
                    Some(values) => Step::Bit {
                        slot,
                        flag,
                        table: level.table,
                        part,
                        values,
                    },
                    None => Step::Descend {
                        slot,
                        flag,
                        table: level.table,
                        part,
                    },
                },
            });
            flag = draft.flag(level.table);
        }
        self.tails.follow(draft, field, slot, flag);
        slot
    }
}

/// The blocks of a level while they are made.
struct Blocks {
    entries: Vec<u32>,
    /// Blocks by the hash of their entries.
    known: FxHashMap<u64, u32>,
    shift: u8,
    bits: u8,
}

impl Blocks {
    fn room(&self, growth: Growth) -> usize {
        match self.bits {
            16 => 1,
            bits => growth.room(self.entries.len() >> bits, 256),
        }
    }

    /// The number of the block with these entries.
    fn add(&mut self, block: &[u32]) -> u32 {
        let next = self.entries.len() >> self.bits;
        let next = u32::try_from(next).unwrap_or(FLAG - 1);
        let known = *self
            .known
            .entry(FxBuildHasher.hash_one(block))
            .or_insert(next);
        let at = (known as usize) << self.bits;
        if self.entries.get(at..at + block.len()) == Some(block) {
            return known;
        }
        // New, or another block has the same hash: then there are two of the new one at worst.
        self.entries.extend_from_slice(block);
        next
    }
}

struct Builder<'a> {
    cuts: &'a Cuts,
    /// The piece that is being written.
    piece: usize,
    levels: Vec<Blocks>,
}

impl<'a> Builder<'a> {
    fn of(cuts: &'a Cuts) -> Self {
        let mut shift = cuts.bits;
        let mut levels = Vec::new();
        for bits in strides(cuts.bits) {
            shift -= bits;
            levels.push(Blocks {
                entries: Vec::new(),
                known: FxHashMap::default(),
                shift,
                bits,
            });
        }
        let mut builder = Self {
            cuts,
            piece: 0,
            levels,
        };
        builder.block(0, 0);
        builder
    }

    /// Makes the block of a level that begins at `base` and everything below it.
    fn block(&mut self, level: usize, base: u64) -> u32 {
        let Some(Blocks { shift, bits, .. }) = self.levels.get(level) else {
            return 0;
        };
        let (shift, size) = (*shift, 1usize << bits);
        let low = (1u64 << shift) - 1;
        let mut block = Vec::with_capacity(size);
        while block.len() < size {
            let child = base | (block.len() as u64) << shift;
            let last = self.cuts.last(self.piece);
            if last < child | low {
                let below = self.block(level + 1, child);
                block.push(FLAG | below);
                continue;
            }
            // The piece has one or more children as a whole.
            let even = last & low == low;
            let whole = ((last - base) >> shift).saturating_add(u64::from(even));
            let whole = usize::try_from(whole).unwrap_or(size).min(size);
            block.resize(whole, self.cuts.value(self.piece));
            let end = base | (whole as u64 - 1) << shift | low;
            if end == last && self.piece + 1 < self.cuts.starts.len() {
                self.piece += 1;
            }
        }
        self.levels
            .get_mut(level)
            .map_or(0, |level| level.add(&block))
    }
}
