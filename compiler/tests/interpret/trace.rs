//! How a decision is explained.

use polc_compiler::interpret::{explain, render};

use super::machine::{Build, Machine, tcp, udp};

fn shown(m: &mut Machine, packet: &polc_compiler::interpret::Packet, full: bool) -> String {
    let decision = m.judge(packet);
    render(&decision, &m.ir, &m.sources, full)
}

#[test]
fn each_rule_asked_is_shown_with_its_place_and_what_did_not_hold() {
    let mut m = Machine::new(
        "set admins = { 203.0.113.0/28 }
guard on eth0 { default allow as handed }
to host {
  allow ssh from @admins as admin
  allow dns
  match tcp log as seen
  allow ssh within 1/h burst 1 as anyone
  default deny as rest
}",
    );
    let ssh = tcp("192.0.2.1:1", "198.51.100.1:22");
    let first = "allow by `anyone` (test.pol:7)
guard
  > allow `handed` (test.pol:2)
filter
  - allow `admin` (test.pol:4): source is 192.0.2.1, not @admins
  - allow `to-host#2` (test.pol:5): dport is 22, not 53
  + match `seen` (test.pol:6)
  > allow `anyone` (test.pol:7)
";
    assert_eq!(shown(&mut m, &ssh, false), first);
    let second = shown(&mut m, &ssh.set(polc_compiler::field::SPORT, 2), false);
    assert!(
        second.contains("  - allow `anyone` (test.pol:7): anyone is over, not within\n"),
        "{second}"
    );
    assert!(second.starts_with("deny by `rest` (test.pol:8)\n"));
}

#[test]
fn long_rows_are_folded_unless_all_is_wanted() {
    let rules: String = (1..=20).fold(String::new(), |text, n| format!("{text}allow tcp/{n}\n"));
    let mut m = Machine::new(&format!("to host {{ {rules} default deny as rest }}"));
    let packet = udp("192.0.2.1:1", "198.51.100.1:22");
    let folded = shown(&mut m, &packet, false);
    assert!(folded.contains("  … 8 more that do not hold\n"), "{folded}");
    assert_eq!(folded.matches("  - ").count(), 12);
    assert_eq!(shown(&mut m, &packet, true).matches("  - ").count(), 20);
}

#[test]
fn a_decision_can_be_written_as_json() {
    let mut m = Machine::new("to host { allow ssh as it  default deny as rest }");
    let decision = m.judge(&udp("192.0.2.1:1", "198.51.100.1:22"));
    let value = serde_json::to_value(explain(&decision, &m.ir, &m.sources)).unwrap();
    assert_eq!(value["outcome"], "deny");
    assert_eq!(value["rule"]["name"], "rest");
    assert_eq!(value["steered"], "direct");
    let step = &value["steps"][1];
    assert_eq!(step["step"], "rule");
    assert_eq!(step["because"]["got"], "udp");
}

#[test]
fn without_a_trace_nothing_is_noted() {
    let mut m = Machine::new("to host { allow ssh as it  default deny as rest }");
    m.state.trace = false;
    let decision = m.judge(&tcp("192.0.2.1:1", "198.51.100.1:23"));
    assert!(decision.trace.steps.is_empty() && decision.by.is_some());
}
