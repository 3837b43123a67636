//! How fast the programs of guards are in the kernel, and what they take to be made and loaded.
//!
//! `cargo bench --bench ebpf [-- [--only WORD] FILE…]`, as root: rules of three families and sets of
//! networks are made up; with `--only`, those cases alone whose name has the word in it, like `IPv6`. A FILE has filters in the five-field format, which allow and deny in turn; or a network
//! or an address a line, of either IP version, which are a set. A trace of 65,536 headers, of which
//! half match a rule, goes through each program (see `driver`); at first they are judged by the
//! interpreter as well, and differences are counted. Times are minima of
//! interleaved rounds, in nanoseconds for a packet: `all` is what a program takes above an empty one, and
//! `rules` what it takes above one that only reads the five fields. The ratio is to the empty program,
//! with the reading of the trace in both; for sets, another one is to a trie of the kernel with the
//! same networks. Where the set has a table of its own, one of its networks is replaced by another one
//! while the program runs: until a packet is judged by the new contents, and until the call returns,
//! which waits until no packet is judged by the old ones.

#![expect(
    clippy::print_stdout,
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a benchmark prints its figures and stops at the first thing that is wrong"
)]

mod cases;
mod driver;
mod programs;
mod refill;
mod trace;

use std::net::IpAddr;

use polc_generator::filters::{self, Action};
use polc_generator::{Kind, family_filters, hosts4, networks4, networks6};

use self::cases::{Bench, SEED};

/// The largest list of rules.
const MOST: usize = 10_000;

/// The networks of a list: one a line, with or without other words behind it.
fn networks(text: &str) -> Vec<(IpAddr, u8)> {
    let words = text.lines().map(|line| line.split_whitespace().next());
    let words = words.flatten().filter(|word| !word.starts_with('#'));
    let network = |word: &str| {
        let (addr, len) = word.split_once('/').unwrap_or((word, ""));
        let addr: IpAddr = addr.parse().ok()?;
        let all = if addr.is_ipv4() { 32 } else { 128 };
        let len = if len.is_empty() {
            all
        } else {
            len.parse().ok()?
        };
        Some((addr, len))
    };
    words
        .map(|word| network(word).unwrap_or_else(|| panic!("`{word}` is not a network")))
        .collect()
}

fn file(bench: &mut Bench, path: &str) {
    let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{path}: {e}"));
    let name = path.rsplit('/').next().unwrap_or(path);
    if !text.trim_start().starts_with('@') {
        return bench.networks(name, &networks(&text));
    }
    let filters = filters::read(&text).unwrap_or_else(|e| panic!("{path}: {e}"));
    let actions = [Action::Allow, Action::Deny].into_iter().cycle();
    let rules: Vec<_> = actions.zip(filters).collect();
    bench.rules(name, &rules);
}

/// Rules of three families.
fn rules(bench: &mut Bench) {
    let mut until_loaded = Vec::new();
    for kind in Kind::ALL {
        for count in [10, 100, 1_000, MOST] {
            let rules = family_filters(kind, count, SEED);
            let time = bench.rules(&format!("{} {count}", kind.name()), &rules);
            until_loaded.extend(time.filter(|_| count == MOST).map(|time| (kind, time)));
        }
    }
    for (kind, time) in until_loaded {
        let ms = time.as_secs_f64() * 1e3;
        println!(
            "{} {MOST}: compiled, built and loaded in {ms:.0} ms",
            kind.name()
        );
    }
}

/// Sets of networks and hosts.
fn sets(bench: &mut Bench) {
    let v4 = |count| networks4(count, SEED).into_iter();
    for count in [10_000, 100_000, 1_000_000] {
        let networks: Vec<_> = v4(count).map(|(addr, len)| (addr.into(), len)).collect();
        bench.networks(&format!("{count} IPv4"), &networks);
    }
    let hosts = hosts4(120_000, SEED).into_iter();
    let hosts: Vec<_> = hosts.map(|addr| (addr.into(), 32)).collect();
    bench.networks(&format!("{} hosts", hosts.len()), &hosts);
    let v6 = |count| networks6(count, SEED).into_iter();
    for count in [74_000, 1_000_000] {
        let networks: Vec<_> = v6(count).map(|(addr, len)| (addr.into(), len)).collect();
        bench.networks(&format!("{count} IPv6"), &networks);
    }
}

fn main() {
    if !programs::possible() {
        println!("programs cannot be loaded: it needs root");
        return;
    }
    let mut args = std::env::args().skip(1);
    let (mut files, mut only) = (Vec::new(), String::new());
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--only" => only = args.next().expect("`--only` has a word"),
            _ if !arg.starts_with("--") => files.push(arg),
            _ => {}
        }
    }
    let mut bench = Bench::new(only);
    cases::heading();
    if files.is_empty() {
        rules(&mut bench);
        sets(&mut bench);
    }
    for path in &files {
        file(&mut bench, path);
    }
}
