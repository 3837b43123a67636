//! `polc check`, `polc fmt`, `polc completions`.

use serde_json::Value;

use crate::harness::Place;

const GOOD: &str = "policy good\nto host { allow https  default deny }\n";

/// Seven mistakes of seven kinds.
const SEVEN: &str = "\
policy seven
set admins = { 192.0.2.1 192.0.2.2 }
set broken = { 10.0.0.300 }
to host {
  alow tcp/22
  allow tcp/22 frm @admins
  allow tcp/80 within 10/fortnight
  allow tcp/443 when tcp.flags = syn
  default deny
}
set wide = { 2001:db8::/129 }
";

fn diagnostics(text: &str) -> Vec<Value> {
    let mut report: Value = serde_json::from_str(text).expect("JSON");
    report["diagnostics"]
        .as_array_mut()
        .map(std::mem::take)
        .expect("a list")
}

#[test]
fn a_good_policy_is_clean() {
    let place = Place::new(&[("good.pol", GOOD)]);
    let run = place.polc(&["check", "good.pol"]);
    assert_eq!(run.code, 0, "{run:?}");
    let summary = "checked 1 file: 2 rules, 0 tests, 0 claims proven over 0 classes of packets\n";
    assert_eq!(run.err, summary);
}

#[test]
fn seven_mistakes_give_seven_diagnostics() {
    let place = Place::new(&[("seven.pol", SEVEN)]);
    let run = place.polc(&["check", "seven.pol"]);
    assert_eq!(run.code, 3);
    insta::with_settings!({
        snapshot_path => "../../golden/cli",
        prepend_module_to_snapshot => false,
        description => SEVEN,
        omit_expression => true,
    }, {
        insta::assert_snapshot!("seven-mistakes", run.err);
    });
    let json = place.polc(&["check", "seven.pol", "--format", "json"]);
    assert_eq!(json.code, 3);
    let found = diagnostics(&json.out);
    assert_eq!(found.len(), 7, "{}", run.err);
    let underlined = |d: &Value| {
        let at = |end: &str| usize::try_from(d["labels"][0][end].as_u64().unwrap()).unwrap();
        SEVEN[at("start")..at("end")].to_owned()
    };
    let underlined: Vec<String> = found.iter().map(underlined).collect();
    let mistakes = ["300", "alow", "frm", "fortnight", "=", "129"];
    for mistake in mistakes {
        assert!(
            underlined.iter().any(|u| u == mistake),
            "`{mistake}` in {underlined:?}"
        );
    }
}

/// The same for mistakes of meaning: names, types, stages.
#[test]
fn mistakes_of_meaning_are_found_in_one_run() {
    let text = "\
policy meaning
zone lan = eth0
zone wan = eth0
set admins = @admin
bucket slow = 0/s
steer { allow tcp/22 }
to host {
  allow htps
  allow tcp/22 to @nobody
  allow tcp/70000
  allow tcp/22 when ip.ttll == 3
  default deny
}
";
    let place = Place::new(&[("meaning.pol", text)]);
    let run = place.polc(&["check", "meaning.pol", "--format", "json"]);
    assert_eq!(run.code, 3);
    let found = diagnostics(&run.out);
    let found: Vec<(&str, u64)> = found
        .iter()
        .map(|d| {
            (
                d["code"].as_str().unwrap(),
                d["labels"][0]["line"].as_u64().unwrap(),
            )
        })
        .collect();
    let expected = [
        ("POL015", 3),
        ("POL706", 4),
        ("POL017", 5),
        ("POL010", 6),
        ("POL706", 8),
        ("POL706", 9),
        ("POL013", 10),
        ("POL018", 11),
    ];
    assert_eq!(found, expected);
}

#[test]
fn parameters_come_from_the_command_line_and_the_configuration() {
    let text = "policy p\nparam port: port\nparam who: user = nobody\n\
                from host { allow tcp/port by user who  default deny }\n";
    let place = Place::new(&[("p.pol", text)]);
    let run = place.polc(&["check", "p.pol"]);
    assert_eq!(run.code, 3);
    assert!(run.err.contains("POL008"), "{}", run.err);
    let run = place.polc(&["build", "p.pol", "--emit", "ir", "--param", "port=2222"]);
    assert_eq!(run.code, 0, "{run:?}");
    assert!(
        run.out.contains("dport 2222") && run.out.contains("by User nobody"),
        "{}",
        run.out
    );
    place.write(
        "polc.yaml",
        "params: { port: \"443\" }\nusers: { nobody: 65534 }\n",
    );
    let run = place.polc(&["build", "p.pol", "--emit", "ir"]);
    assert_eq!(run.code, 0, "{run:?}");
    assert!(
        run.out.contains("dport 443") && run.out.contains("uid 65534"),
        "{}",
        run.out
    );
    let run = place.polc(&["check", "p.pol", "--param", "prt=1"]);
    assert_eq!(run.code, 3, "{run:?}");
}

#[test]
fn usage_errors_exit_with_two() {
    let place = Place::new(&[("good.pol", GOOD)]);
    assert_eq!(place.polc(&["check", "missing.pol"]).code, 2);
    assert_eq!(place.polc(&["check"]).code, 2);
    assert_eq!(
        place
            .polc(&["build", "good.pol", "-o", "x", "--target", "pf"])
            .code,
        2
    );
    place.write("polc.yaml", "tragets: [nftables]\n");
    let run = place.polc(&["check", "good.pol"]);
    assert_eq!(run.code, 2);
    assert!(run.err.contains("tragets"), "{}", run.err);
}

#[test]
fn warnings_count_when_asked() {
    let text = "policy w\nset nobody = {}\nto host { allow ssh from @nobody  default deny }\n";
    let place = Place::new(&[("w.pol", text)]);
    assert_eq!(place.polc(&["check", "w.pol"]).code, 0);
    let run = place.polc(&["check", "w.pol", "--fail-on", "warning"]);
    assert_eq!(run.code, 1, "{run:?}");
    assert!(run.err.contains("POL110"), "{}", run.err);
}

/// A test that fails, a claim that does not hold and an error of lint are all that is wrong.
#[test]
fn tests_claims_and_lint_are_part_of_a_check() {
    let text = "\
policy p
to host {
  allow https
  allow ssh
  default deny
}
never allow https from 192.0.2.9 to host
test \"mail\" { allow tcp 192.0.2.1:40000 -> host:25 }
";
    let place = Place::new(&[("p.pol", text)]);
    let run = place.polc(&["check", "p.pol"]);
    assert_eq!(run.code, 1, "{run:?}");
    for code in ["POL024", "POL027", "POL202"] {
        assert_eq!(run.err.matches(code).count(), 1, "{code}: {}", run.err);
    }
    let covered = "checked 1 file: 3 rules, 1 test, 0 claims proven over ";
    assert!(run.err.contains(covered), "{}", run.err);
    // A warning is shown to those who ask.
    assert!(!run.err.contains("POL216"), "{}", run.err);
    let strict = place.polc(&["check", "p.pol", "--fail-on", "warning"]);
    assert!(strict.err.contains("POL216"), "{}", strict.err);
    let sarif = place.polc(&["check", "p.pol", "--format", "sarif"]);
    let log: Value = serde_json::from_str(&sarif.out).expect("JSON");
    let results = log["runs"][0]["results"].as_array().expect("results");
    assert_eq!((sarif.code, results.len()), (1, 3), "{}", sarif.out);
}

#[test]
fn directories_are_searched() {
    let files = [
        ("a.pol", GOOD),
        ("sub/b.pol", GOOD),
        (".hidden/c.pol", "nonsense"),
    ];
    let run = Place::new(&files).polc(&["check", "."]);
    assert_eq!(run.code, 0);
    assert!(run.err.starts_with("checked 2 files: 4 rules,"), "{run:?}");
}

#[test]
fn formatting_is_checked_done_and_piped() {
    let ugly = "policy p\nto host{allow   ssh\ndefault deny}\n";
    let place = Place::new(&[("p.pol", ugly)]);
    let check = place.polc(&["fmt", "--check", "p.pol"]);
    assert_eq!(
        (check.code, place.read("p.pol").as_str()),
        (1, ugly),
        "{check:?}"
    );
    let piped = place.polc_with(&["fmt", "-"], ugly);
    assert_eq!(piped.code, 0);
    assert_eq!(place.polc(&["fmt", "p.pol"]).code, 0);
    assert_eq!(place.read("p.pol"), piped.out);
    assert_ne!(piped.out, ugly);
    assert_eq!(place.polc(&["fmt", "--check", "p.pol"]).code, 0);
    let broken = place.polc_with(&["fmt", "-"], "policy p\nto host { alow ssh }\n");
    assert_eq!((broken.code, broken.out.as_str()), (3, ""));
}

#[test]
fn another_tools_policy_is_recognised() {
    let text = "header {\n  target:: juniper\n}\nterm a {\n  action:: accept\n}\n";
    let place = Place::new(&[("acl.pol", text)]);
    let run = place.polc(&["check", "acl.pol", "--format", "json"]);
    assert_eq!(run.code, 3);
    let found = diagnostics(&run.out);
    assert_eq!(found.len(), 1, "{}", run.out);
    assert_eq!(found[0]["code"], "POL002");
}

#[test]
fn completions_are_scripts() {
    let place = Place::new(&[]);
    for shell in ["bash", "zsh", "fish"] {
        let run = place.polc(&["completions", shell]);
        assert_eq!(run.code, 0);
        assert!(run.out.contains("polc"), "{shell}");
    }
}
