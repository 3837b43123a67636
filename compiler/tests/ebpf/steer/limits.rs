//! Limits of live flows that go elsewhere than they were opened to.

use std::thread::sleep;
use std::time::Duration;

use fastrand::Rng;

use super::bench::{Attempt, Bench};
use super::journey::Way;
use super::regressions::{From, attempt, on_bench, segment, shot};
use super::shot::{ACK, End, RST, SYN, Shot, UDP};

/// Longer than a key at its limit is known to be there.
const HELD: Duration = Duration::from_millis(120);

/// Longer than the clock of programs stands still.
const TICK: Duration = Duration::from_millis(12);

/// The addresses of another machine and of this host, by family.
const ENDS: [(&str, &str); 2] = [("10.0.0.7", "10.0.0.1"), ("fd00::7", "fd00::1")];

/// Opens flows of which the policy allows two at once, and ends one in between. `moved` of them are to go elsewhere.
fn two_at_once(policy: &str, wait: Duration, moved: u64, packet: impl Fn(u16) -> (From, Shot)) {
    on_bench(policy, |rng, bench, class| {
        bench.machine.wait = wait;
        let open = |bench: &mut Bench, rng: &mut Rng, number| {
            let (from, shot) = packet(number);
            bench.judge(rng, &attempt(from, shot, class))
        };
        for number in 1..=4 {
            open(bench, rng, number)?;
        }
        bench.expire(0)?;
        sleep(HELD);
        for number in 5..=7 {
            open(bench, rng, number)?;
        }
        // One that was refused comes again, and takes nobody's place.
        sleep(HELD);
        open(bench, rng, 3)?;
        let seen = bench.totals.translated;
        let right = (seen == moved).then_some(());
        right.ok_or_else(|| format!("{seen} flows have gone elsewhere"))
    });
}

/// A SYN from a port that a number tells.
fn syn(from: From, source: &str, dest: (&str, u16)) -> impl Fn(u16) -> (From, Shot) {
    move |number| (from, segment((source, 1000 + number), dest, SYN))
}

#[test]
fn redirected_flows_count_until_they_end() {
    for ((other, own), key) in ENDS.into_iter().zip(["", " per dest/24,/64"]) {
        two_at_once(
            &format!("steer {{ redirect tcp/22 => :2222 within 2 flows{key} }} default deny"),
            Duration::ZERO,
            3,
            syn(From::Outside, other, (own, 22)),
        );
        // What this host sends goes to the loopback interface.
        two_at_once(
            "steer { redirect tcp/22 from host => :2222 within 2 flows per pair  deny tcp }
             default allow",
            Duration::ZERO,
            3,
            syn(From::Host, own, (other, 22)),
        );
    }
}

#[test]
fn flows_count_whatever_their_ends_are() {
    // Inside, the source is the higher end, or the lower one, or both have one address.
    for (services, target) in [
        ("tcp/22, udp/22, gre", "10.0.0.2"),
        ("tcp/22, udp/22, gre", "10.0.0.200"),
        ("tcp/22, udp/22", "10.0.0.4:22"),
        ("tcp/22, udp/22", "10.0.0.4:9000"),
    ] {
        let policy = format!(
            "steer {{ dnat {services} only v4 => {target} within 2 flows per source/24 and allow }}
             default deny"
        );
        two_at_once(&policy, Duration::ZERO, 3, |number| {
            let packet = segment(("10.0.0.4", 1000 + number), ("10.0.0.5", 22), SYN);
            let packet = match number % 3 {
                0 if services.ends_with("gre") => shot("10.0.0.100", "10.0.0.5", 47),
                1 => packet,
                _ => Shot {
                    proto: UDP,
                    ..packet
                },
            };
            (From::Outside, packet)
        });
    }
}

#[test]
fn questions_that_go_elsewhere_count() {
    for (own, target, proto, kind) in [
        ("10.0.0.5", "10.0.0.6", 1, 8),
        ("fd00::5", "fd00::6", 58, 128),
    ] {
        let policy = "steer { dnat icmp => 10.0.0.6, fd00::6 within 2 flows and allow }
                      default deny";
        on_bench(policy, |rng, bench, class| {
            for last in 1..=4u16 {
                // The interpreter tells no identifiers apart.
                let end = |text: &str| End {
                    addr: text.parse().unwrap(),
                    port: 2000 + last,
                };
                let source = own.replace('5', &format!("{}", 20 + last));
                let question = Shot {
                    kind: [kind, 0],
                    ..shot(own, own, proto).between(end(&source), end(own))
                };
                bench.judge(rng, &attempt(From::Outside, question, class))?;
            }
            let seen = bench.totals.translated;
            let right = (seen == 2).then_some(());
            right.ok_or_else(|| format!("{seen} questions have gone to {target}"))
        });
    }
}

#[test]
fn a_flow_has_one_slot_in_all_stages() {
    for ((other, own), wait) in ENDS.into_iter().zip([Duration::ZERO, TICK]) {
        two_at_once(
            "bucket few = 2 flows per source
             steer { dnat tcp/22 => 10.0.0.6, fd00::6 within few }
             from any { allow tcp/22 within few  default deny }
             egress { masquerade tcp/22 within few }
             default deny",
            wait,
            3,
            syn(From::Outside, other, (own, 22)),
        );
    }
}

#[test]
fn flows_count_that_wait_between_steer_and_filter() {
    for [steer, filter] in [["", " within 2 flows"], [" within 2 flows", ""]] {
        two_at_once(
            &format!(
                "steer {{ dnat tcp/22 only v4 => 10.0.0.6{steer} }}
                 from any {{ allow tcp/22 to 10.0.0.6{filter}  default deny }}
                 default deny"
            ),
            TICK,
            3,
            syn(From::Outside, "10.0.0.7", ("10.0.0.1", 22)),
        );
    }
}

#[test]
fn flows_count_that_egress_asks_for_after_the_filter() {
    let packet = syn(From::Outside, "10.0.0.7", ("10.0.0.6", 22));
    on_bench(
        "egress { snat tcp only v4 => 192.0.2.1 within 2 flows } default allow",
        |rng, bench, class| {
            bench.machine.wait = TICK;
            for number in 1..=4 {
                let (from, shot) = packet(number);
                bench.judge(rng, &attempt(from, shot, class))?;
            }
            Ok(())
        },
    );
}

#[test]
fn a_flow_that_was_reset_leaves_room() {
    let (own, other) = (("10.0.0.1", 22), "10.0.0.7");
    on_bench(
        "steer { redirect tcp/22 => :2222 within 1 flows } default deny",
        |rng, bench, class| {
            let opens = |port| attempt(From::Outside, segment((other, port), own, SYN), class);
            bench.judge(rng, &opens(1001))?;
            bench.judge(rng, &opens(1002))?;
            let flow = bench.table.flows[&0].clone();
            let (reset, expected) = flow.answer(RST | ACK);
            let answer = Attempt {
                shot: reset,
                way: flow.back,
                part: Some((0, expected, true)),
            };
            bench.judge(rng, &answer)?;
            bench.forget(&flow.first, flow.there);
            bench.table.remove(0);
            sleep(HELD);
            bench.judge(rng, &opens(1003))?;
            bench.judge(rng, &opens(1004))
        },
    );
}

#[test]
fn a_key_stays_as_long_as_its_flow_goes_elsewhere() {
    for [one, two, own] in [
        ["10.0.0.6", "10.0.0.7", "10.0.0.1"],
        ["fd00::6", "fd00::7", "fd00::1"],
    ] {
        on_bench(
            "bucket few = 2 flows per source max 1
             steer { redirect tcp/22 => :2222 within few }
             default deny",
            |rng, bench, class| {
                for (source, port) in [(one, 1001), (two, 1002), (one, 1003), (one, 1004)] {
                    let shot = segment((source, port), (own, 22), SYN);
                    bench.judge(rng, &attempt(From::Outside, shot, class))?;
                    sleep(HELD);
                }
                Ok(())
            },
        );
    }
}

#[test]
fn flows_that_proxies_take_count() {
    on_bench(
        "zone lan = eth0
         proxy box { listen tcp at 127.0.0.1:12345  mark 0x1/0xf  table 100 }
         steer {
           redirect tcp/23 from lan => :2323
           proxy tcp/22 from lan only v4 via box within 2 flows
         }
         default deny",
        |rng, bench, _| {
            let class = bench.names.iter().position(|name| name == "eth0").unwrap();
            for port in 1001..=1004 {
                let shot = segment(("10.0.0.6", port), ("10.0.0.7", 22), SYN);
                let way = Way::In(class, class);
                let part = None;
                bench.judge(rng, &Attempt { shot, way, part })?;
            }
            let captured = bench.totals.captured;
            let right = captured == if bench.state.is_proxy_up(0) { 2 } else { 0 };
            right
                .then_some(())
                .ok_or_else(|| format!("{captured} are captured"))
        },
    );
}
