//! The script as text.

use askama::Template;
use polc_bundle::GENERATION_PLACEHOLDER;

use super::lower::GENERATION;
use super::tree::Table;
use crate::ir::Ir;
use crate::target::netfilter::text::quotable;

#[derive(Template)]
#[template(path = "policy.nft", escape = "none")]
struct Script<'a> {
    policy: String,
    generation: &'static str,
    generation_chain: &'static str,
    table: &'a Table,
}

/// The script that loads `table`. The generation's place is filled in when the bundle is made.
pub(super) fn render(ir: &Ir, table: &Table) -> Result<String, askama::Error> {
    let script = Script {
        policy: quotable(&ir.name, 200),
        generation: GENERATION_PLACEHOLDER,
        generation_chain: GENERATION,
        table,
    };
    script.render()
}
