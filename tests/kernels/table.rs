//! The table of `docs/targets.md`.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use crate::probes::{self, Probe};
use crate::results::{BACKENDS, Kernel, Outcomes, Version};

const BEGIN: &str = "<!-- kernels: written by tests/kernels/run -->\n";
const END: &str = "<!-- end of kernels -->\n";

fn document() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/targets.md")
}

/// Every feature of the document's tables, in small letters and without backticks, and since when kernels have it.
pub(crate) fn features() -> BTreeSet<(String, Version)> {
    let text = fs::read_to_string(document()).expect("the document");
    let rows = text.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| ")?.split(" | ");
        let (name, since) = (cells.next()?, cells.next()?);
        let since = since.split(',').next()?;
        let is_version = since.contains('.') && since.split('.').all(|n| n.parse::<u32>().is_ok());
        is_version.then(|| (name.replace('`', "").to_lowercase(), Version::parse(since)))
    });
    rows.collect()
}

/// Whether the table of targets says that one runs on kernels from a version on.
pub(crate) fn says_that_it_needs(target: &str, floor: Version) -> bool {
    let text = fs::read_to_string(document()).expect("the document");
    let row = format!("| `{target}` | Linux {floor} or later");
    text.lines().any(|line| line.starts_with(&row))
}

/// Compares the table with what kernels have taken, or writes it.
pub(crate) fn check(kernels: &[Kernel], probes: &[Probe]) {
    let path = document();
    let text = fs::read_to_string(&path).expect("the document");
    let (before, rest) = text.split_once(BEGIN).expect("where the table begins");
    let (table, behind) = rest.split_once(END).expect("where the table ends");
    let new = tables(kernels, probes);
    if std::env::var_os("POLC_UPDATE").is_some() {
        let text = format!("{before}{BEGIN}{new}{END}{behind}");
        fs::write(&path, text).expect("written");
        return;
    }
    assert_eq!(table, new, "POLC_UPDATE=1 cargo test --test kernels");
}

fn tables(kernels: &[Kernel], probes: &[Probe]) -> String {
    let mut out = String::from("\n");
    head(&mut out, "policy with", kernels);
    for probe in probes {
        row(
            &mut out,
            &probe.title,
            kernels.iter().map(|k| &k.probes),
            &probe.name,
        );
    }
    out.push('\n');
    head(&mut out, "test with packets", kernels);
    for traffic in probes::traffic() {
        let (module, test) = traffic.test.split_once("::").expect("a module");
        let title = format!("{module}: {}", test.replace('_', " "));
        row(
            &mut out,
            &title,
            kernels.iter().map(|k| &k.traffic),
            &traffic.test,
        );
    }
    out.push('\n');
    out
}

/// The kernels by the versions of their packages, without what Debian has put behind them.
fn head(out: &mut String, first: &str, kernels: &[Kernel]) {
    let full = |kernel: &Kernel| {
        let version = kernel.package.split('-').next();
        version.expect("a version").to_owned()
    };
    let versions: Vec<String> = kernels.iter().map(full).collect();
    let line = "|---".repeat(kernels.len() + 1);
    writeln!(out, "| {first} | {} |\n{line}|", versions.join(" | ")).expect("a line");
}

fn row<'k>(out: &mut String, title: &str, all: impl Iterator<Item = &'k Outcomes>, name: &str) {
    let cells: Vec<String> = all.map(|outcomes| cell(outcomes, name)).collect();
    writeln!(out, "| {title} | {} |", cells.join(" | ")).expect("a line");
}

/// Which backends have taken something: `all`, or all but some.
fn cell(outcomes: &Outcomes, name: &str) -> String {
    let refused: BTreeSet<&str> = BACKENDS
        .iter()
        .map(|(backend, _)| *backend)
        .filter(|backend| {
            let outcome = outcomes.get(&((*backend).to_owned(), name.to_owned()));
            !outcome.is_some_and(|o| o.good)
        })
        .collect();
    match refused.len() {
        0 => "all".to_owned(),
        n if n == BACKENDS.len() => "none".to_owned(),
        _ => {
            let names: Vec<String> = refused.iter().map(|b| format!("`{b}`")).collect();
            format!("not {}", names.join(", "))
        }
    }
}
