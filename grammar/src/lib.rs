//! Text ↔ syntax tree of the polc policy language.

pub mod ast;
pub mod span;
