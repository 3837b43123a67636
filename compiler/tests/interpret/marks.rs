//! Marks: of packets, of flows, between stages.

use polc_compiler::field::META_MARK;

use super::machine::{ACK, Build, Machine, tcp};

#[test]
fn a_stage_sees_marks_as_the_packet_entered_it() {
    let mut m = Machine::new(
        "guard on eth0 {
           match tcp mark 0x1/0xf              as first
           deny  tcp when meta.mark == 0x1     as same-stage
           default allow
         }
         to host { allow tcp when meta.mark == 0x1 as next-stage  default deny as rest }",
    );
    assert_eq!(
        m.says(&tcp("192.0.2.1:1", "198.51.100.1:22")),
        "allow next-stage"
    );
}

#[test]
fn only_the_bits_of_the_mask_are_set() {
    let mut m = Machine::new("to host { allow tcp mark 0x10/0xf0 as it  default deny }");
    let packet = tcp("192.0.2.1:1", "198.51.100.1:22").set(META_MARK, 0xabc);
    assert_eq!(m.judge(&packet).mark, 0xa1c);
    let mut m = Machine::new("to host { allow tcp mark 0x10 as it  default deny }");
    assert_eq!(m.judge(&packet).mark, 0x10);
}

#[test]
fn a_mark_belongs_to_the_flow() {
    let mut m = Machine::new("to host { allow tcp mark 0x10/0xf0 as it  default deny }");
    let packet = tcp("192.0.2.1:1", "198.51.100.1:22");
    for p in [&packet, &packet.clone().flags(ACK), &packet.answer()] {
        assert_eq!(m.judge(p).mark, 0x10);
    }
    // Guard knows no flow: it marks packets.
    let mut m =
        Machine::new("guard on eth0 { match tcp when tcp.flags == syn mark 0x10 default allow }");
    assert_eq!(m.judge(&packet).mark, 0x10);
    assert_eq!(m.judge(&packet.flags(ACK)).mark, 0);
}

#[test]
fn the_flows_mark_is_a_field() {
    let mut m = Machine::new(
        "steer { match tcp mark 0x7/0xf as first }
         to host { allow tcp when ct.mark == 0x7 and ct.direction == original as it  default deny }",
    );
    let packet = tcp("192.0.2.1:1", "198.51.100.1:22").set(META_MARK, 0x100);
    assert_eq!(m.says(&packet), "allow it");
}
