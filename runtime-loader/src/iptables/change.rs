//! The way from what the kernel has to what a bundle says, in steps between which every packet meets the
//! old policy, the new one, or is dropped.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use polc_bundle::{Bundle, Family, Object, ObjectKind};

use super::saved::{ChainName, Entry, Saved};
use super::tools::{FAMILIES, Tools};
use super::{CHAIN_PREFIX, IptablesError, Seen, is_plain, sets};

/// The order in which tables are left: what is the most permissive first.
const LEAVING: [&str; 4] = ["nat", "mangle", "filter", "raw"];

/// The file with sets.
const SETS: &str = "sets.ipset";

/// The last section of a file with rules: it puts the policy in force.
const LAST: &str = "\n*filter\n";

/// What is to be done, in this order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Change {
    sets: String,
    rules: BTreeMap<Family, String>,
    jumps: BTreeMap<Family, String>,
    leave: BTreeMap<Family, String>,
    old_sets: Vec<String>,
    /// The chains and sets that go.
    pub(crate) stale: Vec<Object>,
}

impl Change {
    /// From what was seen to a bundle.
    pub(crate) fn to(bundle: &Bundle, seen: &Seen) -> Result<Self, IptablesError> {
        let sets = file(bundle, SETS)?;
        if !sets::is_own(sets) {
            return Err(problem(SETS, "changes sets that are not a policy's"));
        }
        let mut out = Self::away(seen, Some(bundle));
        sets.clone_into(&mut out.sets);
        for (family, name) in FAMILIES.into_iter().zip(["policy.v4", "policy.v6"]) {
            let text = file(bundle, name)?;
            if !is_own(text) {
                return Err(problem(name, "changes rules that are not a policy's"));
            }
            let (before, last) = text
                .rsplit_once(LAST)
                .ok_or_else(|| problem(name, "does not end with the table `filter`"))?;
            let old = seen.families.get(&family);
            let emptied = old.map(|saved| Gone::find(family, saved, Some(bundle)).emptied());
            let text = format!("{before}{}{LAST}{last}", emptied.unwrap_or_default());
            out.rules.insert(family, text);
            out.jumps.insert(family, jumps(family, bundle, seen)?);
        }
        Ok(out)
    }

    /// From what was seen to what of it a bundle has, or to nothing.
    pub(crate) fn away(seen: &Seen, bundle: Option<&Bundle>) -> Self {
        let mut out = Self::default();
        let mut chains = BTreeSet::new();
        for (&family, saved) in &seen.families {
            let gone = Gone::find(family, saved, bundle);
            out.leave.insert(family, gone.taken_away());
            let names = gone.chains.iter().map(|(_, name)| name);
            chains.extend(names.map(|name| object(ObjectKind::Chain, name)));
        }
        let objects = bundle.map_or(&[][..], |b| &b.manifest().objects);
        let sets = seen.sets.iter().map(|name| object(ObjectKind::Set, name));
        let sets: Vec<Object> = sets.filter(|set| !objects.contains(set)).collect();
        out.old_sets = sets.iter().map(|set| set.name.clone()).collect();
        out.stale = chains.into_iter().chain(sets).collect();
        out
    }

    /// Takes the steps; what stays in the way although nothing needs it, each with the reason.
    pub(crate) fn make(&self, tools: &Tools<'_>) -> Result<Vec<(String, String)>, IptablesError> {
        sets::load(tools.netns, &self.sets)?;
        for step in [&self.rules, &self.jumps, &self.leave] {
            for (family, text) in step.iter().filter(|(_, text)| !text.is_empty()) {
                tools.restore(*family, text)?;
            }
        }
        Ok(sets::destroy(tools.netns, &self.old_sets))
    }
}

/// What of a family goes.
struct Gone<'s> {
    entries: Vec<&'s Entry>,
    chains: Vec<&'s ChainName>,
}

impl<'s> Gone<'s> {
    /// What was seen that the bundle does not have.
    fn find(family: Family, saved: &'s Saved, bundle: Option<&Bundle>) -> Self {
        let manifest = bundle.map(Bundle::manifest);
        let chains = manifest.map_or(&[][..], |m| &m.chains);
        let chains = chains.iter().filter(|own| own.family == family);
        let kept: BTreeSet<(&str, &str)> = chains
            .flat_map(|own| {
                own.chains
                    .iter()
                    .map(|name| (own.table.as_str(), name.as_str()))
            })
            .collect();
        let jumps = manifest.map_or(&[][..], |m| &m.jumps);
        let leads = |(table, from, to): &Entry| {
            jumps.iter().any(|jump| {
                (jump.family, &jump.table, &jump.builtin, &jump.chain) == (family, table, from, to)
            })
        };
        let chains = saved.chains.iter();
        Self {
            entries: saved.entries.iter().filter(|entry| !leads(entry)).collect(),
            chains: chains
                .filter(|(table, name)| !kept.contains(&(table, name)))
                .collect(),
        }
    }

    /// Sections that empty chains of other tables than `filter`, so that no packet meets them together with
    /// the new chains of `filter`.
    fn emptied(&self) -> String {
        let mut text = String::new();
        for table in LEAVING.into_iter().filter(|table| *table != "filter") {
            section(&mut text, table, &self.each(table, "-F"));
        }
        text
    }

    /// Sections that take everything away.
    fn taken_away(&self) -> String {
        let mut text = String::new();
        for table in LEAVING {
            let mut lines = String::new();
            for (_, from, to) in self.entries.iter().filter(|(t, ..)| t == table) {
                line(&mut lines, &["-D", from, "-j", to]);
            }
            lines.push_str(&self.each(table, "-F"));
            lines.push_str(&self.each(table, "-X"));
            section(&mut text, table, &lines);
        }
        text
    }

    fn each(&self, table: &str, option: &str) -> String {
        let mut lines = String::new();
        for (_, chain) in self.chains.iter().filter(|(t, _)| t == table) {
            line(&mut lines, &[option, chain]);
        }
        lines
    }
}

/// The rules that lead to the bundle's chains and are not there yet.
fn jumps(family: Family, bundle: &Bundle, seen: &Seen) -> Result<String, IptablesError> {
    let mut text = String::new();
    for jump in bundle
        .manifest()
        .jumps
        .iter()
        .filter(|j| j.family == family)
    {
        let plain = [&jump.table, &jump.builtin, &jump.chain];
        if !plain.into_iter().all(|word| is_plain(word)) || !jump.chain.starts_with(CHAIN_PREFIX) {
            return Err(problem(
                "manifest.yaml",
                "has jumps that are not a policy's",
            ));
        }
        if !seen.has(jump) {
            let mut lines = String::new();
            line(&mut lines, &["-I", &jump.builtin, "-j", &jump.chain]);
            section(&mut text, &jump.table, &lines);
        }
    }
    Ok(text)
}

/// Whether a text declares and fills nothing but a policy's chains.
fn is_own(text: &str) -> bool {
    let own = |chain: &str| {
        let name = chain.split(' ').next().unwrap_or_default();
        name.starts_with(CHAIN_PREFIX) && is_plain(name)
    };
    let mut lines = text.lines();
    lines.all(|line| {
        line.is_empty()
            || line == "COMMIT"
            || line.starts_with(['#', '*'])
            || line.strip_prefix(':').is_some_and(own)
            || line.strip_prefix("-A ").is_some_and(own)
    })
}

fn line(lines: &mut String, words: &[&str]) {
    // Writing to a `String` cannot fail.
    let _ = writeln!(lines, "{}", words.join(" "));
}

/// Adds a section if it has lines.
fn section(text: &mut String, table: &str, lines: &str) {
    if !lines.is_empty() {
        let _ = write!(text, "\n*{table}\n{lines}COMMIT\n");
    }
}

fn object(kind: ObjectKind, name: &str) -> Object {
    Object {
        kind,
        name: name.to_owned(),
    }
}

fn file<'b>(bundle: &'b Bundle, name: &'static str) -> Result<&'b str, IptablesError> {
    bundle.file(name).ok_or_else(|| problem(name, "is missing"))
}

fn problem(file: &'static str, problem: &'static str) -> IptablesError {
    IptablesError::File { file, problem }
}
