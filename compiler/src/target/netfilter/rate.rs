//! Rates and keys in the kernel's units.

use crate::ir::{Key, KeyKind, Rate, TimeUnit};

/// The word for a unit of time, and its seconds.
pub(crate) fn unit(per: TimeUnit) -> (&'static str, u64) {
    match per {
        TimeUnit::Second => ("second", 1),
        TimeUnit::Minute => ("minute", 60),
        TimeUnit::Hour => ("hour", 3600),
        TimeUnit::Day => ("day", 86_400),
    }
}

/// The milliseconds in which an empty bucket fills: forgetting a key that was unused for as long
/// changes nothing.
pub(crate) fn refill(rate: Rate) -> u64 {
    match rate {
        Rate::Packets { count, per, burst } => burst
            .saturating_mul(unit(per).1.saturating_mul(1000))
            .div_ceil(count.max(1)),
        Rate::Bytes { count, burst } => burst.saturating_mul(1000).div_ceil(count.max(1)),
        Rate::Flows { .. } => 0,
    }
}

/// Whole addresses.
pub(crate) fn full_key(kind: KeyKind) -> Key {
    Key {
        kind,
        v4: 32,
        v6: 128,
    }
}
