//! What the live kernel, and the loaders people use, make of objects.
//!
//! What is pinned lies in file systems that a test mounts for itself, what is attached hangs on
//! interfaces in a namespace of its own: both go when the test ends, however it ends.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first thing that is wrong"
)]

mod big;
mod load;
mod sample;
mod support;
mod tools;
