//! What is said of rules that other rules hide.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test stops at the first thing that is wrong"
)]

use polc_compiler::analyse::model::{Model, Source};
use polc_compiler::analyse::reach::{Reach, Redundant, Status, Taken, reach};
use polc_compiler::ir::Ir;
use polc_compiler::{Files, Options, compile};

/// No file can be read.
struct NoFiles;

impl Files for NoFiles {
    fn read(&self, _path: &str) -> std::io::Result<String> {
        Err(std::io::ErrorKind::NotFound.into())
    }
}

fn found(text: &str) -> (Reach, Ir) {
    let options = Options {
        as_of: "2026-01-01".to_owned(),
        ..Options::default()
    };
    let compilation = compile("test.pol", text, &NoFiles, &options);
    let titles: Vec<&str> = compilation
        .diagnostics
        .iter()
        .map(|d| d.title.as_str())
        .collect();
    let ir = compilation.ir.unwrap_or_else(|| panic!("{titles:?}"));
    (reach(&Model::new(&compilation.policy, &ir)), ir)
}

/// Rules by their names: status, blockers, the rule of another action.
fn summary(text: &str) -> Vec<(String, Status, Vec<String>, Option<String>)> {
    let (reach, ir) = found(text);
    let name = |source: &Source| match source {
        Source::Rule(id) => id.of(&ir).unwrap().name.to_string(),
        Source::Fact(fact) => format!("{fact:?}"),
    };
    let rules = reach.rules.iter();
    rules
        .map(|rule| {
            let own = rule.id.of(&ir).unwrap().name.to_string();
            let blockers = rule.blockers.iter().map(name).collect();
            (own, rule.status, blockers, rule.opposite.as_ref().map(name))
        })
        .collect()
}

fn of(text: &str, wanted: &str) -> (Status, Vec<String>, Option<String>) {
    let rules = summary(text).into_iter();
    let mut rules = rules.filter(|(name, ..)| name == wanted);
    let (_, status, blockers, opposite) = rules.next().unwrap();
    (status, blockers, opposite)
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|n| (*n).to_owned()).collect()
}

#[test]
fn three_rules_hide_a_fourth_that_none_of_them_hides() {
    let text = include_str!("union.pol");
    let (status, blockers, opposite) = of(text, "hidden");
    assert_eq!(status, Status::Unreachable);
    assert_eq!(blockers, names(&["left", "low-ports", "high-ports"]));
    assert_eq!(opposite, None);
    for alone in ["left", "low-ports", "high-ports", "bystander", "seen"] {
        assert_eq!(of(text, alone).0, Status::Reached, "{alone}");
        let without: Vec<&str> = text
            .lines()
            .filter(|line| !line.contains(&format!("as {alone}")) || alone == "seen")
            .collect();
        if alone != "bystander" && alone != "seen" {
            let (status, ..) = of(&without.join("\n"), "hidden");
            assert_eq!(status, Status::Reached, "without {alone}");
        }
    }
}

#[test]
fn a_rule_of_another_action_is_named() {
    let text = "to host {
                  deny  from 10.0.0.0/9          as half
                  allow from 10.128.0.0/9        as other-half
                  allow tcp/22 from 10.0.0.0/8   as ssh
                  default deny
                }";
    let (status, blockers, opposite) = of(text, "ssh");
    assert_eq!(status, Status::Unreachable);
    assert_eq!(blockers, names(&["half", "other-half"]));
    assert_eq!(opposite.as_deref(), Some("half"));
}

#[test]
fn an_earlier_rule_that_decides_nothing_of_it_is_no_opposite() {
    let text = "to host {
                  allow tcp from 10.0.0.0/8    as first
                  deny  from 10.0.0.0/8        as second
                  allow tcp/22 from 10.0.0.0/9 as ssh
                  default deny
                }";
    assert_eq!(of(text, "ssh").2, None);
}

#[test]
fn what_this_host_sends_on_has_lost_a_hop() {
    let text = "zone wan = eth0
                zone lan = eth1
                from wan to lan { deny when ip.ttl == 255 as whole  deny when ip.ttl == 254 as near  default allow }
                from wan to host { deny when ip.ttl == 255 as here  default allow }
                from host to lan { deny when ip.ttl == 255 as own  default allow }
                default deny";
    assert_eq!(of(text, "whole").0, Status::Unmatchable);
    for name in ["near", "here", "own"] {
        assert_eq!(of(text, name).0, Status::Reached, "{name}");
    }
}

#[test]
fn rates_hide_only_what_they_take() {
    let text = "bucket b = 10/s
                to host {
                  allow tcp/22 within b  as some
                  allow tcp/22 from 10.0.0.1 within 5/s as rest
                  deny  tcp/22 over b    as excess
                  deny  tcp/22           as beyond
                  default deny
                }";
    assert_eq!(of(text, "rest").0, Status::Reached);
    assert_eq!(of(text, "excess").0, Status::Reached);
    assert_eq!(
        of(text, "beyond"),
        (
            Status::Unreachable,
            names(&["some", "excess"]),
            Some("some".to_owned())
        )
    );
}

#[test]
fn a_fact_of_the_language_can_hide_a_rule() {
    let text = "to host { deny icmpv6/133-136 as discovery  default deny }"
        .replace("133-136", "{133, 134, 135, 136}");
    let (status, blockers, _) = of(&text, "discovery");
    assert_eq!(status, Status::Unreachable);
    assert_eq!(blockers, names(&["UnconditionalIcmp"]));
    assert_eq!(
        of(&format!("strict icmp\n{text}"), "discovery").0,
        Status::Reached
    );
}

#[test]
fn a_default_behind_a_closed_block_is_no_mistake() {
    let text = "to host { deny  default deny }\ndefault deny";
    assert_eq!(of(text, "to-host#default").0, Status::Closed);
    assert_eq!(of(text, "default").0, Status::Reached);
}

#[test]
fn what_earlier_rules_take_is_measured() {
    let text = "strict icmp
                to host {
                  deny  from { 10.0.0.0/9, 10.128.0.0/10 }  as most
                  allow from 10.0.0.0/8                     as rest
                  allow tcp/22 from 10.64.0.0-10.192.0.255  as sliver
                  default deny
                }";
    let (reach, ir) = found(text);
    let taken = |name: &str| {
        let mut rules = reach
            .rules
            .iter()
            .filter(|r| &*r.id.of(&ir).unwrap().name == name);
        rules.next().unwrap().taken
    };
    assert_eq!(taken("most"), Taken::Exactly(0));
    assert_eq!(taken("rest"), Taken::AtMost(750_000));
    assert_eq!(taken("sliver"), Taken::Exactly(1_000_000));
    let mostly = text.replace("10.128.0.0/10 }", "10.128.0.0/9 } except udp/53");
    let (reach, _) = found(&mostly);
    assert!(matches!(
        reach.rules[1].taken,
        Taken::Exactly(999_000..1_000_000)
    ));
    assert!(reach.rules[1].opposite.is_some());
}

#[test]
fn rules_that_can_be_removed_are_found() {
    let text = "to host {
                  deny  tcp/22 from 10.0.0.0/24  as needless
                  deny  udp/53 from 10.0.0.0/24  as needed
                  deny  tcp/23                   as logged log
                  allow udp from 10.0.0.0/8      as dns
                  allow udp from 10.0.0.0/8      as twice
                  default deny
                }";
    let (reach, ir) = found(text);
    let is = |name: &str| {
        let mut rules = reach
            .rules
            .iter()
            .filter(|r| &*r.id.of(&ir).unwrap().name == name);
        rules.next().unwrap()
    };
    assert_eq!(is("needless").redundant, Redundant::Yes);
    assert_eq!(is("needed").redundant, Redundant::No);
    assert_eq!(is("logged").redundant, Redundant::No);
    assert_eq!(is("dns").redundant, Redundant::Yes);
    assert_eq!(is("twice").duplicate_of, Some(is("dns").id));
    assert_eq!(is("twice").status, Status::Unreachable);
}

#[test]
fn rules_whose_order_matters_are_found() {
    let text = "to host {
                  allow from 10.0.0.0/24  as who
                  deny  tcp/22            as what
                  allow tcp/80            as web
                  default deny
                }";
    let (reach, ir) = found(text);
    let pairs: Vec<(&str, &str)> = reach
        .conflicts
        .iter()
        .map(|(a, b)| (&*a.of(&ir).unwrap().name, &*b.of(&ir).unwrap().name))
        .collect();
    assert_eq!(pairs, [("who", "what")]);
    assert!(!reach.more_conflicts);
}

#[test]
fn what_steer_does_shows_to_rules_that_ask_for_it() {
    let text = "steer { dnat tcp/80 to 192.0.2.80 => 10.0.0.80 }
                from any to any {
                  allow to original 192.0.2.80 to 10.0.0.80  as published
                  allow to original 192.0.2.80 to 10.0.0.81  as not-published
                  default deny
                }";
    assert_eq!(of(text, "published").0, Status::Reached);
    assert_eq!(of(text, "not-published").0, Status::Unmatchable);
}

#[test]
fn the_second_rule_that_asks_a_bucket_finds_it_empty() {
    let text = "bucket b = 1/s burst 5
                to host {
                  deny ssh over b          as first
                  deny ssh over b          as second
                  allow ssh within b       as third
                  deny ssh                 as fourth
                  allow tcp/80 within b    as fifth
                  allow tcp/80 within b    as sixth
                  default deny
                }";
    for reached in ["first", "second", "third", "fourth", "fifth"] {
        assert_eq!(of(text, reached).0, Status::Reached, "{reached}");
    }
    // Where the first does not get a token, the second does not either.
    assert_eq!(of(text, "sixth").0, Status::Unreachable);
    let flows = text.replace("1/s burst 5", "5 flows");
    assert_eq!(of(&flows, "second").0, Status::Unreachable);
    assert_eq!(of(&flows, "fourth").0, Status::Unreachable);
}

#[test]
fn a_rule_that_adds_a_key_shows_to_the_rules_behind_it() {
    let text = "set bad as source = {} dynamic
                to host {
                  deny tcp from @bad         as first
                  match tcp/23 add @bad      as adds
                  deny tcp/23 from @bad      as second
                  allow tcp/23 from not @bad as third
                  deny udp from @bad         as fourth
                  deny udp from @bad         as fifth
                  default deny
                }";
    assert_eq!(of(text, "second").0, Status::Reached);
    assert_eq!(of(text, "third").0, Status::Unmatchable);
    assert_eq!(of(text, "fifth").0, Status::Unreachable);
}

#[test]
fn a_flow_has_the_marks_that_earlier_stages_set() {
    let text = "steer { match tcp/22 mark 0x10/0xf0  match tcp/23 mark 0x1/0xf }
                to host {
                  allow tcp when ct.mark == 0x11 as both
                  allow tcp when ct.mark == 0x10 as one
                  allow tcp when ct.mark == 0x20 as none
                  default deny
                }";
    assert_eq!(of(text, "both").0, Status::Reached);
    assert_eq!(of(text, "one").0, Status::Reached);
    assert_eq!(of(text, "none").0, Status::Unmatchable);
}
