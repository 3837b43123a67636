//! A case: a policy that is compiled, built, loaded, judged and measured, and printed in a line.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use polc_compiler::ir::Ir;
use polc_compiler::packet::Pattern;
use polc_compiler::source::SourceMap;
use polc_compiler::target::Options as BuildOptions;
use polc_compiler::target::ebpf::{self, Hook, Programs};
use polc_compiler::{Files, Options, compile};
use polc_generator::filters::{self, Action, Filter};

use crate::driver::{Driver, Header};
use crate::programs::Measured;
use crate::{refill, trace};

const BUILDS: usize = 3;
const ROUNDS: usize = 25;
pub(crate) const SEED: u64 = 1;

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

/// What a case takes: nanoseconds for a packet above a program that only reads the five fields, of the
/// guard and of what is measured beside it; and how long it takes until it is loaded.
struct Times {
    own: f64,
    beside: f64,
    until_loaded: Duration,
    program: Measured,
    guard: Programs,
}

/// What programs are measured with and against.
pub(crate) struct Bench {
    driver: Driver,
    empty: Measured,
    parse: Measured,
    /// What the names of cases have in them that are measured.
    only: String,
}

impl Bench {
    pub(crate) fn new(only: String) -> Self {
        Self {
            only,
            driver: Driver::new(),
            empty: Measured::empty(),
            parse: Measured::parse(),
        }
    }

    /// Measures the guard of a policy, and `beside` in the same rounds.
    fn case(
        &mut self,
        name: &str,
        (text, files): (&str, &List),
        trace: &[Header],
        beside: Option<&Measured>,
    ) -> Option<Times> {
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
        let program = match Measured::new(&guard.object, name_of(&guard), &guard.sets) {
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
            guard.object.len() + guard.sets.iter().map(|set| set.bytes.len()).sum::<usize>(),
            program.loading.as_secs_f64() * 1e3,
            program.verified(),
            own - empty,
            own - parse,
            own / empty,
            strategy(&guard),
        );
        println!("{line}");
        Some(Times {
            own: own - parse,
            beside: other - parse,
            until_loaded: compiling + building + program.loading,
            program,
            guard,
        })
    }

    /// How many headers were judged by both, and how many of them differently.
    fn compare(&mut self, ir: &Ir, program: &Measured, trace: &[Header]) -> (usize, usize) {
        let expected: Vec<bool> = trace.iter().map(|h| trace::passes(ir, h)).collect();
        let got = self.driver.verdicts(program.fd(), expected.len());
        let different = expected.iter().zip(&got).filter(|(a, b)| a != b).count();
        (expected.len(), different)
    }

    /// A list of rules. Returns how long it takes until they are loaded.
    pub(crate) fn rules(&mut self, name: &str, rules: &[(Action, Filter)]) -> Option<Duration> {
        if !name.contains(&self.only) {
            return None;
        }
        let text = filters::policy("bench", rules.iter().copied());
        let text = text.replacen("from outside to inside {", "guard {", 1);
        let filters: Vec<Filter> = rules.iter().map(|(_, filter)| *filter).collect();
        let trace = trace::of_filters(&filters, SEED);
        let times = self.case(name, (&text, &List(String::new())), &trace, None)?;
        Some(times.until_loaded)
    }

    /// A set, against a trie of the kernel with the same networks.
    pub(crate) fn networks(&mut self, name: &str, networks: &[(IpAddr, u8)]) {
        if !name.contains(&self.only) {
            return;
        }
        let trie = Measured::trie(networks);
        let trace = trace::of_networks(networks, SEED);
        let policy = (SETS, &list(networks.iter()));
        if let Some(mut times) = self.case(name, policy, &trace, Some(&trie)) {
            println!(
                "{:<20}{:>37.1}{:>40.1}   the trie takes {:.1} times as long",
                "  kernel's trie",
                trie.loading.as_secs_f64() * 1e3,
                times.beside,
                times.beside / times.own
            );
            replace_one(&mut times, networks);
        }
    }
}

/// A policy with one set.
const SETS: &str = "policy sets\nset bad = file(\"list.txt\")\n\
                    guard {\n  deny from @bad\n  default allow\n}\ndefault deny\n";

fn list<'n>(networks: impl Iterator<Item = &'n (IpAddr, u8)>) -> List {
    List(networks.fold(String::new(), |mut text, (addr, len)| {
        let _ = writeln!(text, "{addr}/{len}");
        text
    }))
}

/// Replaces a network, or a host among hosts, by another one.
fn replace_one(times: &mut Times, networks: &[(IpAddr, u8)]) {
    let (first, last): (IpAddr, IpAddr) = match networks.first() {
        Some((IpAddr::V6(_), _)) => (
            Ipv6Addr::from_bits(0xfd00 << 112).into(),
            Ipv6Addr::from_bits(0xfd09 << 112).into(),
        ),
        _ => (
            Ipv4Addr::new(127, 0, 1, 0).into(),
            Ipv4Addr::new(127, 0, 9, 0).into(),
        ),
    };
    let hosts = networks.iter().all(|(_, len)| *len == 32);
    let with = |addr: IpAddr| {
        let len = match addr {
            IpAddr::V4(_) if hosts => 32,
            IpAddr::V4(_) => 24,
            IpAddr::V6(_) => 48,
        };
        let more = [(addr, len)];
        let (ir, sources) = compiled(SETS, &list(networks.iter().chain(&more)));
        ebpf::guard(&ir, &sources, Hook::Xdp, &BuildOptions::default()).unwrap()
    };
    let [one, other] = [first, last].map(with);
    let changed = one.sets.iter().zip(&other.sets).find(|(a, b)| a != b);
    let Some((one_set, other_set)) =
        changed.filter(|_| one.object == other.object && one.object == times.guard.object)
    else {
        println!("  (another program, or no table of its own)");
        return;
    };
    times.program.refill(one_set);
    let header = trace::from(first);
    let refill = refill::measure(&mut times.program, [one_set, other_set], &header);
    println!(
        "{:<20}one element replaced: in force after {:.2} ms, settled after {:.2} ms",
        "",
        refill.in_force.as_secs_f64() * 1e3,
        refill.settled.as_secs_f64() * 1e3,
    );
}

/// The program for interfaces that no rule names.
fn name_of(guard: &Programs) -> &str {
    let any = Pattern::Prefix(String::new());
    let mut programs = guard.programs.iter();
    let program = programs.find(|program| program.pattern == any);
    let name = program.and_then(|program| program.name.as_deref());
    name.expect("there is one")
}

/// How the program classifies, from its listing; IPv6 only if that is another way.
fn strategy(guard: &Programs) -> String {
    let mut tables = guard.sets.iter().filter_map(|set| {
        let note = guard.listing.split(&format!("{}: ", set.map)).nth(1)?;
        note.lines().next()
    });
    if let Some(first) = tables.next() {
        return tables.fold(format!("table: {first}"), |text, next| {
            format!("{text}, {next}")
        });
    }
    let notes = guard
        .listing
        .split(&format!("{}():", name_of(guard)))
        .last();
    let note = |family: &str| {
        let note = notes.and_then(|text| text.split(family).nth(1));
        note.and_then(|text| text.lines().next()).unwrap_or("?")
    };
    let (v4, v6) = (note("ipv4: "), note("ipv6: "));
    if v4 == v6 || v6 == "straight" {
        v4.to_owned()
    } else {
        format!("{v4}, {v6}")
    }
}

/// Prints what the columns of a case are.
pub(crate) fn heading() {
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
        "rules",
        "ratio"
    );
}
