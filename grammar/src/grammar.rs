//! The parser that pest derives from `policy.pest`.

use pest_derive::Parser;

/// The derived parser.
#[derive(Parser)]
#[grammar = "policy.pest"]
pub(crate) struct Grammar;

/// A node of pest's parse tree.
pub(crate) type Pair<'t> = pest::iterators::Pair<'t, Rule>;
