//! The command line: what it prints, what it writes, how it exits.

mod check;
mod harness;
mod large;
mod output;
