//! Small policies with tests that pass, and tests that must not.

use std::collections::BTreeMap;
use std::io;

use super::{NOON, TestResult, coverage, diagnostic, run};
use crate::diagnostic::Code;
use crate::{Compilation, Files, Options, compile};

struct NoFiles;

impl Files for NoFiles {
    fn read(&self, _path: &str) -> io::Result<String> {
        Err(io::ErrorKind::NotFound.into())
    }
}

fn options() -> Options {
    Options {
        users: BTreeMap::from([("known".to_owned(), 812)]),
        as_of: "2026-01-01".to_owned(),
        ..Options::default()
    }
}

fn compiled(text: &str) -> Compilation {
    let compilation = compile("t.pol", text, &NoFiles, &options());
    assert!(
        compilation.ir.is_some(),
        "{text}\n{:?}",
        compilation.diagnostics
    );
    compilation
}

fn results(text: &str) -> Vec<TestResult> {
    let compilation = compiled(text);
    run(
        &compilation.policy,
        compilation.ir.as_ref().unwrap(),
        &options(),
    )
}

/// What each step of a test with these lines comes to: nothing, or what is wrong and the help.
fn steps(policy: &str, lines: &str) -> Vec<Option<(String, String)>> {
    let text = format!("{policy}\ntest \"t\" {{\n{lines}\n}}");
    let steps = results(&text).remove(0).steps;
    let failures = steps.into_iter().map(|s| s.failure);
    failures
        .map(|f| f.map(|f| (f.got, f.help.unwrap_or_default())))
        .collect()
}

#[track_caller]
fn passes(policy: &str, lines: &str) {
    for (step, line) in steps(policy, lines).iter().zip(lines.trim().lines()) {
        assert_eq!(*step, None, "{line}");
    }
}

/// One step, which fails: what it got, and the help.
#[track_caller]
fn fails(policy: &str, line: &str) -> (String, String) {
    let mut steps = steps(policy, line);
    assert_eq!(steps.len(), 1);
    steps
        .remove(0)
        .unwrap_or_else(|| panic!("it passes: {line}"))
}

const FRONT: &str = "
    zone lan = eth1, wg*
    to host { allow ssh in eth0 as ssh  allow icmp/echo-request from lan  default deny }
    from host { allow dns by user known  allow ntp by user other, third  default reject }";

#[test]
fn tests_begin_at_noon_on_a_wednesday() {
    let time = jiff::Timestamp::from_millisecond(i64::try_from(NOON).unwrap()).unwrap();
    assert_eq!(
        time.strftime("%A %H:%M:%S").to_string(),
        "Wednesday 12:00:00"
    );
}

#[test]
fn outcomes_are_told_apart() {
    passes(
        FRONT,
        "allow tcp 192.0.2.1:9 -> host:22 in eth0 rule ssh
         deny tcp 192.0.2.1:9 -> host:22 in eth1
         deny tcp 192.0.2.1:9 -> host:23
         reject tcp host -> 192.0.2.1:80 out eth0",
    );
    let wrong = [
        (
            "deny tcp 192.0.2.1:9 -> host:22 in eth0",
            "`allow` by rule `ssh`",
        ),
        (
            "allow tcp 192.0.2.1:9 -> host:23 in eth0",
            "`deny` by rule `to-host#default`",
        ),
        (
            "deny tcp host -> 192.0.2.1:80 out eth0",
            "`reject` by rule `from-host#default`",
        ),
        (
            "allow tcp 192.0.2.1:9 -> host:22 in eth0 rule to-host#default",
            "`allow` by rule `ssh`",
        ),
        (
            "dnat tcp 192.0.2.1:9 -> host:22 in eth0 => 192.0.2.7:22",
            "`allow` by rule `ssh`",
        ),
    ];
    for (line, got) in wrong {
        let line = line.replace("to-host#default", "\"to-host#default\"");
        assert_eq!(fails(FRONT, &line).0, got, "{line}");
    }
}

#[test]
fn what_depends_on_the_interface_must_be_said() {
    let (got, help) = fails(FRONT, "allow tcp 192.0.2.1:9 -> host:22");
    assert_eq!(got, "`deny` by rule `to-host#default`");
    assert_eq!(
        help,
        "it depends on the interface: `allow` in eth0, `deny` in eth1, `deny` in other; say `in …`"
    );
    let policy = "zone lan = eth1  zone wan = eth0
        from lan to wan { default allow }  default deny";
    let (_, help) = fails(policy, "allow tcp 192.0.2.1 -> 198.51.100.1:80 in eth1");
    assert!(help.ends_with("say `out …`"), "{help}");
    let (_, help) = fails(policy, "allow tcp 192.0.2.1 -> 198.51.100.1:80");
    assert!(help.ends_with("say `in …` and `out …`"), "{help}");
    passes(
        policy,
        "allow tcp 192.0.2.1 -> 198.51.100.1:80 in eth1 out eth0",
    );
    // All fail: it depends on nothing.
    let (_, help) = fails(FRONT, "allow tcp 192.0.2.1 -> host:23");
    assert_eq!(help, "");
}

#[test]
fn a_pattern_stands_for_each_of_its_interfaces() {
    let policy = "to host { allow ssh in wg0, wg1  allow ntp in wg*  default deny }";
    passes(policy, "allow udp 192.0.2.1 -> host:123 in wg*");
    let (_, help) = fails(policy, "allow tcp 192.0.2.1 -> host:22 in wg*");
    assert!(help.contains("`allow` in wg0, `deny` in wg2"), "{help}");
}

#[test]
fn a_destination_behind_a_zone_is_routed_there() {
    let policy = "zone wan = eth0  zone dmz = eth3 net { 10.1.0.0/24, fd00:1::/64 }
        set vip = { 192.0.2.80 }
        steer { dnat tcp/80 from wan to @vip => 10.1.0.80:8080 as web
                dnat tcp/81 from wan to @vip => 10.9.0.80 as lost
                redirect tcp/82 => :8082 as here }
        from wan to dmz { allow tcp/{22, 8080, 81}  default deny }
        default deny";
    passes(
        policy,
        "allow tcp 198.51.100.1 -> 10.1.0.7:22 in eth0
         deny  tcp 198.51.100.1 -> 10.2.0.7:22 in eth0 out eth0
         dnat  tcp 198.51.100.1 -> 192.0.2.80:80 in eth0 => 10.1.0.80:8080 rule web
         dnat  tcp 198.51.100.1 -> 192.0.2.80:80 in eth0 => 10.1.0.80
         redirect tcp 198.51.100.1 -> 192.0.2.9:82 in eth0 => :8082 rule here
         redirect tcp host -> 192.0.2.9:82 => :8082",
    );
    let (_, help) = fails(policy, "dnat tcp 198.51.100.1 -> 192.0.2.80:81 in eth0");
    assert!(
        help.contains("`dnat => 10.9.0.80:81` steered out eth3"),
        "{help}"
    );
    assert!(
        help.ends_with("give the zone of the target a `net`"),
        "{help}"
    );
    let (got, _) = fails(
        policy,
        "dnat tcp 198.51.100.1 -> 192.0.2.80:80 in eth0 => 10.1.0.80:80",
    );
    assert_eq!(got, "`dnat => 10.1.0.80:8080` by rule `wan-to-dmz#1`");
}

#[test]
fn senders_are_numbers_where_the_settings_have_them() {
    passes(
        FRONT,
        "allow udp host -> 192.0.2.1:53 by user known
         allow udp host -> 192.0.2.1:53 by uid 812
         reject udp host -> 192.0.2.1:53 by uid 811
         reject udp host -> 192.0.2.1:53
         allow udp host -> 192.0.2.1:123 by user other
         allow udp host -> 192.0.2.1:123 by user other, third
         reject udp host -> 192.0.2.1:123 by group other
         reject udp host -> 192.0.2.1:123 by user known",
    );
    fails(
        FRONT,
        "allow udp host -> 192.0.2.1:123 by user other, known",
    );
}

#[test]
fn a_reply_needs_a_flow_that_was_admitted() {
    passes(
        FRONT,
        "allow tcp reply host:22 -> 192.0.2.1:9 out eth0
         allow udp reply 192.0.2.1:53 -> host:9 in eth0 by user known",
    );
    let (got, _) = fails(FRONT, "allow tcp reply host:23 -> 192.0.2.1:9 out eth0");
    let start = "the flow that it answers is not admitted: `deny`";
    assert!(got.starts_with(start), "{got}");
    // It answers a flow of which the sender is not known.
    let (got, _) = fails(FRONT, "allow udp reply 192.0.2.1:123 -> host:9 in eth0");
    assert!(got.contains("`reject`"), "{got}");
}

#[test]
fn a_reply_may_answer_a_question() {
    passes(
        FRONT,
        "allow icmp/echo-request 192.0.2.1 -> host in eth1
         allow icmp 2001:db8::1 -> host in wg7
         allow icmp reply host -> 192.0.2.1 out eth1
         allow icmp/echo-reply reply host -> [2001:db8::1] out eth1
         deny  icmp/timestamp-request 192.0.2.1 -> host in eth1
         deny  proto/47 192.0.2.1 -> host in eth1",
    );
}

#[test]
fn flags_are_those_of_a_syn_unless_said() {
    let policy = "guard { deny tcp when tcp.flags == syn+fin as odd
                          deny tcp when tcp.flags == syn as opens
                          deny tcp when tcp.mss == 1440 as six  default allow }
                  to host { default allow }";
    passes(
        policy,
        "deny tcp 192.0.2.1 -> host rule opens
         deny tcp 192.0.2.1 -> host flags syn+fin rule odd
         allow tcp 192.0.2.1 -> host flags ack
         deny tcp [2001:db8::1] -> host flags syn+ack rule six",
    );
}

#[test]
fn flows_are_sent_and_counted() {
    let policy = "steer { redirect tcp/81 => :8081  dnat tcp/82 => 10.0.0.1, 10.0.0.2 balance random only v4 }
        to host { allow ssh within 60/min burst 5 per source  reject tcp/23  default deny }
        from lan { default allow }  zone lan = eth1  default deny";
    passes(
        policy,
        "send 20 in 10s tcp 192.0.2.1 -> host:22 in eth0 => allow 15, deny 5
         send 20 in 10s tcp 192.0.2.1 -> host:22 => allow 15
         send 3 in 1s tcp 192.0.2.1 -> host:23 => reject 3, deny 0
         send 4 in 1s tcp 192.0.2.1 -> host:81 in eth0 => redirect 4, allow 4",
    );
    let (got, _) = fails(
        policy,
        "send 20 in 10s tcp 192.0.2.1 -> host:22 => allow 16, deny 4",
    );
    assert_eq!(got, "`allow` 15, `deny` 5");
    let (got, _) = fails(policy, "send 2 in 1s tcp 192.0.2.1 -> host:23 => allow 1");
    assert_eq!(got, "`allow` 0, `reject` 2");
    for (line, problem) in [
        (
            "send 70000 in 1s tcp 192.0.2.1 -> host => allow 1",
            "at most 64512 flows",
        ),
        (
            "send 7 in 1s icmp 192.0.2.1 -> host => allow 1",
            "a protocol with ports",
        ),
    ] {
        let (got, _) = fails(policy, line);
        assert!(got.contains(problem), "{got}");
    }
}

#[test]
fn live_flows_are_counted() {
    let policy = "to host { allow ssh within 3 flows per source  default deny }";
    passes(
        policy,
        "send 5 in 1s tcp 192.0.2.1 -> host:22 => allow 3, deny 2",
    );
}

#[test]
fn proxies_routes_and_sources_are_outcomes() {
    let policy = "zone lan = br0  zone wan = eth0
        proxy box { listen tcp at 127.0.0.1:12345  mark 0x1/0xff  table 100 }
        proxy second { listen tcp at 127.0.0.1:12346  mark 0x2/0xff  table 101 }
        steer { proxy tcp/80 from lan via box only v4
                route tcp/81 from lan via table 200 mark 0x3/0xff as other }
        egress { masquerade from lan to wan  snat from host to wan => 192.0.2.81 only v4 }
        default allow";
    passes(
        policy,
        "proxy tcp 10.0.0.1 -> 192.0.2.1:80 in br0 via box
         proxy tcp 10.0.0.1 -> 192.0.2.1:80 in br0 => 127.0.0.1:12345
         route tcp 10.0.0.1 -> 192.0.2.1:81 in br0 out eth0 rule other
         direct tcp 10.0.0.1 -> 192.0.2.1:82 in br0
         masquerade tcp 10.0.0.1 -> 192.0.2.1:82 in br0 out eth0
         snat tcp host -> 192.0.2.1:82 out eth0 => 192.0.2.81",
    );
    let (got, _) = fails(
        policy,
        "proxy tcp 10.0.0.1 -> 192.0.2.1:80 in br0 via second",
    );
    assert_eq!(got, "`proxy via box` by rule `steer#1`");
    fails(policy, "direct tcp 10.0.0.1 -> 192.0.2.1:80 in br0");
}

#[test]
fn what_means_nothing_is_said() {
    let wrong = [
        (
            "allow tcp 192.0.2.1 -> [2001:db8::1]:22",
            "the two ends are of different families",
        ),
        (
            "allow tcp 192.0.2.1 -> host by uid 1",
            "only packets from `host` have a sender",
        ),
        ("allow icmp 192.0.2.1:1 -> host", "`icmp` has no ports"),
        ("allow tcp/22 192.0.2.1 -> host", "`tcp` has no types"),
        (
            "allow icmp/packet-too-big 192.0.2.1 -> host",
            "ICMP has no type `packet-too-big`",
        ),
        (
            "allow udp 192.0.2.1 -> host flags syn",
            "only TCP has flags",
        ),
        (
            "allow tcp 192.0.2.1 -> host flags sin",
            "`sin` are no TCP flags",
        ),
        ("allow tcp 192.0.2.1 -> host in lan", "`lan` is a zone"),
        (
            "allow tcp 192.0.2.1 -> host out eth0",
            "a packet to `host` leaves by no interface",
        ),
        (
            "allow tcp host -> 192.0.2.1 in eth0",
            "a packet from `host` comes in by no interface",
        ),
        (
            "allow tcp 192.0.2.1 -> host in eth0 in eth1",
            "this is said twice",
        ),
        (
            "allow tcp host -> host out eth0",
            "a packet from `host` to `host` leaves by `lo`",
        ),
    ];
    for (line, problem) in wrong {
        assert_eq!(fails(FRONT, line).0, problem, "{line}");
    }
}

#[test]
fn loopback_is_asked_about_only_when_it_is_said() {
    let policy = "to host { deny tcp/1 in lo as inside  allow tcp/1 as outside  default deny }
        from host { deny tcp/2 out lo as back  default allow }";
    passes(
        policy,
        "allow tcp 192.0.2.1 -> host:1 rule outside
         deny  tcp 127.0.0.1 -> host:1 in lo rule inside
         deny  tcp host -> host:2 rule back
         deny  tcp host -> 127.0.0.1:2 rule back
         deny  tcp host -> host:1 in lo rule inside
         allow tcp host -> 192.0.2.1:2",
    );
}

#[test]
fn the_host_has_an_address_that_nothing_names() {
    let policy = "set named = { 192.0.2.0/24, 198.51.100.0/24, 203.0.113.0/24, 2001:db8::/32 }
        to host { deny to @named as named  allow tcp/1 to not @named as free  default deny }
        from host { default allow }";
    passes(
        policy,
        "allow tcp 1.1.1.1 -> host:1 rule free
         allow tcp [2a00::1] -> host:1 rule free
         deny tcp 1.1.1.1 -> host:2 rule \"to-host#default\"",
    );
}

#[test]
fn broadcast_and_multicast_are_for_the_host() {
    let policy = "to host { allow udp/67 when meta.pkttype == broadcast
                            allow udp/5353 when meta.pkttype == multicast  default deny }";
    passes(
        policy,
        "allow udp 192.0.2.1:68 -> 255.255.255.255:67
         allow udp 192.0.2.1 -> 224.0.0.251:5353
         allow udp [fe80::1] -> [ff02::fb]:5353
         deny udp 192.0.2.1:68 -> host:67",
    );
}

#[test]
fn rules_that_no_test_reaches_are_told() {
    let text = format!("{FRONT}\ntest \"t\" {{ allow tcp 192.0.2.1 -> host:22 in eth0 }}");
    let compilation = compiled(&text);
    let ir = compilation.ir.as_ref().unwrap();
    let results = run(&compilation.policy, ir, &options());
    let coverage = coverage(ir, &results);
    let names = |ids: &[crate::interpret::RuleId]| -> Vec<String> {
        let rules = ids.iter().filter_map(|id| id.of(ir));
        rules.map(|r| r.name.to_string()).collect()
    };
    assert_eq!(names(&coverage.reached), ["ssh"]);
    assert_eq!(
        names(&coverage.missed),
        ["to-host#2", "from-host#1", "from-host#2"]
    );
    assert!(coverage.reached_defaults.is_empty());
    assert_eq!(coverage.missed_defaults.len(), 2);
}

#[test]
fn a_failed_step_is_a_diagnostic() {
    let text = format!("{FRONT}\ntest \"t\" {{ deny tcp 192.0.2.1 -> host:22 in eth0 }}");
    let compilation = compiled(&text);
    let ir = compilation.ir.as_ref().unwrap();
    let result = run(&compilation.policy, ir, &options()).remove(0);
    let step = &result.steps[0];
    let found = diagnostic(ir, &compilation.sources, &result, step).unwrap();
    assert_eq!(found.code, Code::TestFailed);
    assert_eq!(found.title, "test `t` failed");
    assert_eq!(
        found.labels[0].text,
        "expected `deny`, got `allow` by rule `ssh`"
    );
    assert_eq!(compilation.sources.position(found.labels[1].span).0, 3);
    assert!(found.help.unwrap().contains("> allow `ssh`"));
}

#[test]
fn a_flow_has_64_hops_as_it_comes() {
    let policy = "
        zone wan = eth0
        zone lan = eth1
        guard on wan { deny when ip.ttl == 63 as early  default allow }
        from wan to lan { allow when ip.ttl == 63 as through  default deny }
        to host { allow when ip.ttl == 64 as here  default deny }
        from host { allow when ip.ttl == 64 as own  default deny }
        default deny";
    passes(
        policy,
        "allow tcp 192.0.2.5 -> 203.0.113.9:22 in eth0 out eth1 rule through
         allow tcp [2001:db8::5] -> [2001:db8:1::9]:22 in eth0 out eth1 rule through
         allow tcp 192.0.2.5 -> host:22 in eth0 rule here
         allow tcp host -> 192.0.2.5:22 out eth0 rule own",
    );
}
