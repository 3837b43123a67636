//! How long the tables of a classifier take to make, how large they are, and how fast the reference
//! evaluator looks points up in them.
//!
//! `cargo bench --bench classify [-- FILE…]`: rules of three families and sets of networks and hosts
//! are made up. A FILE has one address or network a line, with or without a word behind it (then
//! networks with the same word are one rule), or filters in the five-field format. Times are minima
//! of several runs; ratios are to the plain way in the same run: rule by rule, or a search by halves
//! in the sorted list.

#![expect(
    clippy::print_stdout,
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    reason = "a benchmark prints its figures and stops at the first thing that is wrong"
)]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use polc_compiler::packet::{IntervalSet, Region, Values};
use polc_compiler::target::ebpf::classify::stage::StageKind;
use polc_compiler::target::ebpf::classify::{
    AddressTable, FieldSpec, Limits, Partition, Plan, Problem, Row, choose, only,
};
use polc_generator::filters::{self, Filter};
use polc_generator::{Kind, family_filters, hosts4, networks4, networks6};

const ROUNDS: usize = 3;
const SEED: u64 = 1;
const POINTS: usize = 65_536;

fn fastest<T>(rounds: usize, mut work: impl FnMut() -> T) -> (Duration, T) {
    let mut best: Option<(Duration, T)> = None;
    for _ in 0..rounds {
        let start = Instant::now();
        let made = work();
        let time = start.elapsed();
        if best.as_ref().is_none_or(|(least, _)| time < *least) {
            best = Some((time, made));
        }
    }
    best.expect("there is a round")
}

fn head(title: &str) {
    println!(
        "\n{title:<34}{:>9} {:>10} {:>11} {:>6} {:>9} {:>8}",
        "", "build ms", "bytes", "steps", "ns/lookup", "ratio"
    );
}

fn line(name: &str, how: &str, build: Duration, plan: &Plan, own: f64, naive: f64) {
    println!(
        "{name:<34}{how:>9} {:>10.2} {:>11} {:>6} {own:>9.1} {:>8.1}",
        build.as_secs_f64() * 1e3,
        plan.blob.len(),
        plan.steps.len(),
        naive / own,
    );
}

/// Nanoseconds for each point.
fn per_point<P>(points: &[P], mut look: impl FnMut(&P) -> u32) -> f64 {
    let (time, _) = fastest(ROUNDS, || {
        points
            .iter()
            .fold(0u32, |sum, p| sum.wrapping_add(black_box(look(p))))
    });
    time.as_secs_f64() * 1e9 / points.len() as f64
}

fn five_fields(filters: &[Filter]) -> Problem {
    let fields = vec![
        FieldSpec::address4("source"),
        FieldSpec::address4("destination"),
        FieldSpec::port("source port"),
        FieldSpec::port("port"),
        FieldSpec::number("protocol", 8),
    ];
    let net = |(addr, len)| prefix(IpAddr::V4(addr), len);
    let ports = |(first, last): (u16, u16)| Values::Range(first.into(), last.into());
    let row = |(rule, f): (u32, &Filter)| Row {
        region: Region::new(vec![
            Values::Range(net(f.source).0, net(f.source).1),
            Values::Range(net(f.dest).0, net(f.dest).1),
            ports(f.sport),
            ports(f.dport),
            f.proto
                .map_or(Values::Range(0, 255), |p| Values::one(p.into())),
        ]),
        rule,
    };
    let rows = (1..).zip(filters).map(row).collect();
    Problem::new(fields, rows, 0).expect("filters fit the fields")
}

/// Points of random rows.
fn points(problem: &Problem) -> Vec<Vec<u128>> {
    let mut rng = fastrand::Rng::with_seed(SEED);
    let mut within = |values: &Values| {
        let ranges = values.ranges();
        let (first, last) = ranges[rng.usize(0..ranges.len())];
        rng.u128(first..=last)
    };
    let mut pick = fastrand::Rng::with_seed(SEED);
    let rows = problem.rows();
    (0..POINTS)
        .map(|_| {
            rows[pick.usize(0..rows.len())]
                .region
                .dims()
                .iter()
                .map(&mut within)
                .collect()
        })
        .collect()
}

fn rules(name: &str, problem: &Problem) {
    let points = points(problem);
    let few = &points[..(POINTS * 8 / problem.rows().len()).clamp(64, POINTS)];
    let naive = per_point(few, |point| problem.first_match(point));
    let limits = Limits::default();
    for strategy in ["", "product", "vectors"] {
        let plan_of = || match strategy {
            "" => choose(problem, &limits),
            name => only(name, problem, &limits),
        };
        let (build, made) = fastest(ROUNDS, plan_of);
        match made {
            Ok(plan) => {
                let own = per_point(&points, |point| plan.eval(point).expect("it is whole"));
                let how = if strategy.is_empty() {
                    "chosen"
                } else {
                    "only"
                };
                line(name, &format!("{how} "), build, &plan, own, naive);
                println!("{:>43}", plan.strategy);
            }
            Err(refused) => {
                println!(
                    "{name:<34}{strategy:>9} {:>10.2} refused",
                    build.as_secs_f64() * 1e3
                );
                for note in refused.notes {
                    println!("    {}", note.why);
                }
            }
        }
    }
}

fn prefix(addr: IpAddr, len: u8) -> (u128, u128) {
    let (number, host) = match addr {
        IpAddr::V4(addr) => {
            let host = u32::MAX.checked_shr(len.into()).unwrap_or(0);
            (u128::from(u32::from(addr)), u128::from(host))
        }
        IpAddr::V6(addr) => (
            u128::from(addr),
            u128::MAX.checked_shr(len.into()).unwrap_or(0),
        ),
    };
    (number & !host, number | host)
}

/// One set, in every kind of table that can hold it.
fn set(name: &str, spec: &FieldSpec, ranges: &[(u128, u128)]) {
    let mut rng = fastrand::Rng::with_seed(SEED);
    let asked: Vec<u128> = (0..POINTS)
        .map(|n| {
            if n % 2 == 0 {
                // Anywhere: of IPv6, anywhere in 2000::/3.
                return rng.u128(..) & (spec.max() >> 3) | (u128::from(spec.bits == 128) << 125);
            }
            let (first, last) = ranges[rng.usize(0..ranges.len())];
            rng.u128(first..=last)
        })
        .collect();
    let (merging, set) = fastest(ROUNDS, || IntervalSet::from_ranges(ranges.to_vec()));
    let values = Values::Many(set);
    let (cutting, partition) = fastest(ROUNDS, || Partition::of_sets(spec.bits, &[&values]));
    let naive = per_point(&asked, |n| partition.at(*n));
    println!(
        "{name}: {} pieces; merging {:.1} ms, cutting {:.1} ms",
        partition.count(),
        merging.as_secs_f64() * 1e3,
        cutting.as_secs_f64() * 1e3
    );
    let limits = Limits::default();
    let chosen = AddressTable::build(spec, &partition, 1, &limits)
        .expect("it fits")
        .kind();
    for kind in [
        StageKind::Multibit,
        StageKind::Dxr,
        StageKind::Bucket,
        StageKind::Search,
    ] {
        let (build, table) = fastest(ROUNDS, || AddressTable::of_kind(kind, &partition, 1));
        let Ok(table) = table else {
            continue;
        };
        let plan = table.plan();
        let own = per_point(&asked, |n| plan.eval(&[*n]).expect("it is whole"));
        let mark = if kind == chosen { "* " } else { "  " };
        line(
            &format!("{mark}{}", kind.name()),
            "",
            build,
            plan,
            own,
            naive,
        );
    }
}

/// A file of addresses, or of filters.
fn file(path: &str) {
    let text = std::fs::read_to_string(path).expect("the file can be read");
    let name = path.rsplit('/').next().unwrap_or(path);
    if text.starts_with('@') {
        let filters = filters::read(&text).expect("they are filters");
        head("filters");
        return rules(name, &five_fields(&filters));
    }
    let mut words: BTreeMap<&str, Vec<(u128, u128)>> = BTreeMap::new();
    let mut spec = FieldSpec::address4("address");
    for text in text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        let mut columns = text.split_whitespace();
        let (addr, len) = columns
            .next()
            .map(|a| a.split_once('/').unwrap_or((a, "")))
            .unwrap();
        let addr: IpAddr = addr.parse().expect("it is an address");
        if addr.is_ipv6() {
            spec = FieldSpec::address6("address");
        }
        let range = prefix(addr, len.parse().unwrap_or(spec.bits));
        words
            .entry(columns.next().unwrap_or_default())
            .or_default()
            .push(range);
    }
    head("sets");
    let all: Vec<_> = words.values().flatten().copied().collect();
    set(name, &spec, &all);
    if words.len() > 1 {
        head("a rule for each word");
        rules(name, &self::words(spec, words.into_values().collect()));
    }
}

/// Networks as a routing table has them: what counts is which of 250 lists has one.
fn routes(count: usize) {
    let mut lists = vec![Vec::new(); 250];
    let mut rng = fastrand::Rng::with_seed(SEED);
    for (addr, len) in networks4(count, SEED) {
        lists[rng.usize(0..250)].push(prefix(addr.into(), len));
    }
    rules(
        &format!("{count} networks"),
        &words(FieldSpec::address4("a"), lists),
    );
}

/// A rule for each list of ranges.
fn words(spec: FieldSpec, lists: Vec<Vec<(u128, u128)>>) -> Problem {
    let row = |(rule, ranges): (u32, Vec<(u128, u128)>)| Row {
        region: Region::new(vec![Values::Many(IntervalSet::from_ranges(ranges))]),
        rule,
    };
    Problem::new(vec![spec], (1..).zip(lists).map(row).collect(), 0).expect("addresses fit")
}

fn main() {
    let files: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| !a.starts_with("--"))
        .collect();
    if !files.is_empty() {
        return files.iter().for_each(|path| file(path));
    }
    head("rules");
    for kind in Kind::ALL {
        for count in [10, 100, 1000, 10_000] {
            let filters = family_filters(kind, count, SEED)
                .into_iter()
                .map(|(_, f)| f);
            let problem = five_fields(&filters.collect::<Vec<_>>());
            rules(&format!("{} {count}", kind.name()), &problem);
        }
    }
    head("networks in 250 rules");
    for count in [10_000, 100_000, 1_000_000] {
        routes(count);
    }
    head("sets");
    for count in [10_000, 100_000, 1_000_000] {
        let range = |(addr, len): (IpAddr, u8)| prefix(addr, len);
        let of = |list: &mut dyn Iterator<Item = (IpAddr, u8)>| list.map(range).collect();
        let nets: Vec<_> = of(&mut networks4(count, SEED)
            .into_iter()
            .map(|(a, l)| (a.into(), l)));
        set(
            &format!("{count} networks"),
            &FieldSpec::address4("a"),
            &nets,
        );
        let hosts: Vec<_> = of(&mut hosts4(count, SEED).into_iter().map(|a| (a.into(), 32)));
        set(&format!("{count} hosts"), &FieldSpec::address4("a"), &hosts);
        let nets: Vec<_> = of(&mut networks6(count, SEED)
            .into_iter()
            .map(|(a, l)| (a.into(), l)));
        set(
            &format!("{count} IPv6 networks"),
            &FieldSpec::address6("a"),
            &nets,
        );
    }
}
