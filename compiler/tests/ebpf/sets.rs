//! Dynamic sets in the kernel.

use std::thread::sleep;
use std::time::Duration;

use polc_compiler::target::ebpf::Hook;

use super::kernel::{Loaded, possible};
use super::rates::{from, loaded, passing};

fn passes(loaded: &Loaded, name: &str, source: &str, port: u16) -> bool {
    passing(loaded, name, &from(source, port), 1) == 1
}

#[test]
fn what_a_rule_adds_later_rules_and_packets_find() {
    if !possible() {
        return;
    }
    let text = "set noisy = {} dynamic idle 1h
                set both as pair = {} dynamic
                set mail as dest = {} dynamic
                guard {
                  deny udp/9 from @noisy
                  match udp/1 add @noisy
                  deny udp/1 from not @noisy
                  deny udp/2 from @noisy
                  match udp/3 add @both
                  deny udp/4 from @both
                  match udp/5 add @mail
                  deny udp/6 to @mail
                  deny udp/7 from @mail
                  default allow
                }";
    for hook in [Hook::Xdp, Hook::Ingress] {
        let (loaded, name) = loaded(text, hook);
        let passes = |source: &str, port| passes(&loaded, &name, source, port);
        for source in ["192.0.2.1", "2001:db8::1"] {
            assert!(passes(source, 9) && passes(source, 2));
            assert!(passes(source, 1), "what it adds is there at once");
            assert!(!passes(source, 9) && !passes(source, 2));
            assert!(passes(source, 4));
            assert!(passes(source, 3));
            assert!(!passes(source, 4));
        }
        assert!(passes("192.0.2.2", 9) && passes("2001:db8::1:1", 9));
        assert!(passes("192.0.2.2", 4));
        assert!(passes("192.0.2.1", 6) && passes("192.0.2.1", 5));
        assert!(!passes("192.0.2.2", 6) && passes("2001:db8::1", 6));
        assert!(passes("192.0.2.1", 7) && !passes("198.51.100.1", 7));
    }
}

#[test]
fn what_a_set_begins_with_stays_and_takes_room() {
    if !possible() {
        return;
    }
    let text = "set some = { 192.0.2.0/30, 2001:db8::/64 } dynamic max 6
                guard {
                  match udp/1 add @some
                  deny udp/2 from @some
                  deny udp/3 from not @some
                  default allow
                }";
    let (loaded, name) = loaded(text, Hook::Xdp);
    let is_in = |source: &str| {
        let denied = !passes(&loaded, &name, source, 2);
        assert_eq!(denied, passes(&loaded, &name, source, 3), "{source}");
        denied
    };
    assert!(is_in("192.0.2.3") && is_in("2001:db8::7") && !is_in("192.0.2.4"));
    for last in [0, 1, 2, 3, 4, 5, 6] {
        assert!(passes(&loaded, &name, &format!("192.0.2.{last}"), 1));
    }
    assert!(is_in("192.0.2.4") && is_in("192.0.2.5"));
    assert!(!is_in("192.0.2.6"), "there are six already");
    assert!(passes(&loaded, &name, "2001:db8:1::1", 1));
    assert!(!is_in("2001:db8:1::1"), "there is no room at all");
}

#[test]
fn elements_leave_when_they_are_not_added_again() {
    if !possible() {
        return;
    }
    let text = "set some = {} dynamic idle 2s max 2
                guard {
                  match udp/1 add @some
                  deny udp/2 from @some
                  default allow
                }";
    let (loaded, name) = loaded(text, Hook::Xdp);
    let add = |last: u8| assert!(passes(&loaded, &name, &format!("192.0.2.{last}"), 1));
    let is_in = |last: u8| !passes(&loaded, &name, &format!("192.0.2.{last}"), 2);
    add(1);
    add(2);
    add(3);
    assert!(is_in(1) && is_in(2) && !is_in(3));
    sleep(Duration::from_millis(1400));
    add(1);
    sleep(Duration::from_millis(1400));
    assert!(is_in(1) && !is_in(2));
    add(3);
    assert!(is_in(1) && is_in(3), "the idle one made room");
    add(4);
    assert!(!is_in(4));
}

#[test]
fn a_rule_that_asks_for_no_address_adds_what_the_set_does_not_have() {
    if !possible() {
        return;
    }
    let text = "set some = { 192.0.2.1 } dynamic
                guard {
                  match udp/1 in eth0 add @some
                  deny udp/2 in eth1 from @some
                  default allow
                }";
    let (loaded, _) = loaded(text, Hook::Xdp);
    for source in ["192.0.2.1", "192.0.2.2"] {
        for name in ["guard_0", "guard_1"] {
            assert!(passes(&loaded, name, source, 1));
        }
        let denying = ["guard_0", "guard_1"].map(|name| !passes(&loaded, name, source, 2));
        assert_eq!(denying.into_iter().filter(|denies| *denies).count(), 1);
    }
    assert!(passes(&loaded, "guard_1", "192.0.2.3", 2));
}

#[test]
fn a_rule_that_asks_only_for_membership_knows_the_address() {
    if !possible() {
        return;
    }
    let text = "set some = {} dynamic
                guard {
                  match udp/1 in eth0 add @some
                  allow in eth1 from @some
                  default deny
                }";
    let (loaded, _) = loaded(text, Hook::Xdp);
    let names = ["guard_0", "guard_1"];
    for source in ["192.0.2.1", "2001:db8::1"] {
        let denied = names.map(|name| passes(&loaded, name, source, 1));
        assert!(denied.contains(&false), "{source} is in no set at first");
        let [one, other] = names.map(|name| passes(&loaded, name, source, 2));
        assert!(one != other, "only eth1 lets {source} pass");
    }
    for source in ["192.0.2.2", "2001:db8::2"] {
        assert_eq!(
            names.map(|name| passes(&loaded, name, source, 2)),
            [false; 2]
        );
    }
}
