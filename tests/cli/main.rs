//! The command line: what it prints, what it writes, how it exits.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test stops at the first thing that is wrong"
)]

mod answers;
mod check;
mod ci;
mod diff;
mod ebpf;
mod harness;
mod inline;
mod large;
mod lint;
mod log;
mod output;
mod prove;
mod readme;
mod trace;
