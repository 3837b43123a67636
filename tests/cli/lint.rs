//! `polc lint` and `polc explain`: what they find and how they say so.

use std::fmt::Write as _;

use serde_json::Value;

use crate::harness::{Place, Run};

/// A policy with a finding of three lints, one of them in a comment's care. Runs select their codes:
/// other lints do not change these tests.
pub(crate) const POLICY: &str = "\
policy shop owner web

set admins = { 192.0.2.0/28 }
set nobody = { 192.0.2.66 }

to host {
  allow ssh from @admins  as ssh
  allow https             as site log \"site\"
  # polc: allow(POL401, reason=\"watched by hand\", until=2027-01-01)
  allow tcp/8443             as admin log
  allow tcp/22 from @admins  as again
  default deny
}
";

pub(crate) const CODES: &str = "POL107,POL401,POL705,POL701,POL702,POL711";

pub(crate) fn place() -> Place {
    Place::new(&[("net/shop.pol", POLICY)])
}

pub(crate) fn lint(place: &Place, arguments: &[&str]) -> Run {
    let mut all = vec!["lint", "net", "--select", CODES, "--as-of", "2026-06-01"];
    all.extend(arguments);
    place.polc(&all)
}

pub(crate) fn json(run: &Run) -> Value {
    serde_json::from_str(&run.out).unwrap_or_else(|error| panic!("{error}: {run:?}"))
}

/// The codes of a run in JSON, with their lines.
pub(crate) fn found(run: &Run) -> Vec<(String, u64)> {
    let report = json(run);
    let found = report["diagnostics"].as_array().expect("a list").iter();
    found
        .map(|d| {
            let line = d["labels"][0]["line"].as_u64().expect("a line");
            (d["code"].as_str().expect("a code").to_owned(), line)
        })
        .collect()
}

pub(crate) fn snapshot(name: &str, text: &str) {
    insta::with_settings!({
        snapshot_path => "../../golden/cli",
        prepend_module_to_snapshot => false,
        omit_expression => true,
    }, {
        insta::assert_snapshot!(name, text);
    });
}

#[test]
fn each_format_is_as_recorded() {
    let place = place();
    for format in ["concise", "json", "github", "gitlab", "junit"] {
        let run = lint(&place, &["--format", format]);
        assert_eq!((run.code, run.err.as_str()), (1, ""), "{run:?}");
        snapshot(&format!("lint-{format}"), &run.out);
    }
    let human = lint(&place, &[]);
    assert_eq!((human.code, human.out.as_str()), (1, ""), "{human:?}");
    snapshot("lint-human", &human.err);
    let sarif = lint(&place, &["--format", "sarif"]);
    let mut log = json(&sarif);
    let driver = &mut log["runs"][0]["tool"]["driver"];
    for key in ["rules", "version", "semanticVersion"] {
        driver[key] = "…".into();
    }
    for result in log["runs"][0]["results"].as_array_mut().expect("results") {
        result["ruleIndex"] = "…".into();
    }
    snapshot(
        "lint-sarif",
        &serde_json::to_string_pretty(&log).expect("JSON"),
    );
}

fn validator(schema: &str) -> jsonschema::Validator {
    let schema: Value = serde_json::from_str(schema).expect("a schema");
    jsonschema::options()
        .should_validate_formats(true)
        .build(&schema)
        .expect("a right schema")
}

/// The schema beside this file lets nothing through but what polc writes. The one of the standard is
/// not ours to keep: `POLC_SARIF_SCHEMA=FILE` has it asked as well.
#[test]
fn sarif_is_valid() {
    let mut schemas = vec![validator(include_str!("schema/sarif-2.1.0-polc.json"))];
    if let Some(path) = std::env::var_os("POLC_SARIF_SCHEMA") {
        schemas.push(validator(&std::fs::read_to_string(path).expect("a schema")));
    }
    let place = place();
    place.write(
        "polc.yaml",
        "lint: { docs_url: \"https://example.com/lints/\" }\n",
    );
    place.write(
        "net/broken 1.pol",
        "policy broken\nto host { alow ssh  default deny }\n",
    );
    assert_eq!(
        lint(&place, &["--write-baseline", "base.json", "net/shop.pol"]).code,
        3
    );
    std::fs::remove_file(place.path().join("net/broken 1.pol")).expect("it was there");
    assert_eq!(lint(&place, &["--write-baseline", "base.json"]).code, 0);
    let new = POLICY.replace("  default deny", "  allow ssh from @admins\n  default deny");
    place.write("net/shop.pol", &new);
    place.write(
        "net/broken 1.pol",
        "policy broken\nto host { alow ssh  default deny }\n",
    );
    let run = lint(&place, &["--format", "sarif", "--baseline", "base.json"]);
    assert_eq!(run.code, 3, "{run:?}");
    let log = json(&run);
    for schema in &schemas {
        let errors: Vec<String> = schema
            .iter_errors(&log)
            .map(|e| format!("{}: {e}", e.instance_path()))
            .collect();
        assert!(errors.is_empty(), "{errors:#?}");
    }
    let run = &log["runs"][0];
    let rules = run["tool"]["driver"]["rules"].as_array().expect("rules");
    let results = run["results"].as_array().expect("results");
    let mut kinds = Vec::new();
    for result in results {
        let index =
            usize::try_from(result["ruleIndex"].as_u64().expect("an index")).expect("small");
        assert_eq!(rules[index]["id"], result["ruleId"]);
        let kind = &result["suppressions"][0]["kind"];
        kinds.push((result["ruleId"].as_str().expect("a code"), kind.as_str()));
    }
    kinds.sort_unstable();
    let expected = [
        ("POL001", None),
        ("POL107", None),
        ("POL107", Some("external")),
        ("POL401", Some("external")),
        ("POL401", Some("inSource")),
        ("POL705", Some("external")),
    ];
    assert_eq!(kinds, expected);
    let help = rules
        .iter()
        .find(|rule| rule["id"] == "POL107")
        .expect("a rule");
    assert_eq!(help["helpUri"], "https://example.com/lints/POL107.md");
    let uris: Vec<_> = results
        .iter()
        .map(|r| &r["locations"][0]["physicalLocation"]["artifactLocation"]["uri"])
        .collect();
    assert!(
        uris.iter().any(|uri| **uri == "net/broken%201.pol"),
        "{uris:?}"
    );
}

/// The schema is one that refuses.
#[test]
fn the_schema_of_sarif_refuses_what_is_wrong() {
    let schema = validator(include_str!("schema/sarif-2.1.0-polc.json"));
    let log = json(&lint(&place(), &["--format", "sarif"]));
    assert!(schema.is_valid(&log));
    for (pointer, wrong) in [
        ("/runs/0/results/0/level", Value::from("bad")),
        (
            "/runs/0/results/0/locations/0/physicalLocation/region/startLine",
            Value::from(0),
        ),
        (
            "/runs/0/results/0/locations/0/physicalLocation/artifactLocation/uri",
            Value::from("a b"),
        ),
        ("/runs/0/columnKind", Value::Null),
        ("/version", Value::from("2.0.0")),
    ] {
        let mut log = log.clone();
        *log.pointer_mut(pointer).expect("it is there") = wrong;
        assert!(!schema.is_valid(&log), "{pointer}");
    }
}

#[test]
fn a_report_goes_into_a_file() {
    let place = place();
    let run = lint(&place, &["--format", "sarif", "--output", "polc.sarif"]);
    assert_eq!((run.code, run.out.as_str(), run.err.as_str()), (1, "", ""));
    let log: Value = serde_json::from_str(&place.read("polc.sarif")).expect("JSON");
    assert_eq!(log["version"], "2.1.0");
    let run = lint(&place, &["--output", "no/such/place"]);
    assert_eq!(run.code, 4, "{run:?}");
}

#[test]
fn the_exit_code_says_what_counts() {
    let place = place();
    let code = |arguments: &[&str]| lint(&place, arguments).code;
    assert_eq!(code(&[]), 1);
    assert_eq!(code(&["--fail-on", "error"]), 0);
    assert_eq!(code(&["--fail-on", "never"]), 0);
    assert_eq!(code(&["--exit-zero"]), 0);
    assert_eq!(code(&["--ignore", "POL107,log-without-limit,POL705"]), 0);
    let run = place.polc(&["lint", "net", "--select", "POL170"]);
    assert_eq!(run.code, 2);
    assert!(run.err.contains("did you mean `POL107`?"), "{}", run.err);
    place.write(
        "net/broken.pol",
        "policy broken\nto host { alow ssh  default deny }\n",
    );
    assert_eq!(code(&["--exit-zero"]), 3);
    assert_eq!(place.polc(&["lint", "nowhere"]).code, 2);
}

#[test]
fn settings_turn_codes_up_down_and_off() {
    let place = place();
    let run = |yaml: &str| {
        place.write("polc.yaml", yaml);
        place.polc(&["lint", "net", "--format", "json", "--as-of", "2026-06-01"])
    };
    let levels = "lint: { levels: { POL107: off, log-without-limit: note, POL705: error } }\n";
    let report = json(&run(levels));
    let of = |code: &str| {
        let all = report["diagnostics"].as_array().expect("a list");
        let one = all.iter().find(|d| d["code"] == code);
        one.map(|d| d["severity"].as_str().expect("a severity").to_owned())
    };
    assert_eq!(of("POL107"), None);
    assert_eq!(of("POL401").as_deref(), Some("note"));
    assert_eq!(of("POL705").as_deref(), Some("error"));
    for (yaml, words) in [
        (
            "lint: { levels: { POL170: off } }\n",
            "did you mean `POL107`?",
        ),
        ("lint: { levels: { POL107: loud } }\n", "warning"),
        ("lint: { personna: strict }\n", "persona"),
        (
            "lint: { never_suppress: [duplicate] }\n",
            "there is no lint `duplicate`",
        ),
        ("lint: { own_prefixes: [192.0.2.0/33] }\n", "192.0.2.0/33"),
        ("lint: { min_kernel: six }\n", "`six`"),
    ] {
        let run = run(yaml);
        assert_eq!(run.code, 2, "{yaml}: {run:?}");
        assert!(run.err.contains(words), "{yaml}: {}", run.err);
    }
    let all = "lint:\n  persona: audit\n  own_prefixes: [192.0.2.0/24, \"2001:db8::/32\"]\n  \
               world_zones: [wan]\n  admin_ports: [22, 8443]\n  min_kernel: \"6.1\"\n";
    assert_eq!(run(all).code, 1);
}

#[test]
fn annotations_past_the_tenth_go_into_the_summary() {
    let mut rules = String::new();
    for n in 1..=13 {
        writeln!(rules, "  allow tcp/{n} log as r{n}").expect("written");
    }
    let place = Place::new(&[(
        "net/p.pol",
        &format!("policy p\nto host {{\n{rules}  default deny\n}}\n"),
    )]);
    let run = lint(&place, &["--format", "github"]);
    let (warnings, notices): (Vec<&str>, Vec<&str>) = run
        .out
        .lines()
        .partition(|line| line.starts_with("::warning "));
    assert_eq!((warnings.len(), notices.len()), (10, 1), "{}", run.out);
    let summary = place.path().join("summary.md");
    let variable = [("GITHUB_STEP_SUMMARY", summary.as_os_str())];
    let run = place.polc_in(
        &["lint", "net", "--select", CODES, "--format", "github"],
        &variable,
    );
    assert_eq!(run.out.lines().count(), 10, "{}", run.out);
    let rows = place.read("summary.md");
    assert_eq!(
        rows.matches("| warning | POL401 | net/p.pol:").count(),
        3,
        "{rows}"
    );
}

#[test]
fn a_library_is_judged_once() {
    let library = "template open(port: port) { allow tcp/port log }\n";
    let user = "use \"../lib/l.pol\"\nto host { apply open(80)  default deny }\n";
    let place = Place::new(&[
        ("lib/l.pol", library),
        ("net/a.pol", user),
        ("net/b.pol", user),
    ]);
    let run = lint(&place, &["--format", "concise"]);
    assert_eq!(
        run.out,
        "lib/l.pol:1:44: warning POL401 log-without-limit: this logs without a limit\n"
    );
}

#[test]
fn codes_are_explained() {
    let place = Place::new(&[]);
    let page = place.polc(&["explain", "POL107"]);
    assert_eq!(page.code, 0);
    assert!(
        page.out
            .starts_with("# POL107 duplicate-rule\n\nwarning · persona default"),
        "{}",
        page.out
    );
    assert!(page.out.contains("\n## Bad\n") && page.out.contains("\n## Good\n"));
    assert_eq!(place.polc(&["explain", "duplicate-rule"]).out, page.out);
    let plain = place.polc(&["explain", "pol001"]);
    assert!(
        plain.out.contains("# POL001 syntax-error") && plain.out.contains("```pol\n"),
        "{}",
        plain.out
    );
    let list = place.polc(&["explain", "--list"]);
    for code in [
        "POL000 internal-error ",
        "POL107 duplicate-rule ",
        "POL703 expired ",
    ] {
        assert!(list.out.contains(code), "{}", list.out);
    }
    let unknown = place.polc(&["explain", "duplicate-rul"]);
    assert_eq!(unknown.code, 2);
    assert!(
        unknown.err.contains("did you mean `duplicate-rule`?"),
        "{}",
        unknown.err
    );
    assert_eq!(place.polc(&["explain"]).code, 2);
}
