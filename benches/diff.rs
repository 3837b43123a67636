//! How long it takes to compare a large policy with an edited one, beside compiling it.
//!
//! `cargo bench --bench diff`: ten rules of ten thousand are edited. Times are minima of several
//! runs.

#![expect(
    clippy::print_stdout,
    clippy::expect_used,
    reason = "a benchmark prints its figures and stops at the first thing that is wrong"
)]

use std::time::{Duration, Instant};

use polc_compiler::analyse::diff::{Limits, diff};
use polc_compiler::{Compilation, Files, Options, compile};
use polc_generator::{Kind, family};

const RULES: usize = 10_000;
const EDITS: usize = 10;
const ROUNDS: usize = 3;

/// The policies of this benchmark read no files.
struct NoFiles;

impl Files for NoFiles {
    fn read(&self, path: &str) -> std::io::Result<String> {
        Err(std::io::Error::other(path.to_owned()))
    }
}

fn compiled(text: &str) -> Compilation {
    let options = Options {
        as_of: "2026-01-01".to_owned(),
        ..Options::default()
    };
    compile("bench.pol", text, &NoFiles, &options)
}

fn fastest<T>(mut work: impl FnMut() -> T) -> Duration {
    let mut best = Duration::MAX;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        drop(work());
        best = best.min(start.elapsed());
    }
    best
}

/// Turns the verdict of every thousandth rule.
fn edited(text: &str) -> String {
    let mut count = 0;
    let mut edits = 0;
    let lines = text.lines().map(|line| {
        let rule = ["  allow ", "  deny "]
            .iter()
            .any(|verb| line.starts_with(verb));
        count += usize::from(rule);
        if !rule || count % (RULES / EDITS) != 0 {
            return line.to_owned();
        }
        edits += 1;
        match line.strip_prefix("  allow ") {
            Some(rest) => format!("  deny {rest}"),
            None => line.replacen("  deny ", "  allow ", 1),
        }
    });
    let out: Vec<String> = lines.collect();
    assert_eq!(edits, EDITS, "the rules are written as they are read here");
    out.join("\n")
}

fn main() {
    println!("{:<44}{:>10}", "", "ms");
    let show = |what: &str, time: Duration| {
        println!("{what:<44}{:>10.1}", time.as_secs_f64() * 1e3);
    };
    for kind in Kind::ALL {
        let text = family(kind, RULES, 1);
        let (a, b) = (compiled(&text), compiled(&edited(&text)));
        let (from, to) = (a.ir.as_ref().expect("right"), b.ir.as_ref().expect("right"));
        let compile = fastest(|| compiled(&text));
        let run = || diff((&a.policy, from), (&b.policy, to), Limits::default());
        let found = run();
        let time = fastest(run);
        let boxes: usize = found.changes.iter().map(|c| c.boxes.len()).sum();
        show(&format!("compile {RULES} rules ({})", kind.name()), compile);
        show(&format!("diff after {EDITS} edits"), time);
        println!(
            "{:<44}{:>10.3}",
            "ratio",
            time.as_secs_f64() / compile.as_secs_f64()
        );
        println!(
            "  {} changes, {boxes} boxes, {}",
            found.changes.len(),
            found
                .unknown
                .map_or("all of it", |unknown| unknown.reason())
        );
    }
}
