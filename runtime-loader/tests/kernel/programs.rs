//! Filter programs at interfaces, and the maps that they keep.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{scope, sleep};
use std::time::Duration;

use nix::sys::pthread::{pthread_kill, pthread_self};
use nix::sys::signal::Signal;
use polc_bundle::{ClassEntry, ProgramHook, ProgramStage};
use polc_runtime_loader::{
    ApplyError, ApplyOptions, Changes, EbpfError, Undo, Warning, apply, remove,
};

use crate::host::Host;
use crate::object::{Filter, program};
use crate::support::{ip, privileged};

#[test]
fn filters_are_attached_kept_and_removed() {
    if !privileged() {
        return;
    }
    let host = Host::new();
    let mut filter = Filter::at("one*");
    filter
        .programs
        .push(program("guard", ProgramHook::Xdp, "one1"));
    let would = ApplyOptions {
        dry_run: true,
        ..host.state.options(&host.namespace)
    };
    let would = apply(&filter.bundle(), &would, &mut |_| {}).unwrap();
    assert!(!host.pins().exists(), "nothing is pinned by asking");

    let applied = host.apply(&filter);
    let expected = [
        "program count_out at one1 (egress)",
        "program count_out at one0 (egress)",
        "program count_in at one1 (ingress)",
        "program count_in at one0 (ingress)",
        "program guard at one1 (xdp)",
    ];
    assert_eq!(applied.changes.attached, expected);
    assert_eq!(would.changes, applied.changes);
    host.send(3);
    assert_eq!(host.seen(), [3, 3]);
    let status = host.state.status(&host.namespace);
    assert!(status.in_step, "{status:?}");
    let shown: Vec<_> = status
        .programs
        .iter()
        .map(|p| (&*p.interface, &*p.hook, p.mode.as_deref().unwrap()))
        .collect();
    let expected = [
        ("one1", "xdp", "native"),
        ("one1", "ingress", "tcx"),
        ("one1", "egress", "tcx"),
        ("one0", "ingress", "tcx"),
        ("one0", "egress", "tcx"),
    ];
    assert_eq!(shown, expected);

    let links = host.links();
    assert_eq!(host.apply(&filter).changes, Changes::default());
    assert_eq!(host.links(), links);

    // Another generation: the links stay, and so does what is counted.
    filter.step = 10;
    let applied = host.apply(&filter);
    assert_eq!(applied.changes.attached.len(), 5);
    for (name, (link, program)) in host.links() {
        let before = links[&name];
        assert_eq!(link, before.0, "{name}");
        assert_ne!(program, before.1, "{name}");
    }
    host.send(2);
    assert_eq!(host.seen(), [23, 23]);

    filter.programs.retain(|p| p.hook == ProgramHook::Ingress);
    let applied = host.apply(&filter);
    let expected = [
        "program guard at one1 (xdp)",
        "program count_out at one0 (egress)",
        "program count_out at one1 (egress)",
    ];
    assert_eq!(applied.changes.detached, expected);
    host.send(1);
    assert_eq!(host.seen(), [33, 23]);

    let removed = remove(Some(host.namespace.name()), Some(host.state.path())).unwrap();
    assert_eq!(removed.programs, ["one1 (ingress)", "one0 (ingress)"]);
    assert!(!host.pins().exists());
    assert!(host.state.status(&host.namespace).programs.is_empty());
}

#[test]
fn kept_maps_come_and_go_with_the_manifest() {
    if !privileged() {
        return;
    }
    let host = Host::new();
    let mut filter = Filter::at("one*");
    filter.state.push("other".to_owned());
    host.apply(&filter);
    assert_eq!(host.pinned("state"), ["other", "seen"]);
    host.send(1);
    filter.state.pop();
    let applied = host.apply(&filter);
    assert_eq!(applied.warnings, []);
    assert_eq!(host.pinned("state"), ["seen"]);
    assert_eq!(host.seen(), [1, 1]);

    // A map of another shape cannot be taken over.
    filter.entries = 3;
    let applied = host.apply(&filter);
    let map = "seen".to_owned();
    assert_eq!(applied.warnings, [Warning::BeginsEmpty { map }]);
    assert_eq!(host.seen(), [0, 0]);
    host.send(1);
    assert_eq!(host.seen(), [1, 1]);
    assert!(host.in_step());

    for (name, expected) in [
        ("missing", "no map `missing`"),
        ("../links", "not the name"),
    ] {
        filter.state = vec![name.to_owned()];
        let refused = host.try_apply(&filter).unwrap_err().to_string();
        assert!(refused.contains(expected), "{refused}");
    }
    assert_eq!(host.pinned("state"), ["seen"]);
}

/// Both generations count as much, in the same map: what were missing would have met no program.
#[test]
fn no_packet_is_missed_while_programs_are_replaced() {
    if !privileged() {
        return;
    }
    for host in [Host::new(), Host::with_filters()] {
        let mut filter = Filter::at("one*");
        host.apply(&filter);
        let done = AtomicBool::new(false);
        let sent = scope(|scope| {
            let sender = scope.spawn(|| {
                let mut sent = 0;
                while !done.load(Ordering::Relaxed) {
                    host.send(100);
                    sent += 100;
                }
                sent
            });
            for round in 0..20 {
                filter.classes = vec![ClassEntry {
                    pattern: "one*".to_owned(),
                    number: round % 2,
                }];
                assert_eq!(host.apply(&filter).changes.attached.len(), 4);
            }
            done.store(true, Ordering::Relaxed);
            sender.join().unwrap()
        });
        assert!(sent > 1_000, "{sent}");
        assert_eq!(host.seen(), [sent, sent]);
        println!("{sent} packets during 20 applies, none missed");
    }
}

/// What is pinned for a namespace that is gone and had the same number is not taken over.
#[test]
fn a_map_of_nobody_is_not_used() {
    if !privileged() {
        return;
    }
    let host = Host::new();
    let filter = Filter::at("one*");
    host.apply(&filter);
    host.send(1);
    std::fs::remove_dir_all(host.pins().join("links")).unwrap();
    std::fs::remove_dir_all(host.state.path().join("netns")).unwrap();
    let applied = host.apply(&filter);
    assert_eq!(applied.previous, None);
    assert_eq!(host.seen(), [0, 0]);
}

/// The last hook cannot have its program: the others and the maps are as they were.
#[test]
fn a_failure_in_the_middle_is_undone() {
    if !privileged() {
        return;
    }
    let host = Host::new();
    let mut filter = Filter::at("one0");
    host.apply(&filter);
    host.send(2);
    let foreign = tempfile::NamedTempFile::new().unwrap();
    let bundle = filter.bundle();
    std::fs::write(foreign.path(), bundle.bytes("policy.o").unwrap()).unwrap();
    let path = foreign.path().display();
    ip(
        &host.namespace,
        &format!("link set dev one1 xdp obj {path} sec xdp"),
    );

    let (links, status) = (host.links(), host.state.status(&host.namespace));
    filter.programs = Filter::at("one*").programs;
    filter
        .programs
        .push(program("guard", ProgramHook::Xdp, "one1"));
    filter.entries = 3;
    filter.state.push("other".to_owned());
    let refused = host.try_apply(&filter);
    let Err(ApplyError::Undone { cause, undo }) = refused else {
        panic!("{refused:?}")
    };
    assert!(cause.to_string().contains("`one1` (xdp)"), "{cause}");
    assert!(matches!(undo, Undo::Restored { .. }), "{undo:?}");
    assert_eq!(host.links(), links);
    assert_eq!(host.state.status(&host.namespace), status);
    assert_eq!(host.pinned("state"), ["seen"]);
    assert_eq!(host.seen(), [0, 2]);
    host.send(1);
    assert_eq!(host.seen(), [0, 3], "the programs count where they did");
}

#[test]
fn what_the_verifier_refuses_changes_nothing() {
    if !privileged() {
        return;
    }
    let host = Host::new();
    let mut filter = Filter::at("one*");
    filter.programs[0].name = Some("wrong".to_owned());
    let refused = host.try_apply(&filter).unwrap_err();
    assert!(
        matches!(&refused, ApplyError::Ebpf(EbpfError::Refused { program, .. }) if program == "wrong"),
        "{refused:?}"
    );
    let shown = refused.to_string();
    assert!(shown.contains("deny from 192.0.2.1\n"), "{shown}");
    assert!(shown.contains("  | R9 !read_ok"), "{shown}");
    filter.programs[0].name = Some("guard".to_owned());
    let refused = host.try_apply(&filter).unwrap_err().to_string();
    assert!(
        refused.contains("no program `guard` for its hook"),
        "{refused}"
    );
    filter = Filter::at("one*");
    filter.programs[1].stage = ProgramStage::Guard;
    let refused = host.try_apply(&filter).unwrap_err().to_string();
    assert!(refused.contains("no program `count_out`"), "{refused}");
    assert!(!host.pins().exists());
}

#[test]
fn packets_of_ports_are_their_masters() {
    if !privileged() {
        return;
    }
    let host = Host::new();
    ip(&host.namespace, "link add br0 type bridge");
    ip(&host.namespace, "link set one0 master br0");
    let at = |pattern: &str| {
        host.apply(&Filter::at(pattern));
        assert!(host.in_step());
        let status = host.state.status(&host.namespace);
        let programs = status.programs.iter().filter(|p| p.hook == "ingress");
        programs.map(|p| p.interface.clone()).collect::<Vec<_>>()
    };
    assert_eq!(at("*"), ["one1", "br0"]);
    assert_eq!(at("one0"), ["one0"]);
    assert_eq!(at("one*"), ["one1"]);
}

#[test]
fn programs_know_interfaces_by_numbers() {
    if !privileged() {
        return;
    }
    let host = Host::new();
    let mut filter = Filter::at("one*");
    let class = |pattern: &str, number| ClassEntry {
        pattern: pattern.to_owned(),
        number,
    };
    filter.classes = vec![class("one1", 4), class("one*", 5), class("late*", 6)];
    let generation = host.apply(&filter).generation;
    let (one0, one1) = (host.index("one0"), host.index("one1"));
    let expected = BTreeMap::from([(one0, 5), (one1, 4)]);
    assert_eq!(host.numbers(&generation), expected);
    assert!(host.in_step());

    ip(&host.namespace, "link add late0 type bridge");
    assert!(!host.in_step(), "the programs do not know `late0`");
    assert_eq!(host.apply(&filter).generation, generation);
    let late = host.index("late0");
    let expected = BTreeMap::from([(one0, 5), (one1, 4), (late, 6)]);
    assert_eq!(host.numbers(&generation), expected);
    ip(&host.namespace, "link delete late0");
    assert!(!host.in_step());
    host.apply(&filter);
    assert!(host.in_step());
    assert!(!host.numbers(&generation).contains_key(&late));
}

#[test]
fn an_interface_that_comes_later_has_its_programs_after_the_next_apply() {
    if !privileged() {
        return;
    }
    let host = Host::new();
    let filter = Filter::at("*");
    host.apply(&filter);
    ip(&host.namespace, "link add late0 type bridge");
    let status = host.state.status(&host.namespace);
    let missing = status.programs.iter().filter(|p| p.mode.is_none());
    let missing: Vec<_> = missing.map(|p| (&*p.interface, &*p.hook)).collect();
    assert_eq!(missing, [("late0", "egress"), ("late0", "ingress")]);
    host.apply(&filter);
    assert!(host.in_step());
    ip(&host.namespace, "link delete late0");
    assert!(!host.in_step(), "links of nothing are left");
    host.apply(&filter);
    assert!(host.in_step());
    assert_eq!(host.links().len(), 4);
}

/// The verifier gives up when a signal comes, and this program takes it longer than the next one does.
#[test]
fn signals_do_not_keep_programs_from_being_verified() {
    if !privileged() {
        return;
    }
    let host = Host::new();
    let mut filter = Filter::at("one0");
    filter.programs = vec![program("slow", ProgramHook::Ingress, "one0")];
    let came = Arc::new(AtomicUsize::new(0));
    signal_hook::flag::register_usize(Signal::SIGURG as i32, came.clone(), 1).unwrap();
    let thread = pthread_self();
    let over = AtomicBool::new(false);
    scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                pthread_kill(thread, Signal::SIGURG).unwrap();
                sleep(Duration::from_micros(200));
            }
        });
        let applied = apply(
            &filter.bundle(),
            &host.state.options(&host.namespace),
            &mut |_| {},
        );
        over.store(true, Ordering::Relaxed);
        let attached = applied.unwrap().changes.attached;
        assert_eq!(attached, ["program slow at one0 (ingress)"]);
    });
    assert_eq!(came.load(Ordering::Relaxed), 1, "signals have come");
}
