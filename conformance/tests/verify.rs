//! Targets on the live kernel beside the interpreter.

use std::error::Error;
use std::path::PathBuf;

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
    let report = campaign(&settings, None, |_, _| {}).unwrap();
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
    let cases = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/cases")).unwrap();
    let cases: Vec<PathBuf> = cases.map(|case| case.unwrap().path()).collect();
    let tried: Vec<u64> = std::thread::scope(|scope| {
        let halves = cases.chunks(cases.len().div_ceil(2)).enumerate();
        let threads: Vec<_> = halves
            .map(|(processor, cases)| scope.spawn(move || known_cases(processor, cases)))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap().unwrap())
            .collect()
    });
    assert!(tried.iter().all(|policies| *policies > 0), "{tried:?}");
}

/// How many policies were tried.
fn known_cases(processor: usize, cases: &[PathBuf]) -> Result<u64, Box<dyn Error + Send + Sync>> {
    stay_on_processor(processor)?;
    let mut tried = 0;
    for path in cases {
        let subject = Subject::new(&std::fs::read_to_string(path)?).ok_or("it cannot be tried")?;
        // Every rule counts with some of these seeds, and with others only those that say so.
        for seed in [1, 2, 4, 5] {
            for result in trial(&subject, &Backend::ALL, (seed, 600), None)? {
                let mismatch = result.mismatch.map(|m| m.text);
                assert_eq!(mismatch, None, "{} on {}", path.display(), result.backend);
                tried += result.totals.policies;
            }
        }
    }
    Ok(tried)
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
    let tried = trial(
        subject,
        &[Backend::Nftables, Backend::Ebpf],
        (seed, 600),
        None,
    )?;
    let mut mismatches = tried.iter().filter_map(|result| result.mismatch.as_ref());
    Ok(mismatches.any(|mismatch| mismatch.difference != Difference::Refused))
}

/// Bugs that are seen when time passes, or when limits of live flows are met, and small policies that have them.
const AT_A_PACE: [(&str, &str); 3] = [
    (
        "fast-refill",
        "to host {
           allow tcp/80 within 10/s burst 20 per source
           deny udp over 3/s
           allow udp
           default deny
         }
         default deny",
    ),
    (
        "large-limit",
        "to host {
           allow tcp/80 within 20 flows per source
           deny udp/53 over 5 flows
           allow udp/53
           default deny
         }
         default deny",
    ),
    (
        "lost-timeout",
        "set noisy as source = {} dynamic idle 10m max 100
         to host {
           deny from @noisy
           deny tcp/80 over 1/h burst 3 per source add @noisy
           allow tcp/80, tcp/81
           default deny
         }
         default deny",
    ),
];

#[test]
fn time_and_limits_of_live_flows_are_compared() {
    if !possible() {
        return;
    }
    for (name, text) in AT_A_PACE {
        let fault = Fault::find(name).unwrap();
        let right = Subject::new(text).unwrap();
        let wrong = Subject::new(text).unwrap().with(fault).unwrap();
        for tried in trial(&right, &Backend::ALL, (1, 200), None).unwrap() {
            assert!(tried.totals.paced > 0, "{name} on {}", tried.backend);
            assert!(tried.mismatch.is_none(), "{name}: {tried:#?}");
        }
        for tried in trial(&wrong, &Backend::ALL, (1, 200), None).unwrap() {
            assert!(tried.mismatch.is_some(), "{name} on {}", tried.backend);
        }
    }
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
            tested.extend(AT_A_PACE.map(|(name, _)| name));
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
