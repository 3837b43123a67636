//! How fast the programs of guards are in the kernel, and what they take to be made and loaded.
//!
//! `cargo bench --bench ebpf [-- FILE…]`, as root: rules of three families and sets of networks are
//! made up; a FILE has filters in the five-field format, which allow and deny in turn. A trace of
//! 65,536 headers, of which half match a rule, goes through each program (see `driver`); at first
//! they are judged by the interpreter as well, and differences are counted. Times are minima of
//! interleaved rounds, in nanoseconds for a packet: `all` is what a program takes above an empty one, and
//! `rules` what it takes above one that only reads the five fields. The ratio is to the empty program,
//! with the reading of the trace in both; for sets, another one is to a trie of the kernel with the
//! same networks.

#![expect(
    clippy::print_stdout,
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a benchmark prints its figures and stops at the first thing that is wrong"
)]

mod driver;
mod trace;

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use polc_compiler::ir::Ir;
use polc_compiler::packet::Pattern;
use polc_compiler::source::SourceMap;
use polc_compiler::target::Options as BuildOptions;
use polc_compiler::target::ebpf::{self, Hook, Programs};
use polc_compiler::{Files, Options, compile};
use polc_generator::filters::{self, Action, Filter};
use polc_generator::{Kind, family_filters, networks4};

use self::driver::{Driver, Header, Measured};

const BUILDS: usize = 3;
const ROUNDS: usize = 25;
const SEED: u64 = 1;

/// How long the interpreter may judge the headers of a case: it goes from rule to rule.
const JUDGING: Duration = Duration::from_secs(10);

/// The one list that policies of this benchmark read.
struct List(String);

impl Files for List {
    fn read(&self, _path: &str) -> std::io::Result<String> {
        Ok(self.0.clone())
    }
}

fn fastest<T>(mut work: impl FnMut() -> T) -> (Duration, T) {
    let mut best: Option<(Duration, T)> = None;
    for _ in 0..BUILDS {
        let start = Instant::now();
        let made = work();
        let time = start.elapsed();
        if best.as_ref().is_none_or(|(least, _)| time < *least) {
            best = Some((time, made));
        }
    }
    best.expect("there is a round")
}

fn compiled(text: &str, files: &List) -> (Ir, SourceMap) {
    let options = Options {
        as_of: "2026-01-01".to_owned(),
        ..Options::default()
    };
    let compilation = compile("bench.pol", text, files, &options);
    let first = compilation.diagnostics.first().map(|d| d.title.clone());
    let ir = compilation.ir.unwrap_or_else(|| panic!("{first:?}"));
    (ir, compilation.sources)
}

/// What programs are measured with and against.
struct Bench {
    driver: Driver,
    empty: Measured,
    parse: Measured,
}

impl Bench {
    fn new() -> Self {
        Self {
            driver: Driver::new(),
            empty: Measured::empty(),
            parse: Measured::parse(),
        }
    }

    /// Measures the guard of a policy, and `beside` in the same rounds. Returns what both take above
    /// a program that only reads the five fields.
    fn case(
        &mut self,
        name: &str,
        (text, files): (&str, &List),
        trace: &[Header],
        beside: Option<&Measured>,
    ) -> Option<[f64; 2]> {
        let (compiling, (ir, sources)) = fastest(|| compiled(text, files));
        let (building, guard) =
            fastest(|| ebpf::guard(&ir, &sources, Hook::Xdp, &BuildOptions::default()));
        let mut line = format!(
            "{name:<20}{:>9.1}{:>9.1}",
            compiling.as_secs_f64() * 1e3,
            building.as_secs_f64() * 1e3
        );
        let guard = match guard {
            Ok(guard) => guard,
            Err(refused) => {
                println!("{line}  {}", refused[0].title);
                return None;
            }
        };
        let program = match Measured::new(&guard.object, name_of(&guard)) {
            Ok(program) => program,
            Err(refusal) => {
                println!("{line}  {}: {refusal}", strategy(&guard));
                return None;
            }
        };
        self.driver.trace(trace);
        let (judged, differences) = self.compare(&ir, &program, trace);
        let mut programs = [self.empty.fd(), self.parse.fd(), program.fd(), program.fd()];
        if let Some(beside) = beside {
            programs[3] = beside.fd();
        }
        let [empty, parse, own, other] = self.driver.times(programs, ROUNDS);
        let _ = write!(
            line,
            "{:>10}{:>9.1}{:>9}{judged:>8}{differences:>6}{:>8.1}{:>8.1}{:>7.2}  {}",
            guard.object.len(),
            program.loading.as_secs_f64() * 1e3,
            program.verified(),
            own - empty,
            own - parse,
            own / empty,
            strategy(&guard),
        );
        println!("{line}");
        Some([own - parse, other - parse])
    }

    /// How many headers were judged by both, and how many of them differently.
    fn compare(&mut self, ir: &Ir, program: &Measured, trace: &[Header]) -> (usize, usize) {
        let start = Instant::now();
        let mut expected = Vec::new();
        for header in trace {
            if start.elapsed() > JUDGING {
                break;
            }
            expected.push(trace::passes(ir, header));
        }
        let got = self.driver.verdicts(program.fd(), expected.len());
        let different = expected.iter().zip(&got).filter(|(a, b)| a != b).count();
        (expected.len(), different)
    }

    fn rules(&mut self, name: &str, rules: &[(Action, Filter)]) {
        let text = filters::policy("bench", rules.iter().copied());
        let text = text.replacen("from outside to inside {", "guard {", 1);
        let filters: Vec<Filter> = rules.iter().map(|(_, filter)| *filter).collect();
        let trace = trace::of_filters(&filters, SEED);
        self.case(name, (&text, &List(String::new())), &trace, None);
    }

    fn networks(&mut self, count: usize) {
        let networks = networks4(count, SEED);
        let list = networks
            .iter()
            .fold(String::new(), |mut text, (addr, len)| {
                let _ = writeln!(text, "{addr}/{len}");
                text
            });
        let text = "policy sets\nset bad = file(\"list.txt\")\n\
                    guard {\n  deny from @bad\n  default allow\n}\ndefault deny\n";
        let trie = Measured::trie(&networks);
        let trace = trace::of_networks(&networks, SEED);
        let name = format!("{count} networks");
        let beside = Some(&trie);
        if let Some([own, other]) = self.case(&name, (text, &List(list)), &trace, beside) {
            println!(
                "{:<20}{:>37.1}{other:>40.1}   the trie takes {:.1} times as long",
                "  kernel's trie",
                trie.loading.as_secs_f64() * 1e3,
                other / own
            );
        }
    }
}

/// The program for interfaces that no rule names.
fn name_of(guard: &Programs) -> &str {
    let any = Pattern::Prefix(String::new());
    let mut programs = guard.programs.iter();
    let program = programs.find(|program| program.pattern == any);
    let name = program.and_then(|program| program.name.as_deref());
    name.expect("there is one")
}

/// How the program classifies IPv4, from its listing.
fn strategy(guard: &Programs) -> &str {
    let notes = guard
        .listing
        .split(&format!("{}():", name_of(guard)))
        .last();
    let note = notes.and_then(|text| text.split("ipv4: ").nth(1));
    note.and_then(|text| text.lines().next()).unwrap_or("?")
}

fn main() {
    if !driver::possible() {
        println!("programs cannot be loaded: it needs root");
        return;
    }
    println!(
        "{:<20}{:>9}{:>9}{:>10}{:>9}{:>9}{:>8}{:>6}{:>8}{:>8}{:>7}  strategy",
        "",
        "compile",
        "build ms",
        "bytes",
        "load ms",
        "verifier",
        "judged",
        "diff",
        "all ns",
        "rules ns",
        "ratio"
    );
    let mut bench = Bench::new();
    let files: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| !a.starts_with("--"))
        .collect();
    for path in &files {
        let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{path}: {e}"));
        let filters = filters::read(&text).unwrap_or_else(|e| panic!("{path}: {e}"));
        let actions = [Action::Allow, Action::Deny].into_iter().cycle();
        let rules: Vec<_> = actions.zip(filters).collect();
        bench.rules(path.rsplit('/').next().unwrap_or(path), &rules);
    }
    if !files.is_empty() {
        return;
    }
    for kind in Kind::ALL {
        for count in [10, 100, 1_000, 10_000] {
            let rules = family_filters(kind, count, SEED);
            bench.rules(&format!("{} {count}", kind.name()), &rules);
        }
    }
    for count in [10_000, 100_000, 1_000_000] {
        bench.networks(count);
    }
}
