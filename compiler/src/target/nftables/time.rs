//! Times in nft's notation.

use std::fmt;

/// The longest number of a unit that nft reads has eight digits (`time_parse` in nftables' `src/datatype.c`).
const MOST: u64 = 99_999_999;

/// Milliseconds in nft's notation: in one unit if that can be, otherwise in several. What is longer than nft can say,
/// 270,000 years, is cut.
pub(crate) struct Time(pub(crate) u64);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, rest) = (self.0 / 1000, self.0 % 1000);
        match self.0 {
            ms if rest != 0 && ms <= MOST => return write!(f, "{ms}ms"),
            _ if rest == 0 && seconds <= MOST => return write!(f, "{seconds}s"),
            _ => {}
        }
        let days = (seconds / 86_400).min(MOST);
        let parts = [
            (days, "d"),
            (seconds / 3600 % 24, "h"),
            (seconds / 60 % 60, "m"),
            (seconds % 60, "s"),
            (rest, "ms"),
        ];
        let mut parts = parts.iter().filter(|(number, _)| *number > 0);
        parts.try_for_each(|(number, unit)| write!(f, "{number}{unit}"))
    }
}

#[cfg(test)]
mod tests {
    use super::Time;

    #[test]
    fn no_number_is_too_long_for_nft() {
        for (ms, text) in [
            (0, "0s"),
            (1500, "1500ms"),
            (60_000, "60s"),
            (99_999_999, "99999999ms"),
            (123_428_572, "1d10h17m8s572ms"),
            (99_999_999_000, "99999999s"),
            (100_000_000_000, "1157d9h46m40s"),
            (86_400_000 * 2000, "2000d"),
            (u64::MAX, "99999999d14h25m51s615ms"),
        ] {
            assert_eq!(Time(ms).to_string(), text);
        }
    }
}
