//! What the targets of netfilter share: where packets pass, what can be asked there, and how rules
//! are shared out between a mangle and a NAT chain.

#[cfg(test)]
pub(crate) mod build;
pub(crate) mod check;
pub(crate) mod features;
pub(crate) mod label;
pub(crate) mod rate;
pub(crate) mod sides;
pub(crate) mod steer;
pub(crate) mod text;

/// The part of a rule that a chain carries out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// All of it.
    Whole,
    /// All but NAT, which a NAT chain does later; it learns of the outcome from the label.
    Mangle { label: Option<u8> },
    /// NAT only; a mangle chain has done the rest and set the label, where one is given.
    Nat { label: Option<u8> },
}
