//! The command line: what it prints, what it writes, how it exits.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test that cannot run polc fails"
)]

mod check;
mod harness;
mod large;
mod output;
