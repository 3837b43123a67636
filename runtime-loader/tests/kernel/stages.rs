//! Programs of several stages at one hook: in which order they run, come and go.

use std::net::UdpSocket;
use std::process::Command;

use polc_bundle::{ClassEntry, ProgramEntry, ProgramHook, ProgramStage};
use polc_runtime_loader::remove;

use crate::host::Host;
use crate::object::{Filter, TRAIL, program};
use crate::support::{ip, privileged};

/// A program of a stage.
fn at(stage: ProgramStage, name: &str, hook: ProgramHook, pattern: &str) -> ProgramEntry {
    ProgramEntry {
        stage,
        ..program(name, hook, pattern)
    }
}

/// Where a frame from `one0` to `one1` meets programs, and the digits of the stages that are there.
const WAYS: [(ProgramHook, &str, u64); 2] = [
    (ProgramHook::Ingress, "one1", 123),
    (ProgramHook::Egress, "one0", 234),
];

/// A policy with those stages at a hook that have a digit in `digits`; each writes it.
fn writing((hook, interface): (ProgramHook, &str), digits: u64) -> Filter {
    let mut filter = Filter::at(interface);
    filter.state.push("trail".to_owned());
    let stages = ProgramStage::ALL.into_iter().zip(TRAIL).zip('1'..);
    let stages = stages.filter(|(_, digit)| digits.to_string().contains(*digit));
    filter.programs = stages
        .map(|((stage, name), _)| at(stage, name, hook, interface))
        .collect();
    filter
}

/// Stages come between others and go from between them, whichever were there before.
#[test]
fn stages_run_in_their_order_however_they_came() {
    if !privileged() {
        return;
    }
    // Of the first, the second and the third stage there, by bits.
    let walk = [4, 5, 7, 6, 7, 3, 7, 5, 2, 3, 1, 6, 4];
    for host in [Host::new(), Host::with_filters()] {
        for (hook, interface, stages) in WAYS {
            for bits in walk {
                let digits = [stages / 100, stages / 10 % 10, stages % 10];
                let there = (0..).zip(digits).filter(|(bit, _)| bits >> bit & 1 == 1);
                let digits = there.fold(0, |number, (_, digit)| number * 10 + digit);
                host.apply(&writing((hook, interface), digits));
                assert_eq!(host.trail(), digits);
                assert!(host.in_step(), "{digits}");
            }
        }
    }
}

/// Somebody tears single links off; those that come back stand where they stood.
#[test]
fn links_that_were_torn_off_come_back_to_their_places() {
    if !privileged() {
        return;
    }
    if Command::new("bpftool").arg("version").output().is_err() {
        eprintln!("SKIPPED: there is no bpftool");
        return;
    }
    let host = Host::new();
    for (hook, interface, digits) in WAYS {
        let all = writing((hook, interface), digits);
        host.apply(&all);
        let first = if hook == ProgramHook::Ingress {
            "guard"
        } else {
            "egress"
        };
        for torn in [&["steer", "filter"][..], &[first], &["filter", first]] {
            for stage in torn {
                let name = format!("{}-{}-{stage}", host.index(interface), hook.word());
                let pin = host.pins().join("links").join(name);
                let detach = ["link", "detach", "pinned", pin.to_str().unwrap()];
                let done = Command::new("bpftool").args(detach).output().unwrap();
                assert!(done.status.success(), "{done:?}");
            }
            assert!(!host.in_step(), "{torn:?}");
            host.apply(&all);
            assert_eq!(host.trail(), digits, "{torn:?}");
            assert!(host.in_step(), "{torn:?}");
        }
    }
}

/// Who relies on another comes behind it, and goes before it.
#[test]
fn programs_come_before_those_that_rely_on_them() {
    if !privileged() {
        return;
    }
    let host = Host::new();
    let mut filter = Filter::at("one*");
    let (guard, steer) = (ProgramStage::Guard, ProgramStage::Steer);
    let (inner, outer) = (ProgramStage::Filter, ProgramStage::Egress);
    filter.programs = vec![
        at(guard, "one", ProgramHook::Ingress, "one1"),
        at(steer, "two", ProgramHook::Ingress, "one1"),
        at(steer, "two", ProgramHook::Ingress, "lo"),
        at(steer, "two", ProgramHook::Egress, "one1"),
        at(steer, "two", ProgramHook::Egress, "lo"),
        at(inner, "three", ProgramHook::Ingress, "one*"),
        at(inner, "three", ProgramHook::Egress, "one*"),
        at(outer, "four", ProgramHook::Egress, "one*"),
    ];
    let order = [
        "program four at one1 (egress)",
        "program four at one0 (egress)",
        "program three at one1 (egress)",
        "program three at one0 (egress)",
        "program three at one1 (ingress)",
        "program three at one0 (ingress)",
        "program two at lo (ingress)",
        "program two at one1 (ingress)",
        "program two at lo (egress)",
        "program two at one1 (egress)",
        "program one at one1 (ingress)",
    ];
    assert_eq!(host.apply(&filter).changes.attached, order);
    let status = host.state.status(&host.namespace);
    let at_one1: Vec<_> = status
        .programs
        .iter()
        .filter(|p| p.interface == "one1")
        .map(|p| (&*p.hook, p.name.as_deref().unwrap()))
        .collect();
    let expected = [
        ("ingress", "one"),
        ("ingress", "two"),
        ("ingress", "three"),
        ("egress", "two"),
        ("egress", "three"),
        ("egress", "four"),
    ];
    assert_eq!(at_one1, expected);

    filter.programs = Filter::at("none*").programs;
    let mut reversed = order;
    reversed.reverse();
    assert_eq!(host.apply(&filter).changes.detached, reversed);
}

/// `lo` has programs where it is named, by links and by filters.
#[test]
fn programs_run_at_the_loopback_interface() {
    if !privileged() {
        return;
    }
    for host in [Host::new(), Host::with_filters()] {
        let mut filter = Filter::at("lo");
        filter.classes = vec![ClassEntry {
            pattern: "lo".to_owned(),
            number: 9,
        }];
        let generation = host.apply(&filter).generation;
        let loopback = host.index("lo");
        assert_eq!(host.numbers(&generation), [(loopback, 9)].into());
        assert_eq!(host.seen(), [0, 0]);
        let send = || {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            let to = socket.local_addr().unwrap();
            socket.send_to(b"x", to).unwrap();
        };
        host.namespace.run(send).unwrap();
        assert_eq!(host.seen(), [1, 1]);
        assert!(host.in_step());
        ip(&host.namespace, "link set lo down");
        assert!(host.in_step(), "it is an interface also while it is down");
        let removed = remove(Some(host.namespace.name()), Some(host.state.path())).unwrap();
        assert_eq!(removed.programs, ["lo (ingress)", "lo (egress)"]);
    }
}
