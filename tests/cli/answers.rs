//! How the findings of `polc lint` are answered: by comments, fixes, baselines, and by what was there
//! before.

use std::path::Path;
use std::process::Command;

use crate::harness::Place;
use crate::lint::{CODES, POLICY, found, lint, place, snapshot};

#[test]
fn comments_silence_what_they_name_where_they_stand() {
    let lines = |policy: &str, arguments: &[&str]| {
        let place = Place::new(&[("net/p.pol", policy)]);
        let mut all = vec!["--format", "json"];
        all.extend(arguments);
        found(&lint(&place, &all))
    };
    let expect = |expected: &[(&str, u64)]| -> Vec<(String, u64)> {
        expected
            .iter()
            .map(|(code, line)| ((*code).to_owned(), *line))
            .collect()
    };
    let rule = |comment: &str| {
        format!(
            "policy p\nto host {{\n  {comment}\n  allow ssh log\n  allow dns log\n  default deny\n}}\n"
        )
    };
    let reason = "# polc: allow(POL401, reason=\"x\")";
    assert_eq!(lines(&rule(reason), &[]), expect(&[("POL401", 5)]));
    let other = "# polc: allow(POL705, reason=\"x\")";
    let both = [("POL701", 3), ("POL401", 4), ("POL401", 5)];
    assert_eq!(lines(&rule(other), &[]), expect(&both));
    assert_eq!(
        lines(&rule("# polc: allow(POL401)"), &[]),
        expect(&[("POL702", 3), ("POL401", 5)])
    );
    let unknown = "# polc: allow(POL999, reason=\"x\")";
    let all = [("POL711", 3), ("POL401", 4), ("POL401", 5)];
    assert_eq!(lines(&rule(unknown), &[]), expect(&all));
    let until = "# polc: allow(POL401, reason=\"x\", until=2026-06-01)";
    assert_eq!(lines(&rule(until), &[]), expect(&[("POL401", 5)]));
    let late = ["--as-of", "2026-06-02"];
    let place = Place::new(&[("p.pol", rule(until).as_str())]);
    let mut all = vec!["lint", "p.pol", "--format", "json", "--select", "POL401"];
    all.extend(late);
    let expired = found(&place.polc(&all));
    assert_eq!(
        expired,
        expect(&[("POL703", 3), ("POL401", 4), ("POL401", 5)])
    );
    let head = format!("{reason}\n{}", rule("# all of it"));
    assert_eq!(lines(&head, &[]), expect(&[]));
    let string =
        "policy p\nto host {\n  allow ssh log note \"# polc: allow(POL401)\"\n  default deny\n}\n";
    assert_eq!(lines(string, &[]), expect(&[("POL401", 3)]));
}

#[test]
fn some_codes_cannot_be_silenced() {
    let place = place();
    place.write("polc.yaml", "lint: { never_suppress: [POL401] }\n");
    let run = lint(&place, &["--format", "json", "--ignore", "POL107,POL705"]);
    let found = found(&run);
    let lines: Vec<(&str, u64)> = found.iter().map(|(c, l)| (c.as_str(), *l)).collect();
    assert_eq!(lines, [("POL401", 8), ("POL711", 9), ("POL401", 10)]);
}

#[test]
fn fixes_are_made_or_shown() {
    let place = place();
    let diff = lint(&place, &["--diff"]);
    assert_eq!((diff.code, diff.err.as_str()), (1, ""), "{diff:?}");
    snapshot("lint-diff", &diff.out);
    assert_eq!(place.read("net/shop.pol"), POLICY);
    let run = lint(&place, &["--fix"]);
    assert_eq!(run.code, 0, "{run:?}");
    assert!(
        run.err.starts_with("mended 3 findings in 1 file\n"),
        "{}",
        run.err
    );
    let text = place.read("net/shop.pol");
    assert!(
        text.contains("log \"site\" at 10/s") && !text.contains("again"),
        "{text}"
    );
    assert_eq!(place.polc(&["fmt", "--check", "net"]).code, 0, "{text}");
    assert_eq!(
        place
            .polc(&["lint", "net", "--fix", "--select", CODES])
            .code,
        0
    );
    assert_eq!(place.read("net/shop.pol"), text);
}

#[test]
fn fixes_leave_other_policies_whole() {
    let user = "use \"shop.pol\"\nfrom host { allow any to @nobody  default deny }\n";
    let user = user.replace("allow any", "allow");
    let place = place();
    place.write("net/user.pol", &user);
    let run = lint(&place, &["--fix"]);
    assert_eq!(run.code, 1, "{run:?}");
    assert!(
        run.err.contains("`net/user.pol` would no longer compile"),
        "{}",
        run.err
    );
    assert_eq!(place.read("net/shop.pol"), POLICY);
}

#[test]
fn a_baseline_hides_what_was_there() {
    let place = place();
    let run = lint(&place, &["--write-baseline", "base.json"]);
    assert_eq!(
        (run.code, run.err.as_str()),
        (0, "listed 3 findings in `base.json`\n")
    );
    snapshot("lint-baseline", &place.read("base.json"));
    let run = lint(&place, &["--baseline", "base.json"]);
    assert_eq!(run.code, 0, "{run:?}");
    assert_eq!(run.err, "looked at 1 file: 0 findings, 4 silenced\n");
    // Lines and layout may change; another rule is another finding.
    let moved = POLICY.replace(
        "to host {\n",
        "# moved\n\nto   host {\n  allow ntp log as new\n",
    );
    place.write("net/shop.pol", &moved);
    let run = lint(&place, &["--baseline", "base.json", "--format", "json"]);
    assert_eq!(found(&run), [("POL401".to_owned(), 9)]);
    place.write(
        "net/shop.pol",
        &POLICY.replace("set nobody = { 192.0.2.66 }\n", ""),
    );
    let run = lint(&place, &["--baseline", "base.json"]);
    assert_eq!(run.code, 0, "{run:?}");
    let stale = "`base.json` is stale: 1 × POL705 of policy `shop` is gone\n";
    assert!(run.err.starts_with(stale), "{}", run.err);
    place.write("base.json", "{}");
    assert_eq!(lint(&place, &["--baseline", "base.json"]).code, 2);
}

fn git(dir: &Path, arguments: &[&str]) {
    let identity = [
        "-c",
        "user.name=Tester",
        "-c",
        "user.email=tester@example.com",
    ];
    let output = Command::new("git")
        .current_dir(dir)
        .args(identity)
        .args(arguments)
        .output()
        .expect("git runs");
    assert!(output.status.success(), "{arguments:?}: {output:?}");
}

#[test]
fn only_what_is_new_since_a_revision_is_shown() {
    let place = place();
    git(
        place.path(),
        &["init", "--quiet", "--initial-branch", "main"],
    );
    place.write("lib/base.pol", "set nobody = { 192.0.2.66 }\n");
    let with_library = format!("use \"../lib/base.pol\" as base\n{POLICY}");
    place.write("net/shop.pol", &with_library);
    git(place.path(), &["add", "."]);
    git(place.path(), &["commit", "--quiet", "-m", "first"]);
    let since = |arguments: &[&str]| {
        let mut all = vec!["--diff-base", "main", "--format", "json"];
        all.extend(arguments);
        lint(&place, &all)
    };
    assert_eq!(found(&since(&[])), []);
    assert_eq!(since(&[]).code, 0);
    // What the library was then counts, too.
    place.write("lib/base.pol", "service odd = tcp/7\n");
    let now = with_library.replace("to host {\n", "to host {\n  allow base.odd log as new\n");
    place.write("net/shop.pol", &now);
    place.write(
        "net/young.pol",
        "policy young\nto host { allow ssh log  default deny }\n",
    );
    let run = since(&[]);
    assert_eq!(
        found(&run),
        [("POL401".to_owned(), 8), ("POL401".to_owned(), 2)]
    );
    assert_eq!(run.code, 1);
    let run = lint(&place, &["--diff-base", "nowhere"]);
    assert_eq!(
        (run.code, run.err.as_str()),
        (2, "polc: there is no revision `nowhere`\n")
    );
    let run = Place::new(&[("net/shop.pol", POLICY)]).polc(&["lint", "net", "--diff-base", "main"]);
    assert_eq!(run.code, 4, "{run:?}");
}
