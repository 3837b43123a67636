//! Programs in the kernel against the interpreter: random policies, and frames of all kinds, each
//! judged by both.
//!
//! `POLC_POLICIES` says how many policies, `POLC_PACKETS` how many frames each gets, `POLC_SEED`
//! which.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "a test stops at the first thing that is wrong"
)]

mod filter;
mod frames;
mod guard;
mod kernel;
mod logs;
mod originals;
mod rates;
mod senders;
mod sets;
mod steer;
mod tools;
