//! A case for each kind of change and each stage.

use proptest::prelude::*;

use super::{Decider, Diff, Kind, Limits, Unknown, diff};
use crate::interpret::{Fact, RuleId};
use crate::ir::Stage;
use crate::{Compilation, Files, Options, compile};

struct NoFiles;

impl Files for NoFiles {
    fn read(&self, path: &str) -> std::io::Result<String> {
        Err(std::io::Error::other(path.to_owned()))
    }
}

fn compiled(text: &str) -> Compilation {
    let options = Options {
        as_of: "2026-01-01".to_owned(),
        ..Options::default()
    };
    let out = compile("p.pol", text, &NoFiles, &options);
    assert!(out.ir.is_some(), "{:?}\n{text}", out.diagnostics);
    out
}

fn difference(a: &str, b: &str) -> Diff {
    let (a, b) = (compiled(a), compiled(b));
    let out = diff(
        (&a.policy, a.ir.as_ref().unwrap()),
        (&b.policy, b.ir.as_ref().unwrap()),
        Limits::default(),
    );
    assert!(out.defects.is_empty(), "{:?}", out.defects);
    out
}

/// Each kind of change with its count.
fn summary(a: &str, b: &str) -> Vec<(Kind, u128)> {
    let out = difference(a, b);
    assert_eq!(out.unknown, None);
    let kinds = Kind::ALL.into_iter();
    let some = kinds.filter(|kind| out.changes.iter().any(|c| c.kind == *kind));
    some.map(|kind| (kind, out.count(kind).unwrap().try_into().unwrap()))
        .collect()
}

/// In the filter of what comes to this host.
fn filter(rules: &str) -> String {
    format!("to host {{ {rules} default deny }}")
}

const PORTS: u128 = 1 << 16;
const V4: u128 = 1 << 32;
/// TCP to one port from one IPv4 address.
const TCP: u128 = V4 * PORTS;

#[test]
fn what_is_written_otherwise_is_the_same() {
    let a = filter("allow ssh from 10.0.0.0/8 as a  allow web as b");
    let b = "set n = { 10.0.0.0/9, 10.128.0.0/9 }\n\
             to host { allow web as b2 owner x  allow tcp/22 from @n as a  default deny }";
    let out = difference(&a, b);
    assert!(out.is_equal());
    let renamed = difference(
        &a,
        &filter("allow ssh from 10.0.0.0/8 as z count  allow web as b"),
    );
    assert!(renamed.is_equal());
    let names: Vec<(&str, &str)> = renamed
        .renamed
        .iter()
        .map(|(old, new)| (&**old, &**new))
        .collect();
    assert_eq!(names, [("a", "z")]);
    assert_eq!(renamed.annotated.len(), 1);
}

#[test]
fn a_rule_that_is_added_allows() {
    let a = filter("allow ssh");
    let b = filter("allow ssh  allow tcp/80 from 10.0.0.1");
    assert_eq!(summary(&a, &b), [(Kind::Allowed, TCP)]);
    assert_eq!(summary(&b, &a), [(Kind::Denied, TCP)]);
    let c = filter("allow ssh  reject tcp/80 from 10.0.0.1");
    assert_eq!(summary(&a, &c), [(Kind::Refused, TCP)]);
    let d = filter("allow ssh  reject tcp/80 from 10.0.0.1 with admin-prohibited");
    assert_eq!(summary(&c, &d), [(Kind::Refused, TCP)]);
}

#[test]
fn only_what_no_other_rule_decides_changes() {
    let a = filter("deny tcp/1-79 from 10.0.0.1  allow ssh");
    let b = filter("deny tcp/1-79 from 10.0.0.1  allow tcp/1-80 from 10.0.0.1  allow ssh");
    assert_eq!(summary(&a, &b), [(Kind::Allowed, TCP)]);
    // Two rules in another order are the same where they do not meet.
    let c = filter("allow ssh from 10.0.0.1  deny tcp/23");
    let d = filter("deny tcp/23  allow ssh from 10.0.0.1");
    assert!(difference(&c, &d).is_equal());
}

#[test]
fn the_rules_that_decide_are_named() {
    let a = filter("allow ssh as old");
    let out = difference(
        &a,
        &filter("deny ssh from 10.0.0.1 as new  allow ssh as old"),
    );
    let [change] = out.changes.as_slice() else {
        panic!("{}", out.changes.len())
    };
    let by = change.rules.each_ref().map(|rules| match rules.as_slice() {
        [Decider::Rule(id)] => id.index,
        other => panic!("{other:?}"),
    });
    assert_eq!(by, [0, 0]);
    assert!(!change.witnesses.is_empty());
}

#[test]
fn guard_decides_about_packets_and_later_fragments() {
    let guard = |rules: &str| {
        format!(
            "guard on eth0 {{ {rules} default allow }}\n{}\ndefault deny",
            filter("allow ssh")
        )
    };
    // Guard comes before filter: only what filter would have allowed changes.
    let out = summary(&guard(""), &guard("deny from 10.0.0.1"));
    assert_eq!(out[0], (Kind::Denied, TCP));
    let fragments = difference(&guard(""), &guard("deny from 10.0.0.1"));
    let later = fragments
        .changes
        .iter()
        .any(|c| c.rules[0] == [Decider::Fact(Fact::Reassembled)]);
    assert!(later);
    assert_eq!(
        summary(&guard(""), &guard("notrack ssh from 10.0.0.1")),
        [(Kind::Marked, TCP)]
    );
}

#[test]
fn steer_sends_elsewhere() {
    let steer = |rules: &str| format!("steer {{ {rules} }}\ndefault allow");
    let dnat = |to: &str| steer(&format!("dnat tcp/80 from 10.0.0.1 to 192.0.2.1 => {to}"));
    assert_eq!(
        summary(&dnat("10.1.0.1"), &dnat("10.1.0.2")),
        [(Kind::Retargeted, PORTS)]
    );
    // The port is the packet's own.
    assert!(difference(&dnat("10.1.0.1"), &dnat("10.1.0.1:80")).is_equal());
    assert_eq!(
        summary(&dnat("10.1.0.1"), &dnat("10.1.0.1:81")),
        [(Kind::Retargeted, PORTS)]
    );
    assert_eq!(
        summary(&steer(""), &dnat("10.1.0.1")),
        [(Kind::Retargeted, PORTS)]
    );
    let redirect = steer("redirect tcp/80 from 10.0.0.1 to 192.0.2.1 => :81");
    assert_eq!(
        summary(&dnat("10.1.0.1"), &redirect),
        [(Kind::Retargeted, PORTS)]
    );
    let several = dnat("10.1.0.1, 10.1.0.2");
    assert_eq!(
        summary(&dnat("10.1.0.1"), &several),
        [(Kind::Retargeted, PORTS)]
    );
}

#[test]
fn a_prefix_maps_one_address_onto_the_same_as_a_target_does() {
    let steer = |rule: &str| format!("steer {{ {rule} }}\ndefault allow");
    let net = steer("dnat tcp/80 from 10.0.0.1 to 192.0.2.0/24 => net 10.1.0.0/24");
    let one = steer("dnat tcp/80 from 10.0.0.1 to 192.0.2.0/24 => 10.1.0.7");
    assert_eq!(summary(&net, &one), [(Kind::Retargeted, 255 * PORTS)]);
}

#[test]
fn filter_is_followed_back_through_steer() {
    let policy = |rules: &str| {
        format!(
            "steer {{ dnat tcp/80 from 10.0.0.1 to 192.0.2.1 => 10.1.0.1:8080 }}\n\
             from 10.0.0.1 {{ {rules} }}\n\
             default deny"
        )
    };
    let [a, b] = [policy(""), policy("allow tcp/8080 to 10.1.0.1")];
    // What was sent to port 80 of 192.0.2.1, and what was sent to port 8080 of 10.1.0.1 itself.
    assert_eq!(summary(&a, &b), [(Kind::Allowed, 2 * PORTS)]);
    // What was sent to either port.
    let c = policy("allow tcp/8080 to original 192.0.2.1");
    assert_eq!(summary(&a, &c), [(Kind::Allowed, 2 * PORTS)]);
}

#[test]
fn egress_gives_another_source() {
    let egress = |rule: &str| format!("zone wan = eth0\negress {{ {rule} }}\ndefault allow");
    let a = egress("masquerade tcp/80 from 10.0.0.1 to wan only v4");
    let b = egress("snat tcp/80 from 10.0.0.1 to wan => 192.0.2.1");
    assert_eq!(summary(&a, &b), [(Kind::Retargeted, TCP)]);
    assert_eq!(summary(&egress(""), &b), [(Kind::Retargeted, TCP)]);
}

#[test]
fn marks_count_where_they_differ_in_the_end() {
    let policy = |rules: &str| filter(&format!("{rules} allow tcp/80 from 10.0.0.1"));
    let a = policy("");
    let b = policy("match from 10.0.0.1 mark 0x1/0xff");
    assert_eq!(summary(&a, &b), [(Kind::Marked, TCP)]);
    let c = policy("match from 10.0.0.1 mark 0x2/0xff  match from 10.0.0.1 mark 0x1/0xff");
    assert!(difference(&b, &c).is_equal());
}

#[test]
fn entries_in_the_log_count() {
    let policy = |clauses: &str| filter(&format!("allow tcp/80 from 10.0.0.1 as r {clauses}"));
    assert_eq!(summary(&policy(""), &policy("log")), [(Kind::Effects, TCP)]);
    assert_eq!(
        summary(&policy("log"), &policy("log \"x\"")),
        [(Kind::Effects, TCP)]
    );
    assert_eq!(
        summary(&policy("log at 1/s"), &policy("log at 2/s")),
        [(Kind::Effects, TCP)]
    );
    assert!(difference(&policy("log at 1/s"), &policy("log at 1/s")).is_equal());
}

#[test]
fn a_rate_is_the_same_when_its_rule_is_renamed() {
    let policy = |rate: &str, name: &str| {
        filter(&format!(
            "allow tcp/80 from 10.0.0.1 within {rate} as {name}"
        ))
    };
    assert!(difference(&policy("5/s", "a"), &policy("5/s", "b")).is_equal());
    // One bucket may have tokens while the other has none.
    let out = summary(&policy("5/s", "a"), &policy("6/s", "a"));
    assert_eq!(out, [(Kind::Allowed, TCP), (Kind::Denied, TCP)]);
}

#[test]
fn a_rate_is_the_same_when_other_rules_get_its_number() {
    let rules =
        "allow tcp/80 from 10.0.0.1 within 10/s  allow tcp/443 within 10/s  deny udp log at 10/s";
    let (a, b) = (filter(rules), filter(&format!("deny ssh  {rules}")));
    assert!(difference(&a, &b).is_equal());
    assert!(difference(&b, &a).is_equal());
    // The one that goes leaves its number, and not its tokens, to the next.
    let c = filter(&rules.replace("allow tcp/80 from 10.0.0.1 within 10/s", ""));
    assert_eq!(summary(&a, &c), [(Kind::Denied, TCP)]);
    // A rule that is written twice has its bucket at the first place.
    let rule = "deny udp log at 10/s as x";
    let (once, twice) = (
        filter(rule),
        filter(&format!("deny ssh  {rule}  {}", &rule[..20])),
    );
    assert!(difference(&once, &twice).is_equal());
    // Two buckets of one rate exchange their names.
    let named = |x: &str, y: &str| {
        let rules = filter(&format!(
            "allow tcp/80 within {x}  allow tcp/443 within {y}"
        ));
        format!("bucket x = 10/s\nbucket y = 10/s\n{rules}")
    };
    assert!(difference(&named("x", "y"), &named("y", "x")).is_equal());
    // One bucket is not two.
    let twice = |x: &str| {
        let rules = format!(
            "allow tcp/80 within x  match tcp/80 within {x} log \"seen\"  allow udp within x"
        );
        format!(
            "bucket x = 10/s burst 1\nbucket y = 10/s burst 1\n{}",
            filter(&format!("match tcp/80 within x  {rules}"))
        )
    };
    assert!(!difference(&twice("x"), &twice("y")).is_equal());
}

#[test]
fn strict_words_count() {
    let a = filter("allow tcp/80 from 10.0.0.1");
    assert_eq!(
        summary(&a, &format!("strict tcp\n{a}")),
        [(Kind::Denied, TCP)]
    );
    let icmp = difference(&a, &format!("strict icmp\n{a}"));
    assert!(icmp.changes.iter().all(|c| c.kind == Kind::Denied));
    assert_eq!(
        icmp.changes[0].rules[0],
        [Decider::Fact(Fact::UnconditionalIcmp)]
    );
}

#[test]
fn what_steer_admits_is_asked_for_its_syn_on_loopback_too() {
    let a = "steer { redirect tcp/80 out lo from host to 192.0.2.1 => :81 }";
    let out = difference(a, &format!("strict tcp\n{a}"));
    let admitted = [Decider::Rule(RuleId {
        stage: Stage::Steer,
        index: 0,
    })];
    assert!(out.changes.iter().any(|c| c.rules[0] == admitted));
}

#[test]
fn another_proxy_is_another_place() {
    let policy = |port: u16, down: &str| {
        format!(
            "zone lan = br0\n\
             proxy box {{ listen tcp at 127.0.0.1:{port}, [::1]:1 mark 1/0xff table 100 down {down} }}\n\
             steer {{ proxy tcp/80 from lan to 192.0.2.1 via box }}\ndefault allow"
        )
    };
    let out = summary(&policy(1, "deny"), &policy(2, "deny"));
    assert_eq!(out, [(Kind::Retargeted, TCP)]);
    let out = summary(&policy(1, "deny"), &policy(1, "direct"));
    assert_eq!(out, [(Kind::Retargeted, TCP)]);
}

#[test]
fn a_direction_that_is_governed_is_refused() {
    let a = "to host { default allow }";
    let b = "to host { default allow }\nfrom host { allow tcp/80 to 10.0.0.1  default deny }";
    let out = difference(a, b);
    assert!(!out.changes.is_empty());
    for change in out.changes {
        assert_eq!(change.kind, Kind::Denied);
        assert_eq!(change.rules[0], [Decider::Fact(Fact::NotGoverned)]);
    }
}

#[test]
fn what_cannot_be_followed_is_unknown() {
    let a = "bucket b = 1/s burst 5 per dest\n\
             steer { match tcp/80 within b  dnat tcp/80 to 192.0.2.1 => 10.0.0.1 }\n\
             to host { allow tcp within b  default deny }";
    let out = difference(a, a);
    assert!(matches!(out.unknown, Some(Unknown::Blind(_))));
    assert!(!out.is_equal());
}

#[test]
fn past_the_budget_the_rest_is_unknown() {
    let (a, b) = (
        compiled(&filter("allow ssh")),
        compiled(&filter("allow web")),
    );
    let out = diff(
        (&a.policy, a.ir.as_ref().unwrap()),
        (&b.policy, b.ir.as_ref().unwrap()),
        Limits {
            steps: 2,
            ..Limits::default()
        },
    );
    assert_eq!(out.unknown, Some(Unknown::Budget));
    assert!(!out.is_equal());
}

/// Rules over few addresses and ports, so that they meet.
fn rules() -> impl Strategy<Value = Vec<String>> {
    let rule = (0u8..3, 0u8..4, 28u8..=32, 20u16..24, 0u16..3).prop_map(
        |(verb, host, len, port, more)| {
            let verb = ["allow", "deny", "reject"][usize::from(verb)];
            format!("{verb} tcp/{port}-{} from 10.0.0.{host}/{len}", port + more)
        },
    );
    prop::collection::vec(rule, 1..8)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_change_and_its_reverse_touch_the_same_packets(a in rules(), b in rules()) {
        let [a, b] = [a, b].map(|rules| filter(&rules.join("\n")));
        let (there, back) = (summary(&a, &b), summary(&b, &a));
        let get = |list: &[(Kind, u128)], kind| {
            list.iter().find(|(k, _)| *k == kind).map_or(0, |(_, n)| *n)
        };
        prop_assert_eq!(get(&there, Kind::Allowed), get(&back, Kind::Denied));
        prop_assert_eq!(get(&there, Kind::Denied), get(&back, Kind::Allowed));
        prop_assert_eq!(get(&there, Kind::Refused), get(&back, Kind::Refused));
    }

    #[test]
    fn boxes_do_not_overlap(a in rules(), b in rules()) {
        let [a, b] = [a, b].map(|rules| filter(&rules.join("\n")));
        let out = difference(&a, &b);
        let boxes: Vec<_> = out.changes.iter().flat_map(|c| &c.boxes).collect();
        for (at, one) in boxes.iter().enumerate() {
            prop_assert!(boxes[..at].iter().all(|other| !other.intersects(one)));
        }
    }
}

#[test]
fn a_rule_that_takes_tokens_changes_what_later_rules_find() {
    let policy = |rules: &str| format!("bucket b = 1/s burst 5\n{}", filter(rules));
    let a = policy("allow ssh within b as ssh");
    let b = policy("match ssh from 10.0.0.1 within b as seen  allow ssh within b as ssh");
    // With one token left, there is none for the second rule.
    assert_eq!(summary(&a, &b), [(Kind::Denied, TCP)]);
    let [change] = &difference(&a, &b).changes[..] else {
        panic!()
    };
    assert_eq!(change.boxes.len(), 1);
    // As many tokens are taken, whoever takes them.
    let c = policy("match ssh from 10.0.0.1 over b as seen  allow ssh within b as ssh");
    assert!(difference(&b, &c).is_equal());
    let late = policy("allow ssh within b as ssh  match ssh within b as late");
    assert!(difference(&a, &late).is_equal());
    // Entries in the log take tokens, too.
    let logs = policy("match ssh from 10.0.0.1 log \"x\" at b as seen  allow ssh within b as ssh");
    let kinds: Vec<Kind> = summary(&a, &logs)
        .into_iter()
        .map(|(kind, _)| kind)
        .collect();
    assert_eq!(kinds, [Kind::Denied, Kind::Effects]);
}

#[test]
fn tokens_are_counted_from_stage_to_stage() {
    let policy = |steer: &str, ssh: &str| {
        format!(
            "bucket b = 1/s burst 5\nsteer {{ {steer} direct }}\n{}",
            filter(ssh)
        )
    };
    let a = policy("", "deny ssh over b as first  allow ssh");
    let b = policy(
        "match ssh from 10.0.0.1 within b as seen",
        "deny ssh over b as first  allow ssh",
    );
    assert_eq!(summary(&a, &b), [(Kind::Denied, TCP)]);
    let c = policy(
        "match ssh from 10.0.0.1 over b as seen",
        "deny ssh over b as first  allow ssh",
    );
    assert!(difference(&b, &c).is_equal());
}

#[test]
fn marks_and_keys_are_followed_from_rule_to_rule() {
    let policy = |steer: &str, field: &str| {
        let filter = filter(&format!("allow ssh when {field} == 0x10"));
        format!("steer {{ {steer} direct }}\n{filter}")
    };
    let marks = "match ssh from 10.0.0.1 mark 0x10";
    // The packet passes, and elsewhere its flow is marked.
    for field in ["ct.mark", "meta.mark"] {
        let changes = summary(&policy("", field), &policy(marks, field));
        let expected = [(Kind::Allowed, TCP), (Kind::Marked, TCP)];
        assert_eq!(changes, expected, "{field}");
    }
    let keys = |rules: &str| format!("set s = {{}} dynamic\n{}", filter(rules));
    let a = keys("match ssh add @s  deny ssh from @s  allow ssh from 10.0.0.1");
    let b = keys("match ssh add @s  deny ssh from @s");
    assert!(difference(&a, &b).is_equal());
    let c = keys("match ssh from not 10.0.0.1 add @s  allow ssh from not @s");
    let d = keys("match ssh from not 10.0.0.1 add @s");
    assert_eq!(summary(&d, &c), [(Kind::Allowed, TCP)]);
}

#[test]
fn what_this_host_sends_on_has_a_hop_less_in_filter() {
    let policy = |rules: &str| {
        format!(
            "zone wan = eth0\nzone lan = eth1\n\
             steer {{ deny tcp from wan when ip.ttl in {{ 0, 1, 9 }} }}\n\
             from wan to lan {{ {rules} default allow }}\ndefault deny"
        )
    };
    let same = |rules: &str| difference(&policy(""), &policy(rules)).is_equal();
    // Steer has denied these already.
    assert!(same("deny tcp when ip.ttl in { 0, 8 }"));
    assert!(!same("deny tcp when ip.ttl == 9"));
    assert!(!same("deny tcp when ip.ttl == 1"));
    // None of 256 hops comes.
    assert!(same("deny when ip.ttl == 255"));
    assert!(!same("deny when ip.ttl == 254"));
}
