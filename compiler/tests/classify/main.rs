//! Plans against the definition of what they answer: the first row that a point is in.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test stops at the first thing that is wrong"
)]

mod families;
mod made;
mod sets;
mod strategies;
