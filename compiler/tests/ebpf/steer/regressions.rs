//! What programs once did otherwise than the interpreter, as small as it gets.

use fastrand::Rng;

use super::super::guard::compiled;
use super::super::kernel::possible;
use super::bench::{Attempt, Bench};
use super::built;
use super::journey::Way;
use super::net::Net;
use super::shot::{ACK, End, FIN, RST, SYN, Shot, TCP};

/// From where a packet comes.
#[derive(Clone, Copy)]
pub(super) enum From {
    Outside,
    Host,
}

const GRE: u8 = 47;

/// A packet of a connection.
pub(super) fn segment(source: (&str, u16), dest: (&str, u16), flags: u8) -> Shot {
    let shot = shot(source.0, dest.0, TCP);
    let end = |end: End, port| End { port, ..end };
    Shot {
        flags,
        ..shot.between(end(shot.source, source.1), end(shot.dest, dest.1))
    }
}

/// A packet of a protocol without ports.
pub(super) fn shot(source: &str, dest: &str, proto: u8) -> Shot {
    let end = |addr: &str| End {
        addr: addr.parse().unwrap(),
        port: 0,
    };
    Shot {
        source: end(source),
        dest: end(dest),
        proto,
        kind: [0; 2],
        flags: SYN,
        options: 0,
        unsummed: false,
        payload: 16,
        quote: None,
    }
}

/// Judges packets by the programs of a policy, and by the interpreter.
fn agree(policy: &str, packets: &[(From, Shot)]) {
    on_bench(policy, |rng, bench, class| {
        for (from, shot) in packets {
            bench.judge(rng, &attempt(*from, shot.clone(), class))?;
        }
        Ok(())
    });
}

/// A packet of no known flow at an interface of a class.
pub(super) fn attempt(from: From, shot: Shot, class: usize) -> Attempt {
    let way = match from {
        From::Outside => Way::In(class, class),
        From::Host => Way::Out(class, class),
    };
    Attempt {
        shot,
        way,
        part: None,
    }
}

/// Runs a policy, with and without link headers.
pub(super) fn on_bench(
    policy: &str,
    mut packets: impl FnMut(&mut Rng, &mut Bench, usize) -> Result<(), String>,
) {
    if !possible() {
        return;
    }
    let net = Net::new();
    let made = compiled(policy);
    let ir = made.ir.as_ref().unwrap();
    let programs = built(ir, &made).unwrap();
    // With and without link headers.
    for seed in 0..4 {
        let mut rng = Rng::with_seed(seed);
        let mut bench = Bench::new(ir, &programs, &net, &mut rng);
        let class = (0..bench.names.len())
            .find(|class| bench.names[*class] != "lo" && bench.machine.has_programs(*class))
            .unwrap();
        if let Err(complaint) = packets(&mut rng, &mut bench, class) {
            panic!("{complaint}\n{policy}");
        }
    }
}

#[test]
fn what_steer_has_marked_and_the_filter_rejected_lets_nothing_pass() {
    for address in ["fd00::7", "10.0.0.7"] {
        let own = if address.starts_with('f') {
            "fd00::1"
        } else {
            "10.0.0.1"
        };
        agree(
            "steer { deny gre from host  match mark 0x20/0xf0 }
             to host { default reject log \"seen\" }
             from host { allow gre }
             default deny",
            &[
                (From::Outside, shot(address, own, GRE)),
                (From::Host, shot(own, address, GRE)),
            ],
        );
    }
}

#[test]
fn own_flows_that_are_sent_home_are_judged_where_they_leave() {
    for rules in ["deny", "allow gre", "reject"] {
        agree(
            &format!(
                "steer {{ dnat gre from host only v4 => 10.0.0.5 }}
                 from host {{ {rules} }}
                 to host {{ allow }}
                 default deny"
            ),
            &[(From::Host, shot("10.0.0.1", "10.0.0.7", GRE))],
        );
    }
}

#[test]
fn what_steer_has_marked_and_the_filter_dropped_is_no_flow() {
    let (own, other) = (("10.0.0.1", 1000), ("10.0.0.7", 2000));
    agree(
        "strict tcp
         steer { deny tcp from host  match mark 0x20/0xf0 }
         to host { allow tcp }
         from host { allow tcp }
         default deny",
        &[
            (From::Outside, segment(other, own, ACK)),
            (From::Host, segment(own, other, SYN)),
        ],
    );
}

#[test]
fn what_strict_refuses_takes_no_tokens_of_steer() {
    let (own, other) = ("10.0.0.1", "10.0.0.7");
    let to_own = |port, flags| (From::Outside, segment((other, port), (own, 80), flags));
    agree(
        "strict tcp
         bucket few = 1/d burst 2
         steer { deny tcp over few }
         to host { allow tcp }
         default deny",
        &[
            to_own(1, ACK),
            to_own(2, ACK),
            to_own(3, SYN),
            to_own(4, SYN),
            to_own(5, SYN),
        ],
    );
}

#[test]
fn sections_that_judge_each_packet_leave_alone_what_steer_has_admitted() {
    let (own, other) = (("10.0.0.1", 80), ("10.0.0.7", 2000));
    let forth = (From::Outside, segment(other, own, SYN));
    let back = (From::Host, segment(own, other, SYN | ACK));
    let refused = (From::Outside, segment(other, ("10.0.0.1", 81), SYN));
    let policy =
        |steer: &str| format!("steer {{ {steer} }} stateless from any {{ deny }} default deny");
    agree(
        &policy("direct tcp/80 and allow"),
        &[forth.clone(), forth.clone(), back, refused.clone()],
    );
    agree(&policy("redirect tcp/80 => :8080"), &[forth, refused]);
}

#[test]
fn a_flow_outlives_its_packets_that_a_section_refuses() {
    let (own, other) = (("10.0.0.1", 80), ("10.0.0.7", 2000));
    agree(
        "steer { deny gre }
         stateless to host { allow tcp when tcp.flags == syn  default reject }
         from host { allow tcp }
         default deny",
        &[
            (From::Outside, segment(other, own, SYN)),
            (From::Outside, segment(other, own, ACK)),
            (From::Host, segment(own, other, SYN | ACK)),
        ],
    );
}

#[test]
fn answers_belong_to_flows_that_were_opened_to_where_they_come_from() {
    let (own, other) = (("10.0.0.1", 80), ("10.0.0.7", 2000));
    for address in ["10.0.0.1", "10.0.0.7"] {
        agree(
            &format!(
                "steer {{ deny gre }}
                 stateless from any {{
                   allow to original {address} when ct.state == established
                   allow to 10.0.0.1
                 }}
                 default deny"
            ),
            &[
                (From::Outside, segment(other, own, SYN)),
                (From::Host, segment(own, other, SYN | ACK)),
            ],
        );
    }
}

#[test]
fn a_destination_that_stays_the_same_leaves_the_port_alone() {
    agree(
        "steer { dnat tcp/80 from host only v4 => 10.0.0.7 }
         egress { snat tcp only v4 => 10.0.0.1 }
         from host { allow tcp }
         default deny",
        &[(
            From::Host,
            segment(("10.0.0.1", 1000), ("10.0.0.7", 80), SYN),
        )],
    );
}

#[test]
fn a_flow_that_goes_elsewhere_leaves_nothing_to_the_next_one() {
    let (own, other, target) = (("10.0.0.1", 1000), ("10.0.0.7", 80), ("10.0.0.6", 80));
    on_bench(
        "steer { dnat tcp from host only v4 => 10.0.0.6 within 1/d burst 1 }
         from host { allow tcp }
         default deny",
        |rng, bench, class| {
            let mut send = |bench: &mut Bench, flags, part| {
                let (shot, way) = (segment(own, other, flags), Way::Out(class, class));
                bench.judge(rng, &Attempt { shot, way, part })
            };
            send(bench, SYN, None)?;
            let reset = segment(own, target, RST);
            send(bench, RST, Some((0, reset, false)))?;
            let flow = bench.table.flows[&0].clone();
            bench.forget(&flow.first, flow.there);
            bench.table.remove(0);
            send(bench, SYN, None)?;
            send(bench, ACK, Some((1, segment(own, other, ACK), false)))
        },
    );
}

#[test]
fn a_flow_is_not_pushed_out_by_one_that_is_the_same_inside() {
    let (own, target) = (("10.0.0.1", 1000), ("10.0.0.6", 80));
    on_bench(
        "steer { dnat tcp from host to { 10.0.0.4, 10.0.0.7 } => 10.0.0.6 }
         from host { allow tcp }
         default deny",
        |rng, bench, class| {
            let sent = |dest, flags, part| Attempt {
                shot: segment(own, (dest, 80), flags),
                way: Way::Out(class, class),
                part,
            };
            let answer = Attempt {
                shot: segment(target, own, SYN | ACK),
                way: Way::In(class, class),
                part: Some((0, segment(("10.0.0.7", 80), own, SYN | ACK), true)),
            };
            let later = Some((0, segment(own, target, ACK), false));
            bench.judge(rng, &sent("10.0.0.7", SYN, None))?;
            bench.judge(rng, &answer)?;
            bench.judge(rng, &sent("10.0.0.4", SYN, None))?;
            bench.judge(rng, &sent("10.0.0.7", ACK, later))
        },
    );
}

#[test]
fn a_flow_that_changes_its_way_keeps_the_source_that_it_began_with() {
    on_bench(
        "zone one = eth0
         zone two = eth1
         egress { snat tcp out eth1 only v4 => 192.0.2.1 }
         from host { deny udp out eth0  allow tcp }
         default deny",
        |rng, bench, _| {
            let by = |name| {
                let class = bench.names.iter().position(|found| found == name).unwrap();
                Way::Out(class, class)
            };
            let (one, two) = (by("eth0"), by("eth1"));
            let sent = |flags| segment(("10.0.0.1", 1000), ("10.0.0.7", 80), flags);
            let attempt = |way, flags, part| Attempt {
                shot: sent(flags),
                way,
                part,
            };
            bench.judge(rng, &attempt(one, SYN, None))?;
            bench.judge(rng, &attempt(two, ACK, Some((0, sent(ACK), false))))
        },
    );
}

#[test]
fn what_a_section_refuses_of_a_flow_has_its_own_destination() {
    let (own, other) = (("10.0.0.1", 2000), ("10.0.0.7", 443));
    agree(
        "steer { deny gre }
         stateless to host { allow tcp to original 10.0.0.7  default deny }
         from host { default allow }",
        &[
            (From::Host, segment(own, other, SYN)),
            (From::Outside, segment(other, own, SYN | FIN)),
        ],
    );
}

#[test]
fn a_connection_begins_without_the_mark_of_the_one_that_was_reset() {
    on_bench(
        "steer { deny gre }
         stateless to 192.0.2.0/24 { default allow }
         from any { allow tcp when ct.mark == 0 mark 0x1/0xf  default deny }
         default deny",
        |rng, bench, class| {
            let mut send = |bench: &mut Bench, flags, part: Option<u64>| {
                let shot = segment(("10.0.0.7", 2000), ("10.0.0.1", 22), flags);
                let attempt = Attempt {
                    shot: shot.clone(),
                    way: Way::In(class, class),
                    part: part.map(|flow| (flow, shot, false)),
                };
                bench.judge(rng, &attempt)
            };
            send(bench, SYN, None)?;
            send(bench, RST, Some(0))?;
            let flow = bench.table.flows[&0].clone();
            bench.forget(&flow.first, flow.there);
            bench.table.remove(0);
            send(bench, SYN, None)?;
            send(bench, ACK, Some(1))
        },
    );
}

#[test]
fn strict_leaves_alone_what_only_egress_is_about() {
    let (one, other) = (("10.0.0.6", 1000), ("10.0.0.7", 80));
    agree(
        "strict tcp
         zone wan = eth0
         egress { masquerade to wan }
         to host { default allow }",
        &[
            (From::Outside, segment(one, other, ACK)),
            (From::Outside, segment(one, ("10.0.0.1", 80), ACK)),
            (From::Host, segment(("10.0.0.1", 1000), other, ACK)),
        ],
    );
}

/// Sends packets of a connection that a proxy may take, which is up or down; then they go direct. The last one is sent
/// when it is down in any case.
fn by_a_proxy(policy: &str, flags: &[u8]) {
    let policy = format!(
        "{policy}
         zone lan = eth0
         proxy box {{ listen tcp at 127.0.0.1:12345  mark 0x1/0xf  table 100  down direct }}"
    );
    let mut seen = [false; 2];
    on_bench(&policy, |rng, bench, _| {
        seen[usize::from(bench.state.is_proxy_up(0))] = true;
        let class = bench.names.iter().position(|name| name == "eth0").unwrap();
        for (number, these) in flags.iter().enumerate() {
            if number > 0 && number + 1 == flags.len() {
                bench.close_proxies();
            }
            let shot = segment(("10.0.0.6", 1000), ("10.0.0.7", 80), *these);
            let known = bench.table.flows.contains_key(&0);
            let attempt = Attempt {
                shot: shot.clone(),
                way: Way::In(class, class),
                part: known.then_some((0, shot, false)),
            };
            bench.judge(rng, &attempt)?;
        }
        Ok(())
    });
    assert_eq!(seen, [possible(); 2], "up and down");
}

#[test]
fn a_flow_that_no_proxy_takes_keeps_the_mark_that_it_has() {
    for steer in ["", "match tcp from lan mark 0x10/0xf0"] {
        by_a_proxy(
            &format!("steer {{ {steer}  proxy tcp from lan only v4 via box }} default allow"),
            &[SYN, ACK, ACK],
        );
    }
}

#[test]
fn only_what_a_proxy_takes_must_begin_with_a_syn() {
    for (steer, first) in [
        ("", SYN),
        ("", ACK),
        ("match tcp from lan mark 0x10/0xf0", ACK),
    ] {
        by_a_proxy(
            &format!(
                "strict tcp
                 steer {{ {steer}  proxy tcp/80 from lan only v4 via box }}
                 stateless from lan {{ allow tcp  default deny }}
                 default deny"
            ),
            &[first, ACK],
        );
    }
}
