//! Egress: sources of flows that leave.

use polc_compiler::interpret::{Packet, Sourced};

use super::machine::{ACK, Build, Machine, SYN, tcp};

const TEXT: &str = "zone wan = eth0
                    zone lan = eth1
                    steer { dnat tcp/80 to 192.0.2.80 => 10.8.0.80 as web }
                    egress {
                      direct     to 10.8.0.0/16                                  as inside
                      masquerade from lan to wan only v4                         as masq
                      snat       from fd00:1::/64 to wan => net 2001:db8:1::/64  as map
                      snat       from host to wan only v4 => 192.0.2.81          as own
                    }
                    from lan { allow from 10.0.0.0/8, fd00:1::/64 as lan }
                    from host { default allow as sent }
                    default deny as rest";

fn out(from: &str, to: &str) -> Packet {
    tcp(from, to).way("eth1", "eth0")
}

#[test]
fn the_first_rule_gives_the_source_and_the_rest_keeps_its_own() {
    let mut m = Machine::new(TEXT);
    let sourced = |m: &mut Machine, p: &Packet| m.judge(p).sourced;
    let lan = out("10.1.0.5:1", "203.0.113.1:443");
    assert_eq!(sourced(&mut m, &lan), Some(Sourced::Masquerade));
    let six = out("[fd00:1::7]:1", "[2001:db8:9::1]:443");
    let mapped = "2001:db8:1::7".parse().unwrap();
    assert_eq!(sourced(&mut m, &six), Some(Sourced::Snat(mapped)));
    let own = tcp("198.51.100.1:1", "203.0.113.1:443").way("host", "eth0");
    let to = "192.0.2.81".parse().unwrap();
    assert_eq!(sourced(&mut m, &own), Some(Sourced::Snat(to)));
    let elsewhere = out("10.1.0.5:1", "203.0.113.1:443").way("eth1", "eth2");
    assert_eq!(
        m.leaves(&elsewhere.set(polc_compiler::field::SPORT, 7)),
        "its own"
    );
}

#[test]
fn egress_sees_the_destination_as_steer_has_left_it_and_filter_the_source_before() {
    let mut m = Machine::new(TEXT);
    let decision = m.judge(&out("10.1.0.5:1", "192.0.2.80:80"));
    assert_eq!(decision.sourced, Some(Sourced::Own));
    assert_eq!(
        decision
            .sourced_by
            .unwrap()
            .of(&m.ir)
            .unwrap()
            .name
            .as_ref(),
        "inside"
    );
    assert_eq!(m.short(&decision), "allow lan");
}

#[test]
fn what_is_denied_or_stays_here_is_not_asked() {
    let mut m = Machine::new(TEXT);
    assert_eq!(m.leaves(&out("172.16.0.1:1", "203.0.113.1:443")), "not");
    let mut m = Machine::new("egress { masquerade as all }");
    assert_eq!(m.leaves(&tcp("10.1.0.5:1", "198.51.100.1:22")), "not");
    assert_eq!(m.leaves(&out("10.1.0.5:1", "203.0.113.1:22")), "masquerade");
    let lo = tcp("127.0.0.1:1", "127.0.0.1:22").way("host", "lo");
    assert_eq!(m.leaves(&lo), "its own");
}

#[test]
fn answers_come_to_the_new_source() {
    let mut m = Machine::new(TEXT);
    m.state.add_address("eth0", "192.0.2.1".parse().unwrap());
    let lan = out("10.1.0.5:1", "203.0.113.1:443");
    assert_eq!(m.says(&lan), "allow lan");
    let answer = tcp("203.0.113.1:443", "192.0.2.1:1")
        .flags(SYN | ACK)
        .detour("eth1");
    assert_eq!(m.says(&answer), "allow (established)");
    let to_the_old = tcp("203.0.113.1:443", "10.1.0.5:1")
        .flags(SYN | ACK)
        .way("eth0", "eth1");
    assert_eq!(m.says(&to_the_old), "deny (invalid)");
}

#[test]
fn a_stateless_section_sees_an_answer_with_its_source_put_back() {
    let mut m = Machine::new(
        "egress { snat from 10.1.0.0/24 out eth0 => 192.0.2.81 as away }
         stateless in eth0 to 10.1.0.0/24 { allow tcp from 203.0.113.1 as back  default deny as rest }
         default allow as top",
    );
    assert_eq!(m.says(&out("10.1.0.5:1", "203.0.113.1:443")), "allow top");
    let answer = tcp("203.0.113.1:443", "192.0.2.81:1")
        .flags(SYN | ACK)
        .detour("eth1");
    assert_eq!(m.says(&answer), "allow back");
}
