//! Changes to a policy's text that leave its meaning alone: the comparison of policies says so, the
//! interpreter does, packet by packet, and targets take what they took.
//!
//! Each file has one kind of change, its trial on random policies, and a control: a change that looks
//! like it and does matter, which both judges have to see. `POLC_POLICIES` and `POLC_SEED` say how
//! many policies and which, `POLC_ONLY` which one of them.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test stops at the first thing that is wrong"
)]

mod edit;
mod inline;
mod insert;
mod judge;
mod layout;
mod mirror;
#[path = "../diff_agrees/points.rs"]
mod points;
mod rename;
mod reorder;
mod split;
mod trial;
