//! What stands around the programs of a bundle: policy routing, kernel settings, addresses.

use std::collections::BTreeMap;

use polc_bundle::{ProgramHook, Sysctl};
use polc_runtime_loader::{ApplyError, ApplyOptions, Undo, Warning, apply, remove};

use crate::apply::routing;
use crate::host::Host;
use crate::object::{Filter, program};
use crate::support::{ip, kernel, privileged};

/// The sample of programs with routing by a table.
fn routed(table: u32) -> Filter {
    let mut filter = Filter::at("one*");
    filter.routing = routing(table);
    filter
}

#[test]
fn routing_comes_and_goes_with_the_programs() {
    if !privileged() {
        return;
    }
    let host = Host::with_ipv6_loopback();
    let before = kernel(&host.namespace);
    let dry = ApplyOptions {
        dry_run: true,
        ..host.state.options(&host.namespace)
    };
    let would = apply(&routed(100).bundle(), &dry, &mut |_| {}).unwrap();
    assert_eq!(kernel(&host.namespace), before);

    let mut steps = Vec::new();
    let options = host.state.options(&host.namespace);
    let mut progress = |step: &str| steps.push(step.to_owned());
    let applied = apply(&routed(100).bundle(), &options, &mut progress).unwrap();
    assert_eq!(applied.changes, would.changes);
    let added = [
        "ip route local default dev lo table 100",
        "ip -6 route local default dev lo table 100",
        "ip rule pref 100 iif lan0 fwmark 0x1/0xff lookup 100",
        "ip -6 rule pref 100 iif lan0 fwmark 0x1/0xff lookup 100",
    ];
    assert_eq!(applied.changes.routing_added, added);
    let when = |word: &str| {
        steps
            .iter()
            .position(|step| step.starts_with(word))
            .unwrap()
    };
    assert!(when("adding") < when("attaching"), "{steps:?}");
    let rules = ip(&host.namespace, "rule");
    assert!(rules.contains("lookup 100 proto 112"), "{rules}");
    let status = host.state.status(&host.namespace);
    assert!(status.in_step && status.routing_left_over.is_empty());
    assert!(status.routing.iter().all(|entry| entry.present));
    assert_eq!(status.routing.len(), 4);

    // Somebody takes a rule away.
    ip(&host.namespace, "rule del pref 100");
    let status = host.state.status(&host.namespace);
    let lost: Vec<_> = status.routing.iter().filter(|r| !r.present).collect();
    assert_eq!((status.in_step, lost.len()), (false, 1));
    let changes = host.apply(&routed(100)).changes;
    assert_eq!(changes.routing_added, [lost[0].what.as_str()]);
    assert!(changes.attached.is_empty());
    assert!(host.in_step());

    // Another plan, with the same programs.
    let mut steps = Vec::new();
    let mut progress = |step: &str| steps.push(step.to_owned());
    let changes = apply(&routed(200).bundle(), &options, &mut progress).unwrap();
    let changes = changes.changes;
    assert_eq!(changes.routing_added.len(), 4);
    let [a, b, c, d] = added;
    assert_eq!(changes.routing_removed, [c, d, a, b]);
    let when = |word: &str| {
        steps
            .iter()
            .position(|step| step.starts_with(word))
            .unwrap()
    };
    assert!(when("reading back") < when("removing"), "{steps:?}");
    assert!(host.in_step());

    let removed = remove(Some(host.namespace.name()), Some(host.state.path())).unwrap();
    assert_eq!((removed.routing.len(), removed.programs.len()), (4, 4));
    assert_eq!(kernel(&host.namespace), before);
}

/// The last hook cannot have its program, after the rules and routes were added.
#[test]
fn routing_is_undone_with_the_programs() {
    if !privileged() {
        return;
    }
    let host = Host::with_ipv6_loopback();
    host.apply(&routed(100));
    let mut filter = routed(200);
    let object = tempfile::NamedTempFile::new().unwrap();
    let bundle = filter.bundle();
    std::fs::write(object.path(), bundle.bytes("policy.o").unwrap()).unwrap();
    let path = object.path().display();
    ip(
        &host.namespace,
        &format!("link set dev one1 xdp obj {path} sec xdp"),
    );
    let (before, status) = (kernel(&host.namespace), host.state.status(&host.namespace));
    filter
        .programs
        .push(program("guard", ProgramHook::Xdp, "one1"));
    let refused = host.try_apply(&filter);
    let Err(ApplyError::Undone { cause, undo }) = refused else {
        panic!("{refused:?}")
    };
    assert!(cause.to_string().contains("`one1` (xdp)"), "{cause}");
    assert!(matches!(undo, Undo::Restored { .. }), "{undo:?}");
    assert_eq!(kernel(&host.namespace), before);
    assert_eq!(host.state.status(&host.namespace), status);
}

#[test]
fn what_stands_in_the_way_of_routing_is_found_before_the_first_change() {
    if !privileged() {
        return;
    }
    let host = Host::with_ipv6_loopback();
    ip(&host.namespace, "rule add pref 50 fwmark 0x1/0x1 lookup 7");
    let refused = host.try_apply(&routed(100)).unwrap_err();
    assert!(matches!(refused, ApplyError::Collision(_)), "{refused}");
    ip(&host.namespace, "rule del pref 50");
    ip(&host.namespace, "link set lo down");
    let refused = host.try_apply(&routed(100)).unwrap_err();
    assert!(matches!(refused, ApplyError::LoopbackDown), "{refused}");
    assert!(!host.pins().exists());
}

#[test]
fn settings_that_programs_need_are_checked() {
    if !privileged() {
        return;
    }
    let host = Host::new();
    let needs = |required| {
        let mut filter = Filter::at("one*");
        let keys = [
            "net/ipv4/conf/lo/accept_local",
            "net/ipv4/conf/lo/route_localnet",
            "net/ipv4/ip_forward",
            "net/ipv6/conf/all/forwarding",
        ];
        let setting = |key: &str| Sysctl {
            key: key.to_owned(),
            values: vec!["1".to_owned()],
            reason: "it breaks".to_owned(),
            required,
        };
        filter.sysctls = keys.map(setting).to_vec();
        filter
    };
    for setting in &needs(true).sysctls {
        host.namespace.sysctl(&setting.key, "0").unwrap();
    }
    let refused = host.try_apply(&needs(true)).unwrap_err();
    let help = refused.help().unwrap();
    assert!(
        matches!(&refused, ApplyError::Sysctl(problems) if problems.len() == 4),
        "{refused}"
    );
    let command = "`sysctl -w net/ipv4/conf/lo/accept_local=1`";
    assert!(help.contains(command), "{help}");
    assert!(!host.pins().exists());
    let warnings = host.apply(&needs(false)).warnings;
    assert_eq!(warnings.len(), 4, "{warnings:?}");
    assert!(matches!(warnings[0], Warning::Sysctl(_)));
    for setting in &needs(true).sysctls {
        host.namespace.sysctl(&setting.key, "1").unwrap();
    }
    assert_eq!(host.apply(&needs(true)).warnings, []);
}

#[test]
fn programs_know_the_addresses_of_interfaces() {
    if !privileged() {
        return;
    }
    let host = Host::new();
    let filter = Filter::at("one*");
    for address in ["192.0.2.1/24", "192.0.2.2/24"] {
        ip(&host.namespace, &format!("address add {address} dev one0"));
    }
    ip(&host.namespace, "address add 10.0.0.1/32 dev lo");
    let generation = host.apply(&filter).generation;
    let [lo, one0] = ["lo", "one0"].map(|name| host.index(name));
    let own = (lo, [0x7f00_0001, 0, 0, 0]);
    let expected = BTreeMap::from([own, (one0, [0xc000_0201, 0, 0, 0])]);
    assert_eq!(host.addresses(&generation), expected);
    assert!(host.in_step());

    // A generation that is applied again learns what is new.
    ip(
        &host.namespace,
        "address add 198.51.100.7 peer 198.51.100.8 dev one1",
    );
    assert!(!host.in_step());
    assert_eq!(host.apply(&filter).generation, generation);
    let known = host.addresses(&generation);
    assert_eq!(known.get(&host.index("one1")).unwrap()[0], 0xc633_6407);
    assert!(host.in_step());
    ip(&host.namespace, "link delete one0");
    host.apply(&filter);
    assert_eq!(host.addresses(&generation), BTreeMap::from([own]));
}
