//! `polc test`

use serde_json::Value;

use crate::harness::{Place, Run, golden};

const POLICY: &str = "\
policy front
zone lan = eth1

to host {
  allow ssh from 192.0.2.0/28 as ssh
  allow icmp from lan within 2/min burst 3 as ping
  allow https as site
  default deny
}
from host { default reject }

test \"who gets in\" {
  allow tcp 192.0.2.5:40000 -> host:22 rule ssh
  deny  tcp 198.51.100.7:40000 -> host:22
  allow tcp reply host:443 -> 198.51.100.7:50000
}
";

/// Four steps that fail, each for a reason of its own.
const WRONG: &str = "
test \"what is wrong\" {
  allow tcp 198.51.100.7:40000 -> host:22
  allow icmp 192.0.2.5 -> host
  deny  tcp [2001:db8::5]:40000 -> host:443 in eth0
  send 3 in 1s udp 192.0.2.5 -> host:443 => allow 1, deny 2
  allow tcp 192.0.2.5:40000 -> host:22
}
";

fn wrong() -> String {
    format!("{POLICY}{WRONG}")
}

fn json(run: &Run) -> Value {
    serde_json::from_str(&run.out).expect("JSON")
}

#[test]
fn tests_that_pass_are_listed() {
    let lib = "set office = { 192.0.2.0/24 }\n";
    let place = Place::new(&[("a/front.pol", POLICY), ("a/lib.pol", lib)]);
    let run = place.polc(&["test"]);
    assert_eq!(run.code, 0, "{run:?}");
    assert_eq!(run.err, "");
    golden("test-passes", POLICY, &run.out);
}

#[test]
fn tests_that_fail_say_why() {
    let place = Place::new(&[("front.pol", &wrong())]);
    let run = place.polc(&["test", "front.pol"]);
    assert_eq!(run.code, 1, "{run:?}");
    assert_eq!(run.err, "");
    golden("test-fails", &wrong(), &run.out);
}

#[test]
fn coverage_names_what_no_test_reaches() {
    let place = Place::new(&[("front.pol", POLICY)]);
    let run = place.polc(&["test", "--coverage", "front.pol"]);
    assert_eq!(run.code, 0, "{run:?}");
    golden("test-coverage", POLICY, &run.out);
    let run = place.polc(&["test", "--coverage", "--format", "json", "front.pol"]);
    let coverage = &json(&run)["coverage"][0];
    assert_eq!(coverage["rules"], 3);
    assert_eq!(coverage["missed"][0]["rule"], "ping");
    assert_eq!(coverage["missed"][0]["line"], 6);
    assert_eq!(coverage["missed_defaults"][0]["rule"], "from-host#default");
}

#[test]
fn programs_get_json() {
    let place = Place::new(&[("front.pol", &wrong())]);
    let run = place.polc(&["test", "front.pol", "--format", "json"]);
    assert_eq!(run.code, 1);
    let report = json(&run);
    let tests = report["tests"].as_array().expect("a list");
    assert_eq!(tests.len(), 2);
    assert_eq!(tests[0]["passed"], true);
    assert_eq!(tests[0]["title"], "who gets in");
    let passed: Vec<_> = tests[1]["steps"]
        .as_array()
        .expect("a list")
        .iter()
        .collect();
    let passed: Vec<bool> = passed.iter().map(|s| s["passed"] == true).collect();
    assert_eq!(passed, [false, false, false, false, true]);
    let step = &tests[1]["steps"][0];
    assert_eq!(step["line"], 19);
    assert_eq!(step["expected"], "`allow`");
    assert_eq!(step["rule"], "to-host#default");
    assert_eq!(step["trace"]["outcome"], "deny");
    assert_eq!(step["trace"]["steps"][0]["step"], "stage");
    assert!(report["coverage"].is_null());
}

#[test]
fn ci_gets_junit() {
    let place = Place::new(&[("front.pol", &wrong())]);
    let run = place.polc(&["test", "front.pol", "--format", "junit"]);
    assert_eq!(run.code, 1);
    golden("test-junit", &wrong(), &run.out);
}

#[test]
fn a_filter_picks_tests_by_title() {
    let place = Place::new(&[("front.pol", &wrong())]);
    let run = place.polc(&["test", "front.pol", "--filter", "who gets"]);
    assert_eq!(run.code, 0, "{run:?}");
    assert!(
        run.out.ends_with("1 test in 1 file: 1 passed, 0 failed\n"),
        "{run:?}"
    );
    let run = place.polc(&["test", "front.pol", "--filter", "nothing"]);
    assert_eq!(run.out, "0 tests in 1 file: 0 passed, 0 failed\n");
}

#[test]
fn what_does_not_compile_is_not_tested() {
    let place = Place::new(&[
        ("bad.pol", "to host { allow htps }"),
        ("front.pol", &wrong()),
    ]);
    let run = place.polc(&["test"]);
    assert_eq!(run.code, 3, "{run:?}");
    assert!(run.err.contains("POL706"), "{run:?}");
    assert!(run.out.contains("FAILED  ./front.pol"), "{run:?}");
}

/// The settings' numbers of users reach the tests.
#[test]
fn users_have_the_numbers_of_the_settings() {
    let policy = "from host { allow ntp by uid 812  default deny }\n\
                  test \"t\" { allow udp host -> 192.0.2.1:123 by user box }\n";
    let place = Place::new(&[("p.pol", policy)]);
    assert_eq!(place.polc(&["test", "p.pol"]).code, 1);
    place.write("polc.yaml", "users: { box: 812 }\n");
    assert_eq!(place.polc(&["test", "p.pol"]).code, 0);
}

/// The repository's own policies.
#[test]
fn the_policies_of_this_repository_pass() {
    let root = env!("CARGO_MANIFEST_DIR");
    let place = Place::new(&[]);
    let run = place.polc(&["test", &format!("{root}/policies")]);
    assert_eq!(run.code, 0, "{run:?}");
    assert!(
        run.out
            .ends_with("6 tests in 8 files: 6 passed, 0 failed\n"),
        "{run:?}"
    );
}

#[test]
fn targets_are_for_live_tests() {
    let place = Place::new(&[("front.pol", POLICY)]);
    let run = place.polc(&["test", "--target", "nftables", "front.pol"]);
    assert_eq!(run.code, 2, "{run:?}");
    assert!(run.err.contains("--live"), "{run:?}");
    let run = place.polc(&["test", "--live", "--target", "smoke", "front.pol"]);
    assert_eq!(run.code, 2, "{run:?}");
    assert!(run.err.contains("there is no target `smoke`"), "{run:?}");
}
