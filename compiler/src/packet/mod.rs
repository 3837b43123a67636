//! The algebra of packet sets: integers, addresses, interfaces. Knows no policy.

pub mod addr;
pub mod cover;
pub mod iface;
pub mod interval;
mod merge;
mod region;
mod remainder;
mod values;

pub use addr::AddrSet;
pub use iface::{IfaceSet, Pattern};
pub use interval::IntervalSet;
pub use merge::merge;
pub use region::Region;
pub use remainder::remainder;
pub use values::Values;

/// A set of address families.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Families {
    /// IPv4
    pub v4: bool,
    /// IPv6
    pub v6: bool,
}

impl Families {
    /// Both.
    pub const BOTH: Self = Self { v4: true, v6: true };
    /// IPv4 only.
    pub const V4: Self = Self {
        v4: true,
        v6: false,
    };
    /// IPv6 only.
    pub const V6: Self = Self {
        v4: false,
        v6: true,
    };
    /// Neither.
    pub const NONE: Self = Self {
        v4: false,
        v6: false,
    };

    /// Families of both sets.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            v4: self.v4 && other.v4,
            v6: self.v6 && other.v6,
        }
    }

    /// Families of `self` that are not in `other`.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        Self {
            v4: self.v4 && !other.v4,
            v6: self.v6 && !other.v6,
        }
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        !self.v4 && !self.v6
    }
}
