//! What kernels take, as `tests/kernels/run` has seen it, beside what bundles declare.
//!
//! `POLC_UPDATE=1` writes the table of `docs/targets.md`.

#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a test stops at the first thing that is wrong"
)]

mod probes;
mod results;
mod table;

use std::collections::BTreeSet;

use probes::{Needs, Probe};
use results::{BACKENDS, Outcome, Outcomes, Version};

/// The kernels that there have to be.
const KERNELS: [Version; 5] = [
    Version(5, 10),
    Version(6, 1),
    Version(6, 12),
    Version(6, 18),
    Version(7, 2),
];

/// What a backend makes of a probe needs.
fn needs<'p>(probes: &'p [Probe], name: &str, backend: &str) -> &'p Needs {
    let probe = probes.iter().find(|p| p.name == name);
    let probe = probe.unwrap_or_else(|| panic!("there is no probe `{name}`"));
    let target = BACKENDS.iter().find(|(known, _)| *known == backend);
    let (_, target) = target.unwrap_or_else(|| panic!("there is no `{backend}`"));
    let needs = probe.needs.get(target);
    needs.unwrap_or_else(|| panic!("`{target}` cannot express `{name}`"))
}

/// Every probe that a backend can express, by backend.
fn expressed(probes: &[Probe]) -> BTreeSet<(String, String)> {
    let each = |(backend, target): &(&str, &str)| {
        let able = probes.iter().filter(|p| p.needs.contains_key(target));
        able.map(|p| ((*backend).to_owned(), p.name.clone()))
            .collect::<Vec<_>>()
    };
    BACKENDS.iter().flat_map(each).collect()
}

fn keys(outcomes: &Outcomes) -> BTreeSet<(String, String)> {
    outcomes.keys().cloned().collect()
}

/// Nothing is left out, and nothing is of another policy than the one that is there.
#[test]
fn everything_was_tried_on_every_kernel() {
    let probes = probes::all();
    let kernels = results::read();
    let versions: Vec<Version> = kernels.iter().map(|k| k.version).collect();
    assert_eq!(versions, KERNELS, "run tests/kernels/run");
    let tests = probes::traffic();
    let of_backend = |(backend, _): &(&str, &str)| {
        let pairs = tests
            .iter()
            .map(|t| ((*backend).to_owned(), t.test.clone()));
        pairs.collect::<Vec<_>>()
    };
    let traffic: BTreeSet<_> = BACKENDS.iter().flat_map(of_backend).collect();
    for kernel in &kernels {
        let again = format!("run tests/kernels/run {}", kernel.version);
        assert_eq!(keys(&kernel.probes), expressed(&probes), "{again}");
        assert_eq!(keys(&kernel.traffic), traffic, "{again}");
        for ((_, name), outcome) in &kernel.probes {
            let probe = probes.iter().find(|p| p.name == *name);
            let hash = probe.map(|p| p.hash.as_str());
            assert_eq!(
                hash,
                Some(outcome.policy.as_str()),
                "`{name}` has changed: {again}"
            );
        }
    }
}

/// A kernel takes what it is new enough for, and nothing else: a floor that is too high keeps a policy from
/// machines that could have it.
#[test]
fn kernels_take_what_bundles_say() {
    let probes = probes::all();
    let mut wrong = Vec::new();
    for kernel in &results::read() {
        for ((backend, name), outcome) in &kernel.probes {
            let lacking = needs(&probes, name, backend).lacking(kernel.version);
            let what = format!("{name} for {backend} on {}", kernel.version);
            wrong.extend(judge(&what, lacking, outcome));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Tests with real packets pass where the kernel has what their policies use, and nowhere else.
#[test]
fn packets_fare_as_they_should_where_bundles_say() {
    let probes = probes::all();
    let mut wrong = Vec::new();
    for kernel in &results::read() {
        for traffic in probes::traffic() {
            for (backend, _) in BACKENDS {
                let outcome = kernel
                    .traffic
                    .get(&(backend.to_owned(), traffic.test.clone()));
                let outcome = outcome.expect("it was run");
                let mut lacking = traffic
                    .probes
                    .iter()
                    .filter_map(|name| needs(&probes, name, backend).lacking(kernel.version));
                let what = format!("{} for {backend} on {}", traffic.test, kernel.version);
                wrong.extend(judge(&what, lacking.next(), outcome));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What is wrong with an outcome where a kernel lacks something, or nothing.
fn judge(what: &str, lacking: Option<String>, outcome: &Outcome) -> Option<String> {
    match (outcome.good, lacking) {
        (true, None) | (false, Some(_)) => None,
        (false, None) => Some(format!("{what} has all it needs: {}", outcome.said)),
        (true, Some(feature)) => Some(format!("{what} goes without {feature}")),
    }
}

/// Lint knows the same floors as the target that policies are built for unless they say otherwise.
#[test]
fn lint_knows_the_floors_of_nftables() {
    let oldest = Version(5, 4);
    let mut versions: Vec<Version> = (4..20).map(|minor| Version(5, minor)).collect();
    versions.extend(KERNELS);
    for probe in probes::all() {
        let needs = probe.needs.get("nftables");
        let floor = needs.expect("nftables can express it").floor;
        assert!(floor >= oldest, "`{}`", probe.name);
        for version in &versions {
            assert_eq!(
                probe.is_above(*version),
                floor > *version,
                "`{}` has the floor {floor}, and is meant for {version}",
                probe.name
            );
        }
    }
}

#[test]
fn the_document_has_what_bundles_declare() {
    let documented = table::features();
    let probes = probes::all();
    let needs = probes.iter().flat_map(|p| p.needs.values());
    for (name, since) in needs.flat_map(|n| &n.features) {
        let row = (name.to_lowercase(), *since);
        assert!(
            documented.contains(&row),
            "`{name}` since {since} is not in docs/targets.md"
        );
    }
    for (_, target) in BACKENDS {
        let floors = probes.iter().filter_map(|p| p.needs.get(target));
        let floor = floors.map(|n| n.floor).min().expect("a probe");
        let said = table::says_that_it_needs(target, floor);
        assert!(
            said,
            "docs/targets.md does not say that `{target}` needs {floor}"
        );
    }
}

#[test]
fn the_table_of_kernels_is_up_to_date() {
    table::check(&results::read(), &probes::all());
}
