//! How long parsing and formatting take: plain timing, best of several runs.
//!
//! `cargo bench -p polc-grammar`

#![expect(clippy::print_stdout, reason = "figures are what this program is for")]

use std::fmt::Write as _;
use std::hint::black_box;
use std::time::{Duration, Instant};

/// The best time of a few runs of `work`.
fn best(work: impl Fn()) -> Duration {
    let run = |_| {
        let start = Instant::now();
        work();
        start.elapsed()
    };
    (0..7).map(run).min().unwrap_or_default()
}

/// A set of `count` prefixes of both families, one or several in a line.
fn big_set(count: u32, per_line: u32) -> String {
    let mut text = String::from("set big = {");
    for n in 0..count {
        if n % per_line == 0 {
            text.push_str("\n ");
        }
        let [a, b, c, d] = n.wrapping_mul(2_654_435_761).to_be_bytes();
        let element = if n % 4 == 3 {
            format!(" 2001:db8:{a:x}{b:02x}:{c:x}{d:02x}::/64,")
        } else {
            format!(" {a}.{b}.{c}.{d}/32,")
        };
        text.push_str(&element);
    }
    text.push_str("\n}\n");
    text
}

/// A policy of `count` rules in sections of a hundred.
fn many_rules(count: u32) -> String {
    let mut text = String::from("policy big owner bench\n");
    for n in 0..count {
        if n % 100 == 0 {
            let close = if n > 0 { "  default deny\n}\n" } else { "" };
            let _ = writeln!(text, "{close}from zone{} to host {{", n / 100);
        }
        let port = n % 60_000 + 1;
        let _ = writeln!(
            text,
            "  allow tcp/{{{port}, 443}} from @admins to 10.0.0.{} within 10/s per source/24,/56 as rule-{n}",
            n % 250
        );
    }
    text.push_str("  default deny\n}\ndefault deny\n");
    text
}

fn main() {
    let texts = [
        ("set of 100,000, one per line", big_set(100_000, 1)),
        ("set of 100,000, wrapped", big_set(100_000, 5)),
        ("10,000 rules", many_rules(10_000)),
        (
            "10,000 rules, one mistake",
            many_rules(10_000).replace("as rule-5000\n", "is rule-5000\n"),
        ),
    ];
    for (name, text) in &texts {
        let parse = best(|| drop(black_box(polc_grammar::parse(black_box(text)))));
        let format = best(|| drop(black_box(polc_grammar::format(black_box(text)))));
        let size = text.len() / 1000;
        println!("{name:30} {size:5} kB  parse {parse:8.1?}  format {format:8.1?}");
    }
}
