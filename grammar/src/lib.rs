//! Text ↔ syntax tree of the polc policy language.
//!
//! [`parse()`] reads a file and reports all of its mistakes at once; what is well formed around
//! them is in the tree. The grammar is `policy.pest`, which is normative.

#![forbid(unsafe_code)]

pub mod ast;
mod build;
mod diagnose;
mod error;
mod format;
mod grammar;
mod keyword;
mod parse;
mod recover;
mod scan;
pub mod span;

pub use error::{SyntaxError, SyntaxErrorKind};
pub use format::{FormatError, format};
pub use parse::{Parsed, parse};
