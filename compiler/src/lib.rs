//! The polc compiler: syntax tree → typed policy → IR → target artefacts.
//!
//! Pure: it opens no file, starts no process and looks at no clock. What it needs from outside is
//! handed in.

#![forbid(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::disallowed_methods, clippy::disallowed_types))]

pub mod analyse;
mod compile;
pub mod diagnostic;
pub mod field;
pub mod inline;
pub mod interpret;
pub mod ir;
pub mod packet;
pub mod pass;
pub mod policy;
pub mod resolve;
pub mod source;
pub mod target;

pub use compile::{Compilation, compile};
pub use resolve::{Files, Options};
