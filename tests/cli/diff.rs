//! `polc diff`.

use std::process::Command;

use crate::harness::{Place, Run};

const OLD: &str = include_str!("../../policies/edge-router.pol");

/// A realistic edit of the edge router: one rule narrowed, one rate raised, one target replaced,
/// ports added, a rule put in.
fn edited() -> String {
    let edits = [
        (
            "allow dns, ntp, dhcp-server, ssh, icmp  default reject }",
            "allow dns, ntp, dhcp-server, icmp  allow ssh from @own as lan-ssh  default reject }",
        ),
        (
            "[fd00:1::22]:22 as git-ssh owner",
            "[fd00:1::23]:22 and allow as git-ssh owner",
        ),
        (
            "deny tcp/25 as no-spam log at",
            "deny tcp/{25, 465} as no-spam log at",
        ),
        (
            "allow wireguard  default",
            "allow wireguard as vpn  default",
        ),
        (
            "within 6/min per source/24,/56",
            "within 10/min per source/24,/56",
        ),
    ];
    let mut text = OLD.to_owned();
    for (from, to) in edits {
        assert!(text.contains(from), "{from}");
        text = text.replacen(from, to, 1);
    }
    text
}

fn place() -> Place {
    Place::new(&[("old.pol", OLD), ("new.pol", &edited())])
}

fn diff(arguments: &[&str]) -> Run {
    let mut all = vec!["diff", "old.pol", "new.pol", "--as-of", "2026-11-21"];
    all.extend(arguments);
    place().polc(&all)
}

fn golden(name: &str, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("../../golden/cli");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, text));
}

#[test]
fn people_read_what_changes() {
    let run = diff(&[]);
    assert_eq!((run.code, run.err.as_str()), (0, ""), "{run:?}");
    golden("diff-human", &run.out);
}

#[test]
fn reviewers_get_a_comment() {
    let run = diff(&["--format", "markdown"]);
    assert_eq!(run.code, 0, "{run:?}");
    golden("diff-markdown", &run.out);
}

/// The examples of a comment stand in a test block as they are.
#[test]
fn examples_can_be_pasted_into_a_test() {
    let run = diff(&["--format", "markdown"]);
    let blocks = run.out.split("```pol\n").skip(1);
    let lines: Vec<&str> = blocks
        .filter_map(|b| b.split("```").next())
        .flat_map(str::lines)
        .collect();
    assert!(lines.len() > 5, "{lines:?}");
    let text = format!("{}\ntest \"diff\" {{\n{}\n}}\n", edited(), lines.join("\n"));
    let place = Place::new(&[("p.pol", &text)]);
    let check = place.polc(&["test", "p.pol", "--as-of", "2026-11-21", "--filter", "diff"]);
    assert_eq!(check.code, 0, "{}\n{text}", check.out);
}

#[test]
fn programs_get_everything() {
    let run = diff(&["--format", "json"]);
    assert_eq!(run.code, 0, "{run:?}");
    golden("diff-json", &run.out);
    let value: serde_json::Value = serde_json::from_str(&run.out).expect("JSON");
    assert_eq!(value["equal"], false);
    let classes = value["classes"].as_array().expect("classes");
    for class in classes
        .iter()
        .filter(|c| c["changes"] != serde_json::json!([]))
    {
        let count = class["packets"].as_str().expect("a count");
        assert!(count.bytes().all(|b| b.is_ascii_digit()), "{count}");
    }
}

#[test]
fn the_exit_code_tells_on_demand() {
    assert_eq!(diff(&["--exit-code"]).code, 1);
    let place = place();
    let same = place.polc(&[
        "diff",
        "old.pol",
        "old.pol",
        "--exit-code",
        "--as-of",
        "2026-11-21",
    ]);
    assert_eq!(same.code, 0, "{same:?}");
    assert_eq!(same.out, "equal in this model: proven\n");
    place.write("wrong.pol", "to host { allow ssh }");
    assert_eq!(place.polc(&["diff", "old.pol", "wrong.pol"]).code, 3);
    assert_eq!(place.polc(&["diff", "old.pol"]).code, 2);
    assert_eq!(
        place
            .polc(&["diff", "old.pol", "new.pol", "--rev", "HEAD"])
            .code,
        2
    );
}

#[test]
fn a_policy_is_compared_with_a_revision() {
    let place = Place::new(&[
        (
            "p/web.pol",
            "use \"lib.pol\"\nto host { allow ssh from @admins  default deny }",
        ),
        ("p/lib.pol", "set admins = { 192.0.2.1 }"),
    ]);
    let git = |arguments: &[&str]| {
        let identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"];
        let status = Command::new("git")
            .args(identity)
            .args(arguments)
            .current_dir(place.path())
            .output();
        assert!(status.expect("git runs").status.success(), "{arguments:?}");
    };
    git(&["init", "-q"]);
    git(&["add", "."]);
    git(&["commit", "-qm", "first"]);
    place.write("p/lib.pol", "set admins = { 192.0.2.1, 192.0.2.2 }");
    let run = place.polc(&["diff", "--rev", "HEAD", "p/web.pol", "--exit-code"]);
    assert_eq!(run.code, 1, "{run:?}");
    assert!(
        run.out.contains("ssh from 192.0.2.2 to host"),
        "{}",
        run.out
    );
    let unknown = place.polc(&["diff", "--rev", "nowhere", "p/web.pol"]);
    assert_eq!(unknown.code, 2, "{unknown:?}");
}
