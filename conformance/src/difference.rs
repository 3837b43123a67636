//! How a backend and the interpreter can differ.

use std::fmt;

/// How a backend differs from the interpreter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Difference {
    /// A packet passed that should not have.
    FalseAllow,
    /// A packet did not pass that should have.
    FalseDeny,
    /// It was not answered, or in another way.
    Answer,
    /// It passed elsewhere, as another packet, or with another mark.
    Form,
    /// A rule has counted another number of packets.
    Count,
    /// There was no packet: the kernel does not take what the target makes of the policy.
    Refused,
}

/// A packet about which a backend and the interpreter differ.
#[derive(Clone, Debug)]
pub struct Mismatch {
    /// How they differ.
    pub difference: Difference,
    /// What was sent and seen, for people.
    pub text: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::FalseAllow => "false allow",
            Self::FalseDeny => "false deny",
            Self::Answer => "other answer",
            Self::Form => "other packet",
            Self::Count => "other count",
            Self::Refused => "refused",
        })
    }
}
