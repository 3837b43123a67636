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
