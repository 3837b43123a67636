//! Sections in which every packet is judged.

use super::machine::{ACK, Build, Machine, RST, SYN, icmp, tcp, udp};

const TEXT: &str = "stateless from 192.0.2.0/24 to host {
                      allow dns                            as dns
                      allow tcp/22 within 2/h burst 2      as ssh
                      allow tcp when ct.state == established as answered
                      default deny                         as rest
                    }
                    to host { allow ssh as other  default deny as closed }";

#[test]
fn every_packet_is_judged_and_takes_tokens() {
    let mut m = Machine::new(TEXT);
    let ssh = tcp("192.0.2.1:1", "198.51.100.1:22");
    assert_eq!(m.says(&ssh), "allow ssh");
    assert_eq!(m.says(&ssh.clone().flags(ACK)), "allow ssh");
    assert_eq!(m.says(&ssh.clone().flags(ACK)), "deny rest");
    // Outside of the section flows are flows.
    let other = tcp("203.0.113.1:1", "198.51.100.1:22");
    assert_eq!(m.says(&other), "allow other");
    assert_eq!(m.says(&other), "allow (established)");
}

#[test]
fn answers_need_rules_of_their_own() {
    let mut m = Machine::new(TEXT);
    let out = udp("198.51.100.1:1", "192.0.2.1:5000").way("host", "eth0");
    assert_eq!(m.says(&out), "allow (notgoverned)");
    assert_eq!(m.says(&out.answer()), "deny rest");
    let out = tcp("198.51.100.1:1", "192.0.2.1:443").way("host", "eth0");
    assert_eq!(m.says(&out), "allow (notgoverned)");
    assert_eq!(m.says(&out.answer()), "allow answered");
}

#[test]
fn there_the_flow_lookup_is_skipped() {
    let mut m = Machine::new(&format!("strict tcp {TEXT}"));
    for flags in [ACK, SYN | ACK, RST] {
        let stray = tcp("192.0.2.1:1", "198.51.100.1:80").flags(flags);
        assert_eq!(m.says(&stray), "deny rest", "{flags}");
    }
    let stray = tcp("203.0.113.1:1", "198.51.100.1:22");
    assert_eq!(m.says(&stray.clone().flags(ACK)), "deny (notsyn)");
    assert_eq!(m.says(&stray.flags(RST)), "deny (invalid)");
    // What always passes does here, too.
    assert_eq!(
        m.says(&icmp(3, 4, "192.0.2.1", "198.51.100.1")),
        "allow (unconditionalicmp)"
    );
}

#[test]
fn flows_that_steer_has_admitted_are_not_judged() {
    let mut m = Machine::new(&format!(
        "steer {{ direct tcp/81 and allow as through }} {TEXT}"
    ));
    let packet = tcp("192.0.2.1:1", "198.51.100.1:81");
    assert_eq!(m.says(&packet), "allow through");
    assert_eq!(m.says(&packet), "allow (admitted)");
    assert_eq!(m.says(&tcp("192.0.2.1:1", "198.51.100.1:82")), "deny rest");
}

#[test]
fn a_packet_without_flow_was_sent_to_where_it_says() {
    let mut m = Machine::new(
        "steer { dnat tcp/80 only v4 => 10.0.0.2 }
         stateless only v4 from any { allow tcp to original 198.51.100.1 as sent  default deny as rest }
         default deny",
    );
    let stray = tcp("192.0.2.1:1", "198.51.100.1:80").flags(RST);
    assert_eq!(m.says(&stray), "allow sent");
    let stray = tcp("192.0.2.1:1", "198.51.100.2:80").flags(RST);
    assert_eq!(m.says(&stray), "deny rest");
    // An answer belongs to a flow, and that was opened to where the answer comes from.
    let packet = tcp("192.0.2.1:1", "198.51.100.1:81").flags(SYN);
    assert_eq!(m.says(&packet), "allow sent");
    assert_eq!(m.says(&packet.answer()), "allow sent");
}

#[test]
fn strict_tcp_asks_where_a_packet_was_sent_to() {
    let mut m = Machine::new(
        "strict tcp
         steer { dnat tcp/80 only v4 => 10.0.0.2  direct tcp/81 and allow }
         stateless to 198.51.100.1 { allow as apart }
         from any { allow as rest }
         default deny",
    );
    let ack = |port: u16| tcp("192.0.2.1:1", &format!("198.51.100.1:{port}")).flags(ACK);
    assert_eq!(m.says(&ack(79)), "allow apart");
    // It has left the section, and is not asked again.
    assert_eq!(m.says(&ack(80)), "allow rest");
    assert_eq!(m.says(&ack(81)), "deny steer#2");
    let other = tcp("192.0.2.1:1", "198.51.100.2:80").flags(ACK);
    assert_eq!(m.says(&other), "deny (notsyn)");
}

#[test]
fn later_packets_go_by_the_table_of_their_flow() {
    let mut m = Machine::new(
        "steer { route tcp via table 100 mark 0x10/0xf0 as other-way }
         stateless from host out eth1 { allow tcp as there  default deny as rest }
         default deny as closed",
    );
    let packet = tcp("198.51.100.1:1", "203.0.113.1:22")
        .way("host", "eth0")
        .detour("eth1");
    assert_eq!(m.says(&packet), "allow there");
    assert_eq!(m.says(&packet.flags(ACK)), "allow there");
}

#[test]
fn answers_have_the_port_again_that_their_flow_began_with() {
    let mut m = Machine::new(
        "egress { snat from host only v4 => 192.0.2.81 }
         from host { default allow as sent }
         stateless to host { allow tcp/22 as back  default deny as rest }",
    );
    m.state.choose_port(Some(40_000));
    let out = tcp("198.51.100.1:22", "203.0.113.1:443").way("host", "eth0");
    assert_eq!(m.says(&out), "allow sent");
    let answer = tcp("203.0.113.1:443", "192.0.2.81:40000").flags(SYN | ACK);
    let answer = answer.way("eth0", "host");
    assert_eq!(m.says(&answer), "allow back");
    // That is the port which the translation has, and nobody else's.
    let stray = tcp("203.0.113.2:443", "192.0.2.81:40000").flags(SYN | ACK);
    assert_eq!(m.says(&stray.way("eth0", "host")), "deny rest");
}
