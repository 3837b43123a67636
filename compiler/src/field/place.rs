//! Where in the IP header a field stands.

use super::{FIELDS, Field};

/// Neighbouring bits of the fixed part of IP headers, as a number whose first bit is the most
/// significant. They lie in one of the header's words of 32 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IpBits {
    /// How many they are.
    pub count: u16,
    /// How many bits of an IPv4 header are before them.
    pub v4: u16,
    /// How many bits of an IPv6 header are before them.
    pub v6: u16,
}

impl IpBits {
    /// The largest number that they can be.
    pub const fn largest(self) -> u64 {
        (1 << self.count) - 1
    }

    /// The piece of `width` bits in which they lie, where the header consists of such pieces: how many
    /// bytes are before it, and how many of its bits behind them. `None` when they are in several.
    pub(crate) fn piece(self, v6: bool, width: u16) -> Option<(u16, u16)> {
        let first = if v6 { self.v6 } else { self.v4 };
        let last = first + self.count - 1;
        let whole = first / width == last / width;
        whole.then(|| (first / width * width / 8, width - 1 - last % width))
    }

    /// The number in a header; `None` when the header ends before it.
    pub(crate) fn read(self, v6: bool, header: &[u8]) -> Option<u64> {
        let (before, behind) = self.piece(v6, 32)?;
        let word = header.get(usize::from(before)..)?.first_chunk()?;
        Some(u64::from(u32::from_be_bytes(*word)) >> behind & self.largest())
    }
}

/// The fields that are bits of the IP header.
pub fn ip_bits() -> impl Iterator<Item = (Field, IpBits)> {
    let fields = FIELDS.iter().copied();
    fields.filter_map(|def| Some((Field::new(def), def.bits?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_lie_in_one_word_of_the_fixed_header() {
        for (field, bits) in ip_bits() {
            assert_eq!(bits.largest(), field.largest(), "{field:?}");
            for (v6, size) in [(false, 20), (true, 40)] {
                let (before, _) = bits.piece(v6, 32).unwrap();
                assert!(before + 4 <= size, "{field:?}");
            }
        }
    }

    #[test]
    fn a_piece_has_all_of_the_bits() {
        // Bits 8 to 13 of IPv4, and 4 to 9 of IPv6.
        let bits = IpBits {
            count: 6,
            v4: 8,
            v6: 4,
        };
        let pieces = [8, 16, 32].map(|width| bits.piece(false, width));
        assert_eq!(pieces, [Some((1, 2)), Some((0, 2)), Some((0, 18))]);
        let pieces = [8, 16, 32].map(|width| bits.piece(true, width));
        assert_eq!(pieces, [None, Some((0, 6)), Some((0, 22))]);
        assert_eq!(bits.read(false, &[0x45, 0xb8, 0, 0]), Some(46));
        assert_eq!(bits.read(true, &[0x6b, 0x80, 0, 0]), Some(46));
        assert_eq!(bits.read(true, &[0x6b, 0x80, 0]), None);
    }
}
