//! Plays of small policies, and reports that are right and wrong.

use std::collections::BTreeMap;
use std::io;

use super::{Play, Report, Unplayable, Where};
use crate::field::DPORT;
use crate::inline::{Bench, NOON};
use crate::interpret::frame::{Frame, Link, parse};
use crate::{Compilation, Files, Options, compile};

struct NoFiles;

impl Files for NoFiles {
    fn read(&self, _path: &str) -> io::Result<String> {
        Err(io::ErrorKind::NotFound.into())
    }
}

fn options() -> Options {
    Options {
        as_of: "2026-01-01".to_owned(),
        ..Options::default()
    }
}

fn compiled(policy: &str, line: &str) -> Compilation {
    let text = format!("policy p\n{policy}\ntest \"t\" {{ {line} }}");
    let compilation = compile("t.pol", &text, &NoFiles, &options());
    let found = &compilation.diagnostics;
    assert!(compilation.ir.is_some(), "{text}\n{found:?}");
    compilation
}

/// What `then` makes of the plays of a step.
fn with<R>(
    policy: &str,
    line: &str,
    then: impl FnOnce(&Bench<'_>, Result<Vec<Play>, Unplayable>) -> R,
) -> R {
    at(NOON, policy, line, then)
}

fn at<R>(
    now: u64,
    policy: &str,
    line: &str,
    then: impl FnOnce(&Bench<'_>, Result<Vec<Play>, Unplayable>) -> R,
) -> R {
    let compilation = compiled(policy, line);
    let options = options();
    let ir = compilation.ir.as_ref().unwrap();
    let bench = Bench::new(&compilation.policy, ir, &options);
    let step = &compilation.policy.tests[0].test.steps[0].node;
    let plays = bench.plays(step, now);
    then(&bench, plays)
}

fn reason(policy: &str, line: &str) -> String {
    with(policy, line, |_, plays| plays.unwrap_err().0)
}

const FRONT: &str = "
    zone lan = eth1
    to host { allow ssh in eth0 as ssh  reject tcp/113  default deny }
    from lan { default allow }
    from host { default allow }
    default deny";

/// A report in which a packet was seen there.
fn seen(place: Where, bytes: &[u8]) -> Report {
    Report {
        sent: vec![0],
        packets: vec![(place, bytes.to_vec())],
        taken: BTreeMap::new(),
    }
}

/// The play's only packet.
fn packet(play: &Play) -> Vec<u8> {
    let mut shots = play.shots();
    let bytes = shots.next().unwrap().bytes.clone();
    assert!(shots.next().is_none());
    bytes
}

#[test]
fn what_is_let_in_has_to_arrive() {
    let line = "allow tcp 192.0.2.5:40000 -> host:22 in eth0 rule ssh";
    with(FRONT, line, |bench, plays| {
        let plays = plays.unwrap();
        let [play] = &plays[..] else {
            panic!("one way: {plays:?}")
        };
        assert_eq!(play.rule.as_deref(), Some("ssh"));
        assert!(play.ports.contains(&22));
        let bytes = packet(play);
        let wrong = |report| bench.disagreement(&play.volleys[0], &report);
        assert_eq!(wrong(seen(Where::Host, &bytes)), None);
        let gone = wrong(Report::default()).unwrap();
        assert_eq!(
            gone,
            "the packet in eth0 was dropped; the interpreter has it delivered here as \
             192.0.2.254:22"
        );
        let left = wrong(seen(Where::Iface("eth0".into()), &bytes)).unwrap();
        assert!(left.contains("sent out by `eth0`"), "{left}");
    });
}

#[test]
fn what_is_dropped_must_be_seen_nowhere() {
    let line = "deny tcp 192.0.2.5:40000 -> host:80 in eth0";
    with(FRONT, line, |bench, plays| {
        let play = &plays.unwrap()[0];
        let wrong = |report| bench.disagreement(&play.volleys[0], &report);
        assert_eq!(wrong(Report::default()), None);
        assert!(wrong(seen(Where::Host, &packet(play))).is_some());
    });
}

#[test]
fn a_refusal_is_the_answer_that_the_language_says() {
    let line = "reject tcp 192.0.2.5:40000 -> host:113 in eth0";
    with(FRONT, line, |bench, plays| {
        let play = &plays.unwrap()[0];
        let wrong = |report| bench.disagreement(&play.volleys[0], &report);
        let mut reset = packet(play);
        // Addresses and ports change places; the flags are those of a reset.
        for byte in 0..4 {
            reset.swap(12 + byte, 16 + byte);
        }
        reset.swap(20, 22);
        reset.swap(21, 23);
        reset[33] = 0x14;
        assert_eq!(wrong(seen(Where::Iface("eth0".into()), &reset)), None);
        // The same answer that gets to somebody else.
        assert!(wrong(seen(Where::Iface("eth1".into()), &reset)).is_some());
        assert!(wrong(Report::default()).is_some());
    });
}

#[test]
fn a_flow_that_leaves_does_so_as_it_is_translated() {
    let policy = "
        zone wan = eth0
        zone dmz = eth1 net { 10.1.0.0/24 }
        steer { dnat tcp/80 from wan to 192.0.2.80 => 10.1.0.80:8080 and allow }
        egress { snat from 10.1.0.0/24 to wan => 192.0.2.81 }
        from dmz { default allow }
        default deny";
    let line = "dnat tcp 198.51.100.4 -> 192.0.2.80:80 in eth0 out eth0 => 10.1.0.80:8080";
    with(policy, line, |bench, plays| {
        let play = &plays.unwrap()[0];
        let ways: Vec<String> = play
            .routes
            .iter()
            .map(|r| format!("{} {}", r.dest, r.iface))
            .collect();
        assert_eq!(
            ways,
            ["10.1.0.80 eth1", "192.0.2.80 eth0", "198.51.100.4 eth0"]
        );
        let mut bytes = packet(play);
        let report = |bytes: &[u8]| seen(Where::Iface("eth1".into()), bytes);
        let wrong = |bytes: &[u8]| bench.disagreement(&play.volleys[0], &report(bytes));
        assert!(wrong(&bytes).is_some(), "it is not translated");
        bytes[16..20].copy_from_slice(&[10, 1, 0, 80]);
        bytes[22..24].copy_from_slice(&8080_u16.to_be_bytes());
        assert_eq!(wrong(&bytes), None);
    });
    let line = "snat tcp 10.1.0.9 -> 198.51.100.4:443 in eth1 out eth0 => 192.0.2.81";
    with(policy, line, |bench, plays| {
        let play = &plays.unwrap()[0];
        let mut bytes = packet(play);
        let wrong = |bytes: &[u8]| {
            let report = seen(Where::Iface("eth0".into()), bytes);
            bench.disagreement(&play.volleys[0], &report)
        };
        assert!(wrong(&bytes).is_some());
        bytes[12..16].copy_from_slice(&[192, 0, 2, 81]);
        assert_eq!(wrong(&bytes), None);
    });
}

#[test]
fn flows_that_are_counted_are_counted_at_the_times_at_which_they_came() {
    let policy = "
        to host { allow ssh within 10/s burst 3 per source  default deny }
        from host { default allow }";
    let line = "send 5 in 100ms tcp 192.0.2.5 -> host:22 in eth0 => allow 4, deny 1";
    with(policy, line, |bench, plays| {
        let play = &plays.unwrap()[0];
        let volley = &play.volleys[0];
        assert!(play.is_counted());
        let ports: Vec<_> = play
            .shots()
            .map(|s| parse(&Frame::whole(Link::Raw, &s.bytes)).unwrap().fields)
            .map(|fields| fields.get(&DPORT).copied())
            .collect();
        assert_eq!(ports, [Some(22); 5]);
        let report = |number: usize, sent: [u64; 5]| Report {
            sent: sent.to_vec(),
            packets: play
                .shots()
                .take(number)
                .map(|s| (Where::Host, s.bytes.clone()))
                .collect(),
            taken: BTreeMap::new(),
        };
        let nominal = [0, 25, 50, 75, 100];
        assert_eq!(bench.disagreement(volley, &report(4, nominal)), None);
        // A token that comes just when the last flow does may come too late for it.
        assert_eq!(bench.disagreement(volley, &report(3, nominal)), None);
        let wrong = bench.disagreement(volley, &report(5, nominal)).unwrap();
        assert!(wrong.contains("5 passed, 0 dropped"), "{wrong}");
        // A machine that was busy for a second.
        let late = [0, 25, 1000, 1001, 1002];
        assert_eq!(bench.disagreement(volley, &report(5, late)), None);
        assert!(bench.disagreement(volley, &report(3, late)).is_some());
    });
}

#[test]
fn what_cannot_be_played_says_why() {
    let long = reason(FRONT, "send 20 in 1h tcp 192.0.2.5 -> host:22 => deny 20");
    assert_eq!(long, "it takes 3600 s, and at most 5 s are waited");
    let error = reason(
        FRONT,
        "deny icmp/destination-unreachable 192.0.2.5 -> host in eth0",
    );
    assert!(error.contains("quotes a packet"), "{error}");
    let group = reason(FRONT, "deny udp 192.0.2.5 -> 224.0.0.251:5353 in eth0");
    assert!(group.contains("multicast"), "{group}");
    let sctp = reason(
        FRONT,
        "allow sctp 192.0.2.5 -> 192.0.2.9:22 in eth1 out eth0",
    );
    assert!(sctp.contains("protocol 132"), "{sctp}");
    let martian = reason(FRONT, "allow tcp 127.0.0.1 -> host:22 in eth0");
    assert!(martian.contains("Linux drops"), "{martian}");
    let both = reason(
        FRONT,
        "allow tcp 192.0.2.5 -> 192.0.2.5:22 in eth1 out eth0",
    );
    assert!(both.contains("behind `eth0` and behind `eth1`"), "{both}");
    let cgroup = "from host { allow dns by cgroup \"/a.slice\"  default deny }";
    let line = "allow udp host -> 192.0.2.5:53 by cgroup \"/a.slice\"";
    assert!(reason(cgroup, line).contains("control group"));
    let clock = "to host { allow ssh when time.hour in { 11-13 }  default deny }";
    let line = "allow tcp 192.0.2.5 -> host:22 in eth0";
    let hours = 3_600_000;
    at(NOON + hours / 2, clock, line, |_, plays| {
        assert!(plays.is_ok());
    });
    at(NOON + 5 * hours, clock, line, |_, plays| {
        assert!(plays.unwrap_err().0.contains("depends on the time"));
    });
}

#[test]
fn plays_share_a_machine_unless_it_would_remember() {
    let policy = "
        zone lan = eth1
        to host { allow ssh within 1/min burst 1  allow https  default deny }
        from host { default allow }";
    let lines = [
        "allow tcp 192.0.2.5:1 -> host:443 in eth0",
        "allow tcp 192.0.2.6:1 -> host:443 in eth0",
        // The same flow once more.
        "allow tcp 192.0.2.5:1 -> host:443 in eth1",
        "allow tcp 192.0.2.5:1 -> host:22 in eth0",
        // There was one token.
        "allow tcp 192.0.2.7:1 -> host:22 in eth0",
        "deny tcp 192.0.2.8:1 -> host:80 in eth0",
        // What was dropped is forgotten.
        "deny tcp 192.0.2.8:1 -> host:80 in eth1",
    ];
    let compilation = compiled(policy, &lines.join("\n"));
    let options = options();
    let ir = compilation.ir.as_ref().unwrap();
    let bench = Bench::new(&compilation.policy, ir, &options);
    let steps = compilation.policy.tests[0].test.steps.iter();
    let plays: Vec<Play> = steps
        .flat_map(|s| bench.plays(&s.node, NOON).unwrap())
        .collect();
    let plays: Vec<&Play> = plays.iter().collect();
    assert_eq!(bench.rounds(&plays), [vec![0, 1, 3, 5, 6], vec![2, 4]]);
}
