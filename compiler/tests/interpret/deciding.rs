//! How a stage decides.

use super::machine::{Build, Machine, icmp, tcp, udp};

const A: &str = "192.0.2.1:40000";
const HOST: &str = "198.51.100.1";

fn to_port(port: u16) -> polc_compiler::interpret::Packet {
    tcp(A, &format!("{HOST}:{port}"))
}

#[test]
fn the_first_rule_that_holds_decides() {
    let m = Machine::new(
        "to host {
           deny  tcp/22 from 192.0.2.0/24  as first
           allow tcp/22                    as second
           default deny                    as rest
         }",
    );
    assert_eq!(m.alone(&to_port(22)), "deny first");
    assert_eq!(
        m.alone(&tcp("203.0.113.1:1", "198.51.100.1:22")),
        "allow second"
    );
    assert_eq!(m.alone(&to_port(23)), "deny rest");
}

#[test]
fn match_rules_have_effects_and_decide_nothing() {
    let mut m = Machine::new(
        "to host {
           match tcp log \"seen\" as seen
           allow tcp/22          as ssh
           match tcp/23 mark 0x5 as marked
           default deny          as rest
         }",
    );
    let decision = m.judge(&to_port(23));
    assert_eq!(m.short(&decision), "deny rest");
    let names: Vec<String> = decision
        .logged
        .iter()
        .map(|id| id.of(&m.ir).unwrap().name.to_string())
        .collect();
    assert_eq!((names, decision.mark), (vec!["seen".to_owned()], 5));
}

#[test]
fn a_rule_fires_once_though_several_of_its_alternatives_hold() {
    let mut m = Machine::new(
        "to host {
           match from 192.0.2.0/24, 192.0.0.0/16 log as twice
           default deny
         }",
    );
    assert_eq!(m.judge(&to_port(1)).logged.len(), 1);
}

#[test]
fn groups_add_their_conditions_and_their_default_decides_what_is_left_in_them() {
    let m = Machine::new(
        "to host {
           from 192.0.2.0/24 {
             allow ssh as ssh
             in eth1 {
               allow snmp   as snmp
               default deny as other-eth1
             }
             allow tcp/80 as web
           }
           default reject as rest
         }",
    );
    assert_eq!(m.alone(&to_port(22)), "allow ssh");
    assert_eq!(m.alone(&to_port(80)), "allow web");
    assert_eq!(m.alone(&to_port(80).way("eth1", "host")), "deny other-eth1");
    assert_eq!(
        m.alone(&udp(A, "198.51.100.1:161").way("eth1", "host")),
        "allow snmp"
    );
    assert_eq!(m.alone(&udp(A, "198.51.100.1:161")), "reject rest");
    assert_eq!(
        m.alone(&tcp("203.0.113.1:1", "198.51.100.1:22")),
        "reject rest"
    );
}

#[test]
fn a_section_without_a_default_hands_on_to_the_next_and_to_the_top_level_default() {
    let m = Machine::new(
        "zone lan = eth1
         default deny as top
         from lan to host { allow ssh as one }
         to host          { allow tcp/80 as two }
         from lan         { allow tcp/81 as three }",
    );
    let lan = |port| to_port(port).way("eth1", "host");
    assert_eq!(m.alone(&lan(22)), "allow one");
    assert_eq!(m.alone(&lan(80)), "allow two");
    assert_eq!(m.alone(&lan(81)), "allow three");
    assert_eq!(m.alone(&to_port(81)), "deny top");
    assert_eq!(m.alone(&to_port(81).way("eth1", "eth0")), "allow three");
}

#[test]
fn a_section_default_decides_everything_that_is_left_in_the_section() {
    let m = Machine::new(
        "zone lan = eth1
         from lan to host { allow ssh as ssh  default deny as lan-rest }
         to host          { allow any-tcp as other  default deny as rest }
         service any-tcp = tcp",
    );
    assert_eq!(m.alone(&to_port(80).way("eth1", "host")), "deny lan-rest");
    assert_eq!(m.alone(&to_port(80)), "allow other");
}

#[test]
fn directions_that_the_policy_does_not_speak_of_are_not_touched() {
    let m = Machine::new("to host { allow ssh  default deny as rest }");
    assert_eq!(
        m.alone(&to_port(80).way("eth0", "eth1")),
        "allow (notgoverned)"
    );
    assert_eq!(
        m.alone(&to_port(80).way("host", "eth1")),
        "allow (notgoverned)"
    );
    assert_eq!(m.alone(&to_port(80)), "deny rest");
    // Not even what fits no flow.
    assert_eq!(
        m.alone(&icmp(0, 0, "192.0.2.1", "192.0.2.9").way("eth0", "eth1")),
        "allow (notgoverned)"
    );
}

#[test]
fn a_default_can_reject_and_says_with_what() {
    let mut m = Machine::new("to host { reject tcp/113 with tcp-reset as ident  default deny }");
    let decision = m.judge(&to_port(113));
    let reset = polc_compiler::ir::Reject::TcpReset;
    assert_eq!(
        decision.outcome,
        polc_compiler::interpret::Outcome::Reject(reset)
    );
}
