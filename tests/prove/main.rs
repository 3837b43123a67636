//! Proofs against the interpreter, on policies made up by machine; and what the claims and tests of
//! the model policies notice.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test stops at the first thing that is wrong"
)]

mod agreement;
mod mutations;
