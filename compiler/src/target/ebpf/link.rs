//! What the frames of an interface begin with. Only the loader sees which it is, so that there are
//! programs for each.

use polc_bpf::asm::{AsmError, Assembler, Isa, Program};

/// The first header of frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Link {
    /// That of Ethernet.
    Ethernet,
    /// That of IP: there is none of a link.
    Bare,
}

impl Link {
    /// Where the header of IP begins, if there are no VLAN tags.
    pub(super) fn size(self) -> i32 {
        match self {
            Self::Ethernet => 14,
            Self::Bare => 0,
        }
    }

    /// The name of the program of that name for such frames.
    pub(super) fn program(self, name: &str) -> String {
        match self {
            Self::Ethernet => name.to_owned(),
            Self::Bare => format!("{name}_ip"),
        }
    }
}

/// The program that is written: one that kernels before 6.6 load, unless it is too long for that.
pub(super) fn assembled(write: impl Fn() -> Assembler) -> Result<Program, AsmError> {
    match write().finish(Isa::V3) {
        Err(AsmError::TooFar { .. }) => write().finish(Isa::V4),
        other => other,
    }
}

/// Something for each kind of frames, made in the same way.
#[derive(Clone, Debug)]
pub(super) struct Each<T> {
    pub(super) ethernet: T,
    pub(super) bare: T,
}

impl<T> Each<T> {
    /// Makes both.
    pub(super) fn try_make<E>(make: impl Fn(Link) -> Result<T, E>) -> Result<Self, E> {
        Ok(Self {
            ethernet: make(Link::Ethernet)?,
            bare: make(Link::Bare)?,
        })
    }
}
