//! How long the compiler takes, and how long the kernel tool takes to load what it wrote.
//!
//! `cargo bench --bench compile [FILE]`: FILE is a list of addresses; without it a list of the
//! same size is made up. Times are minima of several runs. The load of the compiled set is given
//! as a ratio to that of the shortest file that could be written by hand, in the same run: it
//! needs root and `nft`, and is left out without them.

#![expect(
    clippy::print_stdout,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a benchmark prints its figures and stops at the first thing that is wrong"
)]

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use polc_compiler::{Files, Options, compile, target};

/// As many addresses as a well-known list has.
const ADDRESSES: u32 = 120_430;
const RULES: u32 = 10_000;
const ROUNDS: usize = 5;

/// The one list that policies of this benchmark read.
struct List(String);

impl Files for List {
    fn read(&self, _path: &str) -> std::io::Result<String> {
        Ok(self.0.clone())
    }
}

/// Scatters numbers over all of 32 bits: a multiplication by an odd number loses none.
fn scatter(n: u32) -> u32 {
    n.wrapping_mul(2_654_435_761)
}

fn addresses() -> String {
    (0..ADDRESSES)
        .map(scatter)
        .fold(String::new(), |mut text, n| {
            let _ = writeln!(text, "{}", std::net::Ipv4Addr::from(n));
            text
        })
}

/// Rules that no optimiser can join: every one has a network, a port and a verdict of its own.
fn rules() -> String {
    let mut text = String::from("policy rules\nto host {\n");
    for n in 0..RULES {
        let (a, b) = (scatter(n), scatter(n + RULES));
        let verdict = ["allow", "deny", "reject"][n as usize % 3];
        let source = std::net::Ipv4Addr::from(a & 0xffff_ff00);
        let dest = std::net::Ipv4Addr::from(b & 0xff00_0000);
        let port = 1 + b % 65_535;
        let _ = writeln!(
            text,
            "  {verdict} tcp/{port} from {source}/24 to {dest}/8 as r{n}"
        );
    }
    text.push_str("  default deny\n}\n");
    text
}

fn fastest(mut work: impl FnMut()) -> Duration {
    let time = |work: &mut dyn FnMut()| {
        let start = Instant::now();
        work();
        start.elapsed()
    };
    (0..ROUNDS)
        .map(|_| time(&mut work))
        .min()
        .unwrap_or_default()
}

/// Compiles a policy down to its script.
fn script(text: &str, files: &List) -> String {
    let options = Options {
        as_of: "2026-01-01".to_owned(),
        ..Options::default()
    };
    let compilation = compile("bench.pol", text, files, &options);
    let ir = compilation.ir.expect("the policy is right");
    let nftables = target::find("nftables").expect("the target exists");
    let bundle = nftables.emit(&ir, &compilation.sources, &target::Options::default());
    bundle
        .expect("it is expressible")
        .file("policy.nft")
        .expect("the script")
        .to_owned()
}

/// Loads a script into a namespace that ends with the command.
fn load(path: &Path) -> bool {
    Command::new("unshare")
        .args(["--net", "nft", "-f"])
        .arg(path)
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// The shortest file with the same set.
fn by_hand(list: &str) -> String {
    let elements: Vec<&str> = list
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .filter(|word| !word.starts_with('#'))
        .collect();
    format!(
        "table inet polc {{\nset bad {{\ntype ipv4_addr\nelements = {{ {} }}\n}}\n\
         chain input {{\ntype filter hook input priority 0\nip saddr @bad drop\n}}\n}}\n",
        elements.join(",")
    )
}

fn main() {
    let given = std::env::args().skip(1).find(|a| !a.starts_with("--"));
    let list = given.map_or_else(addresses, |path| std::fs::read_to_string(path).unwrap());
    let files = List(list);
    let sets = "policy sets\nset bad = file(\"list.txt\")\n\
                to host { deny from @bad  default allow }\n";
    let rules = rules();
    println!("{:<44}{:>10}", "", "ms");
    let show = |what: &str, time: Duration| {
        println!("{what:<44}{:>10.1}", time.as_secs_f64() * 1e3);
    };
    let lines = files.0.lines().count();
    show(
        &format!("compile a set of {lines} addresses"),
        fastest(|| drop(script(sets, &files))),
    );
    show(
        &format!("parse {RULES} rules"),
        fastest(|| drop(polc_grammar::parse(&rules))),
    );
    show(
        &format!("compile {RULES} rules"),
        fastest(|| drop(script(&rules, &files))),
    );

    let dir = tempfile::tempdir().unwrap();
    let (own, hand) = (dir.path().join("own.nft"), dir.path().join("hand.nft"));
    std::fs::write(&own, script(sets, &files)).unwrap();
    std::fs::write(&hand, by_hand(&files.0)).unwrap();
    if !load(&own) || !load(&hand) {
        println!("loading is left out: it needs root and `nft`");
        return;
    }
    let (own, hand) = (
        fastest(|| assert!(load(&own))),
        fastest(|| assert!(load(&hand))),
    );
    show("load the compiled set", own);
    show("load the set written by hand", hand);
    println!(
        "{:<44}{:>10.2}",
        "ratio",
        own.as_secs_f64() / hand.as_secs_f64()
    );
}
