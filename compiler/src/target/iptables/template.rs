//! The bundle's files as text.

use std::collections::BTreeMap;

use askama::Template;
use polc_bundle::GENERATION_PLACEHOLDER;

use super::Build;
use super::sets::Set;
use super::tree::{Chain, Chains, Line, Table, Test, Then};
use crate::target::netfilter::text::quotable;

/// The chain whose one rule carries the generation.
pub(super) const GENERATION: &str = "POLC-GENERATION";

/// The order in which tables are loaded, filter last: it is held until then.
pub(super) const ORDER: [Table; 4] = [Table::Raw, Table::Nat, Table::Mangle, Table::Filter];

#[derive(Template)]
#[template(path = "iptables.rules", escape = "none")]
struct Rules<'a> {
    policy: &'a str,
    generation: &'static str,
    tool: &'static str,
    sections: Vec<Section>,
}

/// Everything between a table's name and its `COMMIT`.
struct Section {
    table: &'static str,
    chains: Vec<Chain>,
}

#[derive(Template)]
#[template(path = "sets.ipset", escape = "none")]
struct Sets<'a> {
    policy: &'a str,
    generation: &'static str,
    list: Vec<&'a Set>,
}

/// Every file of the bundle but the manifest. The generation's place is filled in when the bundle is
/// made.
pub(super) fn files(
    build: &mut Build,
    families: &[Chains; 2],
) -> Result<BTreeMap<String, String>, askama::Error> {
    let policy = quotable(&build.ir.name, 200);
    let mut out = BTreeMap::new();
    let tools = ["iptables-restore", "ip6tables-restore"];
    for ((chains, tool), file) in families.iter().zip(tools).zip(["policy.v4", "policy.v6"]) {
        let rules = Rules {
            policy: &policy,
            generation: GENERATION_PLACEHOLDER,
            tool,
            sections: sections(build, chains),
        };
        out.insert(file.to_owned(), rules.render()?);
    }
    let sets = Sets {
        policy: &policy,
        generation: GENERATION_PLACEHOLDER,
        list: build.pool.sets().collect(),
    };
    out.insert("sets.ipset".to_owned(), sets.render()?);
    for set in build.pool.sets().filter(|s| !s.is_dynamic()) {
        out.insert(map_file(&set.name), set.lines());
    }
    Ok(out)
}

/// The file with the contents of a set.
pub(super) fn map_file(set: &str) -> String {
    format!("maps/{set}.txt")
}

/// The tables in the order of loading, behind the sections that hold them. What is in force is of no
/// generation from the first of these to the last table.
fn sections(build: &mut Build, chains: &Chains) -> Vec<Section> {
    let mut out = Vec::new();
    for table in [Table::Filter, Table::Mangle] {
        let chains = chains.get(&table).map_or(&[][..], Vec::as_slice);
        let mut held: Vec<Chain> = chains
            .iter()
            .filter_map(|c| Some((c.name.clone(), c.builtin?)))
            .map(|(name, builtin)| Chain {
                name,
                builtin: Some(builtin),
                lines: build.hold(table, builtin),
            })
            .collect();
        if table == Table::Filter {
            held.push(Chain {
                lines: Vec::new(),
                ..generation()
            });
        }
        if !held.is_empty() {
            out.push(Section {
                table: table.name(),
                chains: held,
            });
        }
    }
    for table in ORDER {
        let mut chains = chains.get(&table).cloned().unwrap_or_default();
        if table == Table::Filter {
            chains.push(generation());
        }
        if !chains.is_empty() {
            out.push(Section {
                table: table.name(),
                chains,
            });
        }
    }
    out
}

fn generation() -> Chain {
    let comment = format!("-m comment --comment \"polc {GENERATION_PLACEHOLDER}\"");
    Chain {
        name: GENERATION.into(),
        builtin: None,
        lines: vec![Line::new(vec![Test::Text(comment)], Then::Return)],
    }
}
