//! Programs from the assembler to bytes and back, without a kernel.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first thing that is wrong"
)]

mod elf;
mod errors;
mod jumps;
mod roundtrip;
mod text;
