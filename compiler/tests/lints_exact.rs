//! What the exact lints find, and leave alone, beyond the examples of their pages.

#![expect(
    clippy::unwrap_used,
    reason = "a policy that does not compile must fail the test"
)]

use std::io;

use polc_compiler::analyse::lint::{self, Persona, Settings};
use polc_compiler::diagnostic::{Diagnostic, fix};
use polc_compiler::{Compilation, Files, Options, compile};

struct NoFiles;

impl Files for NoFiles {
    fn read(&self, _: &str) -> io::Result<String> {
        Err(io::Error::from(io::ErrorKind::NotFound))
    }
}

fn compiled(text: &str) -> Compilation {
    let options = Options {
        as_of: "2026-11-21".to_owned(),
        ..Options::default()
    };
    let result = compile("example.pol", text, &NoFiles, &options);
    assert!(result.ir.is_some(), "{text}\n{:?}", result.diagnostics);
    result
}

fn found(text: &str, settings: &Settings) -> Vec<Diagnostic> {
    lint::lint(&compiled(text), settings).findings
}

/// The findings of one code, as the texts that they point at.
fn places(text: &str, code: &str, settings: &Settings) -> Vec<String> {
    let found = found(text, settings);
    assert!(!found.iter().any(|d| d.code.id() == "POL000"), "{found:?}");
    let of = found.iter().filter(|d| d.code.id() == code);
    let rest = of.map(|d| {
        let start = d.place().unwrap().start as usize;
        text[start..].lines().next().unwrap().trim().to_owned()
    });
    rest.collect()
}

fn strict(text: &str, code: &str) -> Vec<String> {
    let settings = Settings {
        persona: Persona::Audit,
        ..Settings::default()
    };
    places(text, code, &settings)
}

fn default(text: &str, code: &str) -> Vec<String> {
    places(text, code, &Settings::default())
}

const NONE: [&str; 0] = [];

#[test]
fn one_opposite_blocker_among_several_makes_a_rule_shadowed() {
    let text = "to host {\n  allow https from 192.0.2.0/25 as low\n  deny https from 192.0.2.128/25 \
                as high\n  allow https from 192.0.2.0/24 as all\n  default deny\n}\n";
    assert_eq!(
        default(text, "POL103"),
        ["allow https from 192.0.2.0/24 as all"]
    );
    assert_eq!(default(text, "POL101"), NONE);
    let titles: Vec<String> = found(text, &Settings::default())
        .iter()
        .map(|d| d.title.clone())
        .collect();
    assert!(
        titles.iter().any(
            |t| t.contains("`low` and `high` together take every packet")
                || t.contains("`high` and `low` together take every packet")
        ),
        "{titles:?}"
    );
}

#[test]
fn a_rule_that_a_test_names_is_not_deleted() {
    let text = "to host {\n  allow https from 192.0.2.0/24\n  allow https from 192.0.2.7 as one\n  \
                default deny\n}\ntest \"t\" {\n  allow tcp 192.0.2.9:4000 -> host:443\n  deny tcp \
                198.51.100.1:4000 -> host:443 rule one\n}\n";
    let found = found(text, &Settings::default());
    let one: Vec<&Diagnostic> = found.iter().filter(|d| d.code.id() == "POL101").collect();
    assert_eq!(one.len(), 1);
    assert!(one[0].fix.is_none());
    assert_eq!(one[0].flow.len(), 2);
}

#[test]
fn of_two_rules_that_make_each_other_superfluous_one_stays() {
    let text = "to host {\n  allow https from 192.0.2.0/25\n  allow https from 192.0.2.0/24\n  allow \
                https from 192.0.2.0/23\n  default deny\n}\n";
    let result = compiled(text);
    let mut now = text.to_owned();
    for _ in 0..4 {
        let findings = found(&now, &Settings::default());
        let fixes = findings.iter().filter_map(|d| d.fix.as_ref());
        let edits = fix::compatible(fixes.filter(|f| f.safe), result.policy.file);
        now = fix::apply(&now, &edits);
    }
    assert_eq!(
        now,
        "to host {\n  allow https from 192.0.2.0/23\n  default deny\n}\n"
    );
}

#[test]
fn a_rate_makes_ssh_bearable_and_a_database_not() {
    let of = |service: &str| {
        format!(
            "bucket few = 6/min per source max 65536\nto host {{\n  allow {service} within few\n  \
             default deny\n}}\n"
        )
    };
    assert_eq!(default(&of("ssh"), "POL202"), NONE);
    assert_eq!(default(&of("redis"), "POL202"), ["allow redis within few"]);
    let settings = Settings {
        admin_ports: [(8443, 8443)].into_iter().collect(),
        ..Settings::default()
    };
    assert_eq!(places(&of("redis"), "POL202", &settings), NONE);
}

#[test]
fn ports_that_guard_denies_or_a_proxy_takes_are_not_open() {
    let guarded = "guard on eth0 {\n  deny tcp/6379\n  default allow\n}\nto host in eth0 {\n  allow \
                   redis\n  default deny\n}\nto host { default deny }\n";
    assert_eq!(default(guarded, "POL202"), NONE);
    let redirected =
        "steer { redirect tcp to host in not lo => :15006 }\nto host { default deny }\n";
    assert_eq!(default(redirected, "POL202"), NONE);
    let published = "zone wan = eth0\nsteer { dnat tcp/8022 from wan to 192.0.2.1 => 10.0.0.2:22 and \
                     allow }\nfrom wan { default deny }\ndefault deny\n";
    assert_eq!(default(published, "POL202").len(), 1);
}

#[test]
fn neighbour_discovery_is_asked_for_each_interface() {
    let text = "strict icmp\nzone lan = eth1\nzone wan = eth0\nfrom lan to host {\n  allow icmp\n  \
                default deny\n}\nfrom wan to host {\n  default reject as shut\n}\ndefault deny\n";
    // The top-level default refuses it on interfaces of no zone.
    assert_eq!(default(text, "POL504"), ["reject as shut", "deny"]);
}

/// It is never tracked: what is known of flows says nothing of it.
#[test]
fn neighbour_discovery_is_not_asked_for_where_rules_ask_for_flows() {
    for rules in [
        "allow icmp when ct.state == untracked default deny",
        "deny icmp when ct.state == new default allow",
    ] {
        let text = format!("strict icmp\nto host {{ {rules} }}\n");
        assert_eq!(default(&text, "POL504"), NONE);
    }
}

#[test]
fn packet_too_big_follows_its_flow_but_not_in_a_stateless_section() {
    let of = |head: &str| {
        format!(
            "strict icmp\n{head}to host {{\n  allow tcp/443\n  allow icmp/{{neighbour-solicitation, \
             neighbour-advertisement}}\n  default deny\n}}\n"
        )
    };
    assert_eq!(default(&of(""), "POL505"), NONE);
    assert_eq!(default(&of("stateless "), "POL505"), ["deny"]);
}

#[test]
fn what_guard_hands_on_whole_bypasses_nothing() {
    let text = "guard on eth0 {\n  allow from 192.0.2.0/24\n  deny udp/53\n  deny udp when \
                ip.fragment\n  default allow\n}\n";
    assert_eq!(default(text, "POL218"), NONE);
    let text = "guard on eth0 {\n  deny udp/53\n  allow from 192.0.2.0/24\n  deny udp when \
                ip.fragment\n  default allow\n}\n";
    assert_eq!(default(text, "POL218"), ["deny udp/53"]);
}

#[test]
fn families_are_compared_where_a_rule_is_limited_to_one() {
    let certain =
        "to host {\n  deny tcp/8080 from 192.0.2.0/24\n  allow tcp/8080\n  default deny\n}\n";
    assert_eq!(default(certain, "POL501"), NONE);
    let all = "to host {\n  deny tcp/8080 from 0.0.0.0/0\n  allow tcp/8080\n  default deny\n}\n";
    assert_eq!(default(all, "POL501"), ["deny tcp/8080 from 0.0.0.0/0"]);
    let both = "to host {\n  deny tcp/8080 only v4\n  deny tcp/8080 only v6\n  allow tcp/8000-8099\n  \
                default deny\n}\n";
    assert_eq!(default(both, "POL501"), NONE);
    assert_eq!(default(both, "POL502"), NONE);
}

#[test]
fn own_prefixes_come_from_the_settings_too() {
    let text =
        "zone wan = eth0\nfrom wan to host {\n  allow https\n  default deny\n}\ndefault deny\n";
    assert_eq!(default(text, "POL207"), NONE);
    let settings: Settings = serde_yaml::from_str("own_prefixes: [\"198.51.100.0/24\"]").unwrap();
    assert_eq!(places(text, "POL207", &settings), ["allow https"]);
}

#[test]
fn overlapping_elements_are_found_in_every_list() {
    let text = "set a = { 10.0.0.0/8, 192.0.2.1, 192.0.2.1, 192.0.2.0-192.0.2.9 } + { 10.0.0.1 }\nzone \
                dmz = eth1 net { fd00::/8, fd00:1::/32 }\nto host {\n  allow https from @a, \
                203.0.113.0/24, 203.0.113.7\n  default deny\n}\nfrom dmz { default deny }\ndefault \
                deny\n";
    assert_eq!(default(text, "POL109").len(), 4);
}

#[test]
fn an_older_kernel_lacks_more() {
    let text = "zone wan = eth0\nproxy p {\n  listen tcp at 127.0.0.1:1\n  mark 0x1/0xff\n  table \
                100\n  down deny\n}\nsteer { proxy tcp in eth1 only v4 via p }\negress { masquerade from \
                10.0.0.0/8 to wan }\nto host { default deny }\n";
    assert_eq!(default(text, "POL602"), NONE);
    let settings: Settings = serde_yaml::from_str("min_kernel: \"5.4\"").unwrap();
    assert_eq!(places(text, "POL602", &settings).len(), 2);
}

#[test]
fn rules_that_count_or_limit_on_their_own_are_not_merged() {
    let of = |clause: &str| {
        format!("to host {{\n  allow tcp/80{clause}\n  allow tcp/81{clause}\n  default deny\n}}\n")
    };
    assert_eq!(strict(&of(""), "POL108").len(), 1);
    assert_eq!(strict(&of(" from 192.0.2.0/24"), "POL108").len(), 1);
    assert_eq!(strict(&of(" within 5/s"), "POL108"), NONE);
    assert_eq!(strict(&of(" count"), "POL108"), NONE);
    let sources = "to host {\n  allow tcp/80 from 192.0.2.1\n  allow tcp/80 from 198.51.100.1\n  allow \
                   tcp/81 from 198.51.100.1\n  default deny\n}\n";
    assert_eq!(strict(sources, "POL108").len(), 1);
}
