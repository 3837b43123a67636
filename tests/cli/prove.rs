//! `polc prove`, `polc query` and `polc matrix`.

use crate::harness::Place;

const POLICY: &str = "zone wan = eth0
zone lan = eth1

set admins = { 192.0.2.0/28 }

from lan to host {
  allow ssh from @admins within 6/min as ssh
  default deny
}
from lan to wan { default allow }
default deny

";

fn place(claims: &str) -> Place {
    Place::new(&[("a.pol", &format!("{POLICY}{claims}"))])
}

#[test]
fn claims_that_hold_are_counted() {
    let place = place("protect allow ssh from @admins to host in lan\nnever allow from wan\n");
    let run = place.polc(&["prove", "a.pol"]);
    assert_eq!((run.code, run.err.as_str()), (0, "2 of 2 claims proven\n"));
}

#[test]
fn a_claim_that_fails_is_shown_with_a_packet() {
    let place = place("never allow ssh from lan to host\n");
    let run = place.polc(&["prove"]);
    assert_eq!(run.code, 1, "{run:?}");
    assert!(run.err.contains("POL027"), "{}", run.err);
    assert!(run.err.contains("tcp 192.0.2."), "{}", run.err);
    assert!(
        run.err.contains("> allow `ssh` (./a.pol:7)")
            || run.err.contains("> allow `ssh` (a.pol:7)"),
        "{}",
        run.err
    );
    assert!(run.err.contains("this rule decides"), "{}", run.err);
    let run = place.polc(&["prove", "a.pol", "--format", "json"]);
    assert_eq!(run.code, 1);
    assert!(run.out.contains("\"claim-does-not-hold\""), "{}", run.out);
}

#[test]
fn a_claim_about_nothing_is_an_error() {
    let place = place("never allow from 192.0.2.1 to host only v6\n");
    let run = place.polc(&["prove", "a.pol"]);
    assert_eq!(run.code, 1, "{run:?}");
    assert!(run.err.contains("POL114"), "{}", run.err);
}

#[test]
fn a_question_is_answered_with_a_packet_or_a_proof() {
    let place = place("");
    let some = place.polc(&["query", "a.pol", "allow ssh from lan to host"]);
    assert_eq!(some.code, 0, "{some:?}");
    assert!(some.out.starts_with("tcp 192.0.2."), "{}", some.out);
    assert!(some.out.contains("> allow `ssh` (a.pol:7)"), "{}", some.out);
    let none = place.polc(&["query", "a.pol", "allow from wan"]);
    assert_eq!((none.code, none.out.as_str()), (0, "none, proven\n"));
    for (question, expect, code) in [
        ("allow from wan", "none", 0),
        ("allow from wan", "some", 1),
        ("allow from lan", "none", 1),
        ("allow from lan", "some", 0),
    ] {
        let run = place.polc(&["query", "a.pol", question, "--expect", expect]);
        assert_eq!(run.code, code, "{question} {expect}");
    }
}

#[test]
fn an_answer_for_programs_has_the_decision() {
    let place = place("");
    let run = place.polc(&[
        "query",
        "a.pol",
        "deny ssh from @admins to host in lan",
        "--format",
        "json",
    ]);
    assert_eq!(run.code, 0, "{run:?}");
    let answer: serde_json::Value = serde_json::from_str(&run.out).expect("JSON");
    assert_eq!(answer["answer"], "some");
    assert!(
        answer["packet"]
            .as_str()
            .expect("a packet")
            .ends_with("with no token left in `ssh`")
    );
    assert_eq!(answer["decision"]["rule"]["name"], "lan-to-host#default");
}

#[test]
fn mistakes_are_shown_in_the_question() {
    let place = place("");
    for (question, at, says) in [
        ("allow tcp frm wan", "[question:1:11]", "unknown word `frm`"),
        (
            "allow tcp from wann",
            "[question:1:16]",
            "there is no zone `wann`",
        ),
        (
            "allow tcp default deny",
            "[question:1:1]",
            "this is not one question",
        ),
        (
            "allow tcp\nset x = {}",
            "[question:1:1]",
            "this is not one question",
        ),
        ("match tcp", "[question:1:1]", "this is no outcome"),
    ] {
        let run = place.polc(&["query", "a.pol", question]);
        assert_eq!(run.code, 3, "{question}: {run:?}");
        assert!(run.err.contains(at), "{question}: {}", run.err);
        assert!(run.err.contains(says), "{question}: {}", run.err);
    }
}

#[test]
fn the_matrix_is_a_table() {
    let place = place("");
    let run = place.polc(&["matrix", "a.pol", "--service", "ssh"]);
    assert_eq!(run.code, 0, "{run:?}");
    let table: Vec<&str> = run.out.lines().take(5).collect();
    assert_eq!(
        table,
        [
            "from \\ to  host     wan      lan",
            "host       -        never    never",
            "wan        never    never    never",
            "lan        depends  always   never",
            "@admins    depends  depends  never",
        ]
    );
    let run = place.polc(&["matrix", "a.pol", "--format", "markdown"]);
    assert!(
        run.out.contains("| lan | depends | always | never |"),
        "{}",
        run.out
    );
    let run = place.polc(&["matrix", "a.pol", "--service", "ssh", "--format", "json"]);
    let table: serde_json::Value = serde_json::from_str(&run.out).expect("JSON");
    let cells = table["cells"].as_array().expect("cells");
    let cell = cells
        .iter()
        .find(|c| c["from"] == "lan" && c["to"] == "host")
        .expect("a cell");
    assert!(
        cell["allowed_packet"]
            .as_str()
            .expect("a packet")
            .starts_with("tcp 192.0.2.")
    );
    assert!(cell["refused_packet"].is_string());
}
