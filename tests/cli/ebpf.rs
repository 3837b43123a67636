//! Policies as programs.

use std::io::{BufRead as _, BufReader};
use std::process::Command;

use polc_runtime_loader::lab::{Namespace, running_as_root};

use crate::harness::Place;

const GUARD: &str = "policy front

guard on wan* {
  deny tcp/25  as mail count
  default allow
}
";

#[test]
fn a_guard_is_built_into_an_object() {
    let place = Place::new(&[("front.pol", GUARD)]);
    let build = ["build", "front.pol", "--target", "ebpf", "-o", "out"];
    let run = place.polc(&build);
    assert_eq!(run.code, 0, "{run:?}");
    assert!(run.err.contains("built `front` for ebpf"), "{run:?}");
    let object = std::fs::read(place.path().join("out/policy.o")).expect("an object");
    assert!(object.starts_with(b"\x7fELF"));
    let manifest = place.read("out/manifest.yaml");
    assert!(manifest.contains("counter: counters/0"), "{manifest}");
    assert!(manifest.contains("pattern: wan*"), "{manifest}");

    place.polc(&build);
    let again = std::fs::read(place.path().join("out/policy.o")).expect("an object");
    assert!(object == again, "the same policy gives the same bytes");
    assert_eq!(place.read("out/manifest.yaml"), manifest);
}

#[test]
fn what_programs_cannot_do_is_refused_at_its_place() {
    let policy = "policy mixed
zone wan = wan0
guard {
  deny tcp/25 over 2000000000/s
  default allow
}
raw nft \"chain mine { }\"
from wan to host { allow tcp/22 within 65537 flows  default deny }
steer { deny when eth.type == 0x0806 }
default deny
";
    let place = Place::new(&[("mixed.pol", policy)]);
    let run = place.polc(&["build", "mixed.pol", "--target", "ebpf", "-o", "out"]);
    assert_eq!(run.code, 3, "{run:?}");
    for expected in [
        "cannot express more than a token a nanosecond in guard",
        "mixed.pol:4:3",
        "has no place for text for `nftables`",
        "mixed.pol:7:1",
        "cannot express a limit of more than 65536 live flows in filter",
        "mixed.pol:8:20",
        "cannot express `eth.type` in steer",
        "mixed.pol:9:9",
        "build for `nftables`",
    ] {
        assert!(run.err.contains(expected), "{expected}: {}", run.err);
    }
    assert!(!place.path().join("out").exists());
}

#[test]
fn a_program_with_more_maps_than_the_kernel_allows_is_refused() {
    let rules: Vec<String> = (1..=40)
        .map(|n| format!("  allow tcp/{n} within {n}/s per source\n"))
        .collect();
    let rules = rules.concat();
    let policy = format!("policy rates\nto host {{\n{rules}  default deny\n}}\n");
    let place = Place::new(&[("rates.pol", &policy)]);
    let run = place.polc(&["build", "rates.pol", "--target", "ebpf", "-o", "out"]);
    assert_eq!(run.code, 3, "{run:?}");
    assert!(run.err.contains("and the kernel allows 64"), "{}", run.err);
}

/// Takes away what a namespace has when the test ends, however it does.
pub(crate) struct AtEnd<'t>(pub(crate) &'t Place, pub(crate) &'t str);

impl Drop for AtEnd<'_> {
    fn drop(&mut self) {
        let run = self
            .0
            .polc(&["remove", "--netns", self.1, "--state-dir", "state"]);
        if run.code != 0 {
            eprintln!("left behind: {run:?}");
        }
    }
}

#[test]
fn programs_are_applied_shown_and_removed() {
    if !running_as_root() {
        assert!(std::env::var_os("CI").is_none(), "kernel tests need root");
        eprintln!("SKIPPED: kernel tests need root");
        return;
    }
    let place = Place::new(&[("front.pol", GUARD)]);
    let namespace = Namespace::new().expect("a namespace");
    let added = [
        "link", "add", "wan0", "type", "veth", "peer", "name", "far0",
    ];
    namespace.output("ip", &added).expect("an interface");
    let _applied = AtEnd(&place, namespace.name());
    let polc = |arguments: &[&str]| {
        let at = ["--netns", namespace.name(), "--state-dir", "state"];
        let run = place.polc(&[arguments, &at].concat());
        assert_eq!(run.code, 0, "{run:?}");
        run.out
    };
    let apply = ["apply", "front.pol", "--target", "ebpf"];
    let would = polc(&[apply.as_slice(), &["--dry-run"]].concat());
    assert!(would.contains("would apply `front`"), "{would}");
    assert!(would.contains("+ program guard_0 at wan0 (xdp)"), "{would}");
    assert_eq!(polc(&["status"]), "no policy is in force\n");

    let applied = polc(&apply);
    assert!(applied.contains("in place of nothing"), "{applied}");
    let status = polc(&["status", "--exit-code"]);
    for expected in [
        "policy      front\n",
        "in step     yes\n",
        "programs\n  wan0            xdp         guard_0     native    id ",
    ] {
        assert!(status.contains(expected), "{expected}: {status}");
    }
    let mail = ["mail", "guard", "deny", "0", "0", "front.pol:4"];
    let mut lines = status.lines();
    assert!(lines.any(|l| l.split_whitespace().eq(mail)), "{status}");
    let json = polc(&["status", "--format", "json"]);
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(json["programs"][0]["mode"], "native");

    assert_eq!(polc(&["remove"]), "removed the program at wan0 (xdp)\n");
    assert_eq!(polc(&["status"]), "no policy is in force\n");
}

#[test]
fn a_watch_gives_programs_to_what_comes_later() {
    if !running_as_root() {
        assert!(std::env::var_os("CI").is_none(), "kernel tests need root");
        eprintln!("SKIPPED: kernel tests need root");
        return;
    }
    let place = Place::new(&[("front.pol", GUARD)]);
    let namespace = Namespace::new().expect("a namespace");
    let _applied = AtEnd(&place, namespace.name());
    let at = ["--netns", namespace.name(), "--state-dir", "state"];
    let apply = |target| {
        [
            &["apply", "front.pol", "--target", target, "--watch"],
            &at[..],
        ]
        .concat()
    };
    let refused = place.polc(&apply("nftables"));
    assert_eq!(refused.code, 2, "{refused:?}");
    assert!(refused.err.contains("`--watch`"), "{refused:?}");

    let mut child = place.start(&apply("ebpf"));
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let mut line = || lines.next().expect("a line").expect("text");
    assert!(line().contains("applied `front`"));
    let added = [
        "link", "add", "wan0", "type", "veth", "peer", "name", "far0",
    ];
    namespace.output("ip", &added).expect("an interface");
    assert_eq!(line(), "  + program guard_0 at wan0 (xdp)");
    let killed = Command::new("kill").arg(child.id().to_string()).status();
    assert!(killed.expect("a program").success());
    let ended = child.wait().expect("it ends");
    assert_eq!(ended.code(), Some(0));
    let status = place.polc(&[&["status", "--exit-code"], &at[..]].concat());
    assert_eq!(status.code, 0, "{status:?}");
}
