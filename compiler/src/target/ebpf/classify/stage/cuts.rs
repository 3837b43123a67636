//! A partition in machine words, with the lower half of wide fields split off.
//!
//! Tables are indexed and compared by at most 64 bits. A wider field is looked up by its upper bits
//! first. Where a piece begins in the middle of what shares these, the result is a reference to a
//! chunk with the pieces of the lower 64 bits. For example, the only member `2001:db8::1` gives three
//! pieces of the upper half: 0 up to `2001:db7:ffff:ffff`, a reference for `2001:db8:0:0`, and 0 after
//! it; the chunk has the result 0 from 0, 1 from 1, and 0 from 2.

use super::super::draft::FLAG;
use super::super::partition::Partition;
use super::chunks::Chunks;

/// Consecutive pieces of numbers of at most 64 bits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Cuts {
    /// How wide the numbers are.
    pub(in super::super) bits: u8,
    /// Where pieces begin; the first is 0.
    pub(in super::super) starts: Vec<u64>,
    /// Their values.
    pub(in super::super) values: Vec<u32>,
}

/// A partition by at most its upper 64 bits.
#[derive(Clone, Debug)]
pub(in super::super) struct Head {
    /// The pieces of the upper bits, or of all of them.
    pub(in super::super) cuts: Cuts,
    /// What references of the pieces mean. `None` for fields of at most 64 bits.
    pub(in super::super) tails: Option<Chunks>,
    /// The number of lower bits that the pieces leave out.
    pub(in super::super) shift: u8,
}

impl Cuts {
    /// The last number of a piece.
    pub(super) fn last(&self, piece: usize) -> u64 {
        let max = u64::MAX >> (64 - u32::from(self.bits));
        self.starts.get(piece + 1).map_or(max, |next| next - 1)
    }

    /// The value of a piece.
    pub(super) fn value(&self, piece: usize) -> u32 {
        self.values.get(piece).copied().unwrap_or_default()
    }

    fn put(&mut self, start: u64, value: u32) {
        if self.starts.last() == Some(&start) {
            self.starts.pop();
            self.values.pop();
        }
        if self.values.last() != Some(&value) {
            self.starts.push(start);
            self.values.push(value);
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "halves have 64 bits")]
fn halves(number: u128) -> (u64, u64) {
    ((number >> 64) as u64, number as u64)
}

impl Head {
    /// Of any partition.
    pub(in super::super) fn of(partition: &Partition) -> Self {
        let mut cuts = Cuts {
            bits: partition.bits(),
            starts: Vec::with_capacity(partition.count()),
            values: Vec::with_capacity(partition.count()),
        };
        if partition.bits() > 64 {
            return split(partition, cuts);
        }
        for (first, _, value) in partition.pieces() {
            cuts.starts.push(halves(first).1);
            cuts.values.push(value);
        }
        Self {
            cuts,
            tails: None,
            shift: 0,
        }
    }
}

fn split(partition: &Partition, mut cuts: Cuts) -> Head {
    cuts.bits -= 64;
    let mut tails = Chunks::default();
    let mut open: Option<Tail> = None;
    let mut before = 0;
    for (first, last, value) in partition.pieces() {
        let ((high, low), (end, _)) = (halves(first), halves(last));
        if low == 0 {
            close(open.take(), &mut tails, &mut cuts);
            cuts.put(high, value);
        } else {
            let tail = match open.take() {
                Some(tail) if tail.high == high => tail,
                other => {
                    close(other, &mut tails, &mut cuts);
                    Tail::new(high, before)
                }
            };
            let tail = open.insert(tail);
            tail.keys.push((low, value));
            if end > high {
                close(open.take(), &mut tails, &mut cuts);
                cuts.put(high + 1, value);
            }
        }
        before = value;
    }
    close(open, &mut tails, &mut cuts);
    Head {
        cuts,
        tails: Some(tails),
        shift: 64,
    }
}

/// The pieces of what shares its upper bits.
struct Tail {
    high: u64,
    first: u32,
    keys: Vec<(u64, u32)>,
}

impl Tail {
    fn new(high: u64, first: u32) -> Self {
        Self {
            high,
            first,
            keys: Vec::new(),
        }
    }
}

fn close(tail: Option<Tail>, tails: &mut Chunks, cuts: &mut Cuts) {
    if let Some(tail) = tail {
        let base = tails.add(tail.first, tail.keys);
        cuts.put(tail.high, FLAG | base);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::Values;

    #[test]
    fn one_member_in_the_middle() {
        let member = 0x2001_0db8u128 << 96 | 1;
        let partition = Partition::of_sets(128, &[&Values::one(member)]);
        let head = Head::of(&partition);
        let high = 0x2001_0db8u64 << 32;
        assert_eq!(head.cuts.starts, [0, high, high + 1]);
        assert_eq!(head.cuts.values, [0, FLAG, 0]);
        assert_eq!(head.tails.unwrap().largest(), 2);
    }

    #[test]
    fn an_upper_half_that_ends_with_a_tail() {
        let partition = Partition::of_sets(128, &[&Values::one(0), &Values::one(1 << 64)]);
        let head = Head::of(&partition);
        assert_eq!(head.cuts.starts, [0, 1, 2]);
        assert_eq!(head.cuts.values, [FLAG, FLAG | 2, 0]);
    }

    #[test]
    fn pieces_over_several_upper_halves() {
        let range = Values::Range(1 << 64 | 5, 3 << 64 | 7);
        let head = Head::of(&Partition::of_sets(128, &[&range]));
        assert_eq!(head.cuts.starts, [0, 1, 2, 3, 4]);
        assert_eq!(head.cuts.values, [0, FLAG, 1, FLAG | 2, 0]);
    }
}
