//! Targets on the live kernel beside the interpreter.

use std::error::Error;

use polc_conformance::fault::Fault;
use polc_conformance::{Backend, Difference, Settings, Subject, campaign, draw, trial};
use polc_generator::Shape;
use polc_runtime_loader::lab::{running_as_root, stay_on_processor};

/// Whether kernel tests can run. Missing root is an error in CI.
fn possible() -> bool {
    if running_as_root() {
        return true;
    }
    assert!(std::env::var_os("CI").is_none(), "kernel tests need root");
    eprintln!("SKIPPED: kernel tests need root");
    false
}

fn number(name: &str, otherwise: u64) -> u64 {
    let given = std::env::var(name).ok();
    given
        .and_then(|text| text.parse().ok())
        .unwrap_or(otherwise)
}

#[test]
fn random_policies_are_judged_alike() {
    if !possible() {
        return;
    }
    let settings = Settings {
        backends: Backend::ALL.to_vec(),
        policies: number("POLC_POLICIES", 24),
        packets: number("POLC_PACKETS", 500),
        seed: number("POLC_SEED", 216),
        calls: 0,
        workers: 2,
    };
    let report = campaign(&settings, |_, _| {}).unwrap();
    for (backend, totals) in &report.totals {
        eprintln!("{backend}: {totals:?}");
        assert!(totals.policies > 0 && totals.passed > 0 && totals.translated > 0);
        assert!(totals.pieces > 0);
    }
    for found in &report.found {
        eprintln!("{found:#?}");
    }
    assert_eq!(report.found.len(), 0);
    assert!(report.failed.is_none(), "{:?}", report.failed);
    for totals in report.totals.values() {
        assert!(totals.unclear * 50 < totals.packets, "{totals:?}");
    }
}

/// What has once been judged differently.
#[test]
fn known_cases_are_judged_alike() {
    if !possible() {
        return;
    }
    stay_on_processor(0).unwrap();
    let cases = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/cases")).unwrap();
    let mut tried = 0;
    for case in cases {
        let path = case.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let subject = Subject::new(&text).unwrap();
        // Every rule counts with some of these seeds, and with others only those that say so.
        for seed in [1, 2, 4, 5] {
            for result in trial(&subject, &Backend::ALL, (seed, 600)).unwrap() {
                let mismatch = result.mismatch.map(|m| m.text);
                assert_eq!(mismatch, None, "{} on {}", path.display(), result.backend);
                tried += result.totals.policies;
            }
        }
    }
    assert!(tried > 0);
}

/// A compiler with this bug is told from a right one.
fn is_found(name: &str) -> Result<(), Box<dyn Error>> {
    if !possible() {
        return Ok(());
    }
    stay_on_processor(0)?;
    let fault = Fault::find(name).ok_or("there is no such bug")?;
    let shape = Shape::default();
    let policies = (1..400).filter_map(|seed| Some((seed, draw(seed, &shape)?.with(fault)?)));
    for (place, (seed, wrong)) in policies.take(60).enumerate() {
        let right = draw(seed, &shape).ok_or("the policy is gone")?;
        // By the bug, and by nothing else.
        if differs(&wrong, seed)? && !differs(&right, seed)? {
            eprintln!("{name}: found in policy {place}");
            return Ok(());
        }
    }
    Err("it was not found".into())
}

/// Whether packets tell a target from the interpreter; that the kernel refuses what it is given is no comparison.
fn differs(subject: &Subject, seed: u64) -> Result<bool, Box<dyn Error>> {
    let tried = trial(subject, &[Backend::Nftables, Backend::Ebpf], (seed, 600))?;
    let mut mismatches = tried.iter().filter_map(|result| result.mismatch.as_ref());
    Ok(mismatches.any(|mismatch| mismatch.difference != Difference::Refused))
}

/// Makes a test of each deliberate bug.
macro_rules! deliberate_bugs {
    ($($test:ident: $name:literal),+ $(,)?) => {$(
        #[test]
        fn $test() -> Result<(), Box<dyn Error>> {
            is_found($name)
        }
    )+

        #[test]
        fn every_bug_has_a_test() {
            let mut tested = vec![$($name),+];
            let mut all: Vec<&str> = Fault::ALL.into_iter().map(Fault::name).collect();
            tested.sort_unstable();
            all.sort_unstable();
            assert_eq!(tested, all);
        }
    };
}

deliberate_bugs! {
    deliberate_negated_family: "negated-family",
    deliberate_exact_flags: "exact-flags",
    deliberate_long_prefix: "long-prefix",
    deliberate_missing_drop: "missing-drop",
    deliberate_missing_proxy_drop: "missing-proxy-drop",
    deliberate_large_burst: "large-burst",
    deliberate_fragments: "fragments",
    deliberate_swapped_ports: "swapped-ports",
    deliberate_wrong_default: "wrong-default",
    deliberate_stale_flow: "stale-flow",
    deliberate_wrong_answer: "wrong-answer",
}
