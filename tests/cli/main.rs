//! The command line: what it prints, what it writes, how it exits.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test stops at the first thing that is wrong"
)]

mod check;
mod harness;
mod inline;
mod large;
mod output;
mod prove;
mod readme;
mod trace;
