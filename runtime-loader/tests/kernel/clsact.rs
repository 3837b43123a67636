//! Filter programs at the qdisc `clsact`, as kernels without tcx links have them.

#![expect(
    clippy::unwrap_used,
    reason = "test support: what fails here is a broken test"
)]

use polc_bundle::{ProgramEntry, ProgramHook, ProgramStage};
use polc_runtime_loader::{ApplyError, Changes, EbpfError, Undo, Warning, remove};

use crate::host::Host;
use crate::object::{Filter, program};
use crate::support::{ip, privileged};

/// Runs a `tc` command, given in words, in the namespace.
fn tc(host: &Host, line: &str) -> String {
    let arguments: Vec<_> = line.split(' ').collect();
    host.namespace.output("tc", &arguments).unwrap()
}

/// All filters of both interfaces, one a line.
fn filters(host: &Host) -> Vec<String> {
    let mut filters = Vec::new();
    for interface in ["one0", "one1"] {
        for way in ["ingress", "egress"] {
            let shown = tc(host, &format!("filter show dev {interface} {way}"));
            let lines = shown.lines().filter(|line| line.contains(" handle "));
            filters.extend(lines.map(|line| format!("{interface} {way} {}", line.trim())));
        }
    }
    filters
}

/// A program of the stage guard at ingress.
fn guard(name: &str, pattern: &str) -> ProgramEntry {
    ProgramEntry {
        stage: ProgramStage::Guard,
        ..program(name, ProgramHook::Ingress, pattern)
    }
}

fn modes(host: &Host) -> Vec<String> {
    let status = host.state.status(&host.namespace);
    let modes = status.programs.into_iter().filter_map(|p| p.mode);
    modes.collect()
}

#[test]
fn filters_are_put_replaced_and_removed() {
    if !privileged() {
        return;
    }
    let mut host = Host::with_filters();
    let mut filter = Filter::at("one*");
    let applied = host.apply(&filter);
    assert_eq!(applied.changes.attached.len(), 4);
    host.send(3);
    assert_eq!(host.seen(), [3, 3]);
    assert!(host.in_step());
    assert_eq!(modes(&host), ["clsact"; 4]);
    let first = filters(&host);
    assert_eq!(first.len(), 4, "{first:?}");
    for shown in &first {
        let place = "protocol all pref 3 bpf chain 0 handle 0x706f6c63 polc direct-action";
        assert!(shown.contains(place), "{shown}");
    }

    assert_eq!(host.apply(&filter).changes, Changes::default());
    assert_eq!(filters(&host), first);

    // Another generation takes the places, also where the kernel would have links.
    host.clsact = false;
    filter.step = 10;
    assert_eq!(host.apply(&filter).changes.attached.len(), 4);
    assert_eq!(modes(&host), ["clsact"; 4]);
    let second = filters(&host);
    assert_eq!(second.len(), 4);
    assert!(second.iter().all(|shown| !first.contains(shown)));
    host.send(2);
    assert_eq!(host.seen(), [23, 23]);
    assert_eq!(host.pinned("links").len(), 4, "nothing is pinned twice");

    filter.programs.retain(|p| p.hook == ProgramHook::Ingress);
    let detached = host.apply(&filter).changes.detached;
    let expected = [
        "program count_out at one0 (egress)",
        "program count_out at one1 (egress)",
    ];
    assert_eq!(detached, expected);
    assert_eq!(filters(&host).len(), 2);

    let removed = remove(Some(host.namespace.name()), Some(host.state.path())).unwrap();
    assert_eq!(removed.programs, ["one1 (ingress)", "one0 (ingress)"]);
    assert!(filters(&host).is_empty());
    assert!(!host.pins().exists());
    assert!(tc(&host, "qdisc show dev one1").contains("clsact"));
}

#[test]
fn a_guard_runs_before_a_filter() {
    if !privileged() {
        return;
    }
    let host = Host::with_filters();
    let mut filter = Filter::at("one*");
    // The guard is there first, then it comes later.
    filter.programs = vec![guard("drop_all", "one1")];
    host.apply(&filter);
    filter.programs.extend(Filter::at("one*").programs);
    host.apply(&filter);
    host.send(2);
    assert_eq!(host.seen(), [0, 2]);
    filter.programs.remove(0);
    host.apply(&filter);
    host.send(2);
    assert_eq!(host.seen(), [2, 4]);
    filter.programs.push(guard("drop_all", "one1"));
    host.apply(&filter);
    host.send(2);
    assert_eq!(host.seen(), [2, 6]);
}

/// Adds a filter of somebody else, which accepts every packet.
fn add_foreign(host: &Host, interface: &str, place: &str) {
    if !tc(host, &format!("qdisc show dev {interface}")).contains("clsact") {
        tc(host, &format!("qdisc add dev {interface} clsact"));
    }
    let line = format!("filter add dev {interface} {place} bpf bytecode");
    let mut arguments: Vec<_> = line.split(' ').collect();
    arguments.push("1,6 0 0 0");
    host.namespace.output("tc", &arguments).unwrap();
}

#[test]
fn filters_of_others_stay_as_they_are() {
    if !privileged() {
        return;
    }
    let host = Host::with_filters();
    let filter = Filter::at("one*");
    add_foreign(&host, "one1", "ingress prio 7 protocol ip");
    add_foreign(&host, "one1", "egress prio 3 protocol all");
    let theirs = filters(&host);
    let applied = host.apply(&filter);
    let place = "one1 (egress)".to_owned();
    assert_eq!(applied.warnings, [Warning::Behind { place }]);
    host.send(1);
    assert_eq!(host.seen(), [1, 1]);
    assert_eq!(filters(&host).len(), theirs.len() + 4);
    remove(Some(host.namespace.name()), Some(host.state.path())).unwrap();
    assert_eq!(filters(&host), theirs);
}

#[test]
fn the_place_of_a_filter_of_others_is_not_taken() {
    if !privileged() {
        return;
    }
    let host = Host::with_filters();
    let filter = Filter::at("one*");
    for place in [
        "egress prio 3 handle 0x706f6c63 protocol all",
        "egress prio 3 protocol ip",
    ] {
        add_foreign(&host, "one0", place);
        let theirs = filters(&host);
        assert_eq!(theirs.len(), 1, "{theirs:?}");
        let refused = host.try_apply(&filter).unwrap_err();
        let ApplyError::Ebpf(error) = &refused else {
            panic!("{refused:?}")
        };
        assert_eq!(
            error.to_string(),
            "cannot attach to `one0` (egress): another filter with the priority 3 is there"
        );
        assert!(error.help().is_some());
        assert_eq!(filters(&host), theirs);
        assert!(!host.pins().exists());
        tc(&host, "filter del dev one0 egress");
    }
}

#[test]
fn another_qdisc_is_not_taken_for_clsact() {
    if !privileged() {
        return;
    }
    let host = Host::with_filters();
    tc(&host, "qdisc add dev one0 ingress");
    let refused = host.try_apply(&Filter::at("one*"));
    let Err(ApplyError::Undone { cause, undo }) = refused else {
        panic!("{refused:?}")
    };
    assert!(
        matches!(&*cause, ApplyError::Ebpf(EbpfError::ForeignQdisc { interface }) if interface == "one0"),
        "{cause:?}"
    );
    assert!(matches!(undo, Undo::Restored { .. }), "{undo:?}");
    assert!(filters(&host).is_empty());
    assert!(host.pinned("links").is_empty());
}

/// The last hook cannot have its program: the others are as they were.
#[test]
fn a_failure_is_undone_where_programs_are_filters() {
    if !privileged() {
        return;
    }
    let host = Host::with_filters();
    let mut filter = Filter::at("one0");
    host.apply(&filter);
    host.send(2);
    let foreign = tempfile::NamedTempFile::new().unwrap();
    let bundle = filter.bundle();
    std::fs::write(foreign.path(), bundle.bytes("policy.o").unwrap()).unwrap();
    let path = foreign.path().display();
    let line = format!("link set dev one1 xdp obj {path} sec xdp");
    ip(&host.namespace, &line);

    let (before, status) = (filters(&host), host.state.status(&host.namespace));
    filter.programs = Filter::at("one*").programs;
    filter
        .programs
        .push(program("guard", ProgramHook::Xdp, "one1"));
    let refused = host.try_apply(&filter);
    let Err(ApplyError::Undone { cause, undo }) = refused else {
        panic!("{refused:?}")
    };
    assert!(cause.to_string().contains("`one1` (xdp)"), "{cause}");
    assert!(matches!(undo, Undo::Restored { .. }), "{undo:?}");
    assert_eq!(filters(&host), before);
    assert_eq!(host.state.status(&host.namespace), status);
    assert_eq!(host.pinned("links").len(), 2);
    host.send(1);
    assert_eq!(host.seen(), [0, 3]);
}

#[test]
fn filters_that_are_lost_come_back() {
    if !privileged() {
        return;
    }
    let host = Host::with_filters();
    let filter = Filter::at("one*");
    host.apply(&filter);
    tc(&host, "qdisc del dev one1 clsact");
    assert!(!host.in_step());
    let attached = host.apply(&filter).changes.attached;
    assert_eq!(attached.len(), 2, "{attached:?}");
    assert!(host.in_step());
    assert_eq!(filters(&host).len(), 4);

    // Filters without pins, as nobody leaves them.
    std::fs::remove_dir_all(host.pins().join("links")).unwrap();
    assert!(!host.in_step());
    host.apply(&filter);
    assert!(host.in_step());
    assert_eq!(filters(&host).len(), 4);

    ip(&host.namespace, "link delete one1");
    assert!(!host.in_step());
    host.apply(&filter);
    assert!(host.in_step());
    assert!(host.pinned("links").is_empty());
}
