//! How long it takes to find out which rules of a large policy decide anything, and to lint it.
//!
//! `cargo bench --bench lint [-- FILE…]`: three policies of 10,000 rules are made up, of the kinds
//! that filters in the field have; a FILE is one in the five-field format (see
//! `polc_generator::filters`), whose rules allow and deny in turn, for the format does not say. Times
//! are minima of several runs; the search for dead rules uses all processors. Ratios are to the
//! compilation of the same policy in the same run.

#![expect(
    clippy::print_stdout,
    clippy::expect_used,
    clippy::panic,
    reason = "a benchmark prints its figures and stops at the first thing that is wrong"
)]

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use polc_compiler::analyse::lint::{self, Settings};
use polc_compiler::analyse::model::{Model, View};
use polc_compiler::analyse::reach::{Reach, Redundant, Status, reach};
use polc_compiler::ir::Stage;
use polc_compiler::{Compilation, Files, Options, compile};
use polc_generator::filters::{self, Action};
use polc_generator::{Kind, family};

const RULES: usize = 10_000;
const ROUNDS: usize = 5;
const SEED: u64 = 1;

/// The one list that policies of this benchmark read.
struct List(String);

impl Files for List {
    fn read(&self, _path: &str) -> std::io::Result<String> {
        Ok(self.0.clone())
    }
}

fn fastest<T>(mut work: impl FnMut() -> T) -> (Duration, T) {
    let mut best: Option<(Duration, T)> = None;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        let made = work();
        let time = start.elapsed();
        if best.as_ref().is_none_or(|(least, _)| time < *least) {
            best = Some((time, made));
        }
    }
    best.expect("there is a round")
}

fn compiled(text: &str, files: &List) -> Compilation {
    let options = Options {
        as_of: "2026-01-01".to_owned(),
        ..Options::default()
    };
    compile("bench.pol", text, files, &options)
}

/// What is asked of a policy: all lints of the default persona.
fn lint(compilation: &Compilation) -> usize {
    lint::lint(compilation, &Settings::default()).findings.len()
}

/// How many rules are hidden, how many of these by several rules together and by none alone, how
/// many can be removed, and of how many nothing is known.
fn found(reach: &Reach) -> [usize; 5] {
    let count = |test: &dyn Fn(&polc_compiler::analyse::reach::RuleReach) -> bool| {
        reach.rules.iter().filter(|r| test(r)).count()
    };
    let hidden = |r: &polc_compiler::analyse::reach::RuleReach| r.status == Status::Unreachable;
    [
        count(&hidden),
        count(&|r| hidden(r) && r.blockers.len() > 1),
        count(&|r| hidden(r) && r.opposite.is_some()),
        count(&|r| r.redundant == Redundant::Yes),
        count(&|r| r.status == Status::Unknown || r.redundant == Redundant::Unknown),
    ]
}

fn show(name: &str, text: &str, files: &List) {
    let (compiling, compilation) = fastest(|| compiled(text, files));
    let Some(ir) = &compilation.ir else {
        let first = compilation.diagnostics.first();
        panic!("{name}: {}", first.map_or("", |d| d.title.as_str()));
    };
    let model = Model::new(&compilation.policy, ir);
    let (lowering, _) = fastest(|| {
        let model = Model::new(&compilation.policy, ir);
        let lines = Stage::ALL.map(|stage| model.lines(View::of(stage)).expect("it fits"));
        lines.len()
    });
    let (reaching, result) = fastest(|| reach(&model));
    let (linting, _) = fastest(|| lint(&compilation));
    let rules = ir.rules().count();
    let mut line = format!("{name:<20}{rules:>7}");
    for time in [compiling, lowering, reaching, linting] {
        let _ = write!(line, "{:>10.0}", time.as_secs_f64() * 1e3);
    }
    let ratio = linting.as_secs_f64() / compiling.as_secs_f64();
    let _ = write!(line, "{ratio:>8.2}");
    for count in found(&result) {
        let _ = write!(line, "{count:>9}");
    }
    println!("{line}");
}

fn main() {
    println!(
        "{:<20}{:>7}{:>10}{:>10}{:>10}{:>10}{:>8}{:>9}{:>9}{:>9}{:>9}{:>9}",
        "milliseconds",
        "rules",
        "compile",
        "lower",
        "reach",
        "lint",
        "ratio",
        "hidden",
        "jointly",
        "opposite",
        "needless",
        "unknown"
    );
    let none = List(String::new());
    for kind in Kind::ALL {
        show(kind.name(), &family(kind, RULES, SEED), &none);
    }
    let addresses = (0u32..120_000).map(|n| n.wrapping_mul(2_654_435_761));
    let list = addresses.fold(String::new(), |mut text, n| {
        let _ = writeln!(text, "{}", std::net::Ipv4Addr::from(n));
        text
    });
    show("120,000 addresses", &blocklist(), &List(list));
    for path in std::env::args().skip(1).filter(|a| !a.starts_with("--")) {
        let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
        if text.trim_start().starts_with('@') {
            let filters = filters::read(&text).unwrap_or_else(|e| panic!("{path}: {e}"));
            let actions = [Action::Allow, Action::Deny].into_iter().cycle();
            let policy = filters::policy("filters", actions.zip(filters));
            show(&path, &policy, &none);
        } else {
            show(&path, &blocklist(), &List(text));
        }
    }
}

/// A policy in which many rules meet a long list of addresses.
fn blocklist() -> String {
    let mut text = String::from(
        "policy blocklist\nset bad = file(\"list.txt\")\nguard {\n  deny from @bad\n  default allow\n}\n\
         to host {\n  deny from @bad\n",
    );
    for n in 0..200 {
        let (third, port) = (n % 50, 1000 + n);
        let _ = writeln!(
            text,
            "  allow tcp/{port}, udp/{port} from 10.0.{third}.0/24 as r{n}"
        );
        if n % 10 == 0 {
            let _ = writeln!(text, "  deny tcp/{port} from @bad as b{n}");
            let _ = writeln!(text, "  allow tcp/{port} from not @bad as n{n}");
        }
    }
    text.push_str("  default deny\n}\n");
    text
}
