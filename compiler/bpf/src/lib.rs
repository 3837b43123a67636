//! eBPF objects: instructions, an assembler, maps, BTF, ELF, and a disassembler.
//!
//! This crate knows the machine and the file format, and no policy.
//!
//! - [`insn`]: the instruction set as typed data, its encoding and decoding.
//! - [`asm`]: an assembler with labels, functions and marks of source lines.
//! - [`map`]: definitions of maps.
//! - [`object`]: programs, maps and data in one ELF file that libbpf, bpftool, iproute2 and aya
//!   load, with BTF, so that the kernel and its tools quote the source.
//! - The `Display` of a [`asm::Program`]: its disassembly, for people and for golden files.

#![forbid(unsafe_code)]

pub mod asm;
mod btf;
mod disasm;
pub mod insn;
pub mod map;
pub mod object;
