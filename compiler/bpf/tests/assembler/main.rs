//! Programs from the assembler to bytes and back, without a kernel.

mod elf;
mod errors;
mod jumps;
mod roundtrip;
mod text;
