//! Applying, applying again, and what stays.

use std::time::Duration;

use polc_bundle::{Family, LocalRoute, Object, ObjectKind, RoutingPlan, RoutingRule, Sysctl};
use polc_runtime_loader::lab::{Client, EchoServer, Namespace, Outcome, Topology};
use polc_runtime_loader::{Applied, ApplyError, Warning, apply};

use crate::support::{Policy, State, kernel, nft, privileged, sample, sample_dropping};

const GAP: Duration = Duration::from_millis(1);

/// Rules and routes of both families for mark 1 and this table.
pub(crate) fn routing(table: u32) -> RoutingPlan {
    let families = [Family::V4, Family::V6];
    let rule = |family| RoutingRule {
        family,
        priority: 100,
        iif: Some("lan0".to_owned()),
        mark: 0x1,
        mask: 0xff,
        table,
    };
    RoutingPlan {
        rules: families.map(rule).to_vec(),
        local_routes: families.map(|family| LocalRoute { family, table }).to_vec(),
    }
}

#[test]
fn a_policy_is_in_force_and_applying_it_again_changes_nothing() {
    if !privileged() {
        return;
    }
    let (topology, state) = (Topology::new().unwrap(), State::new());
    let _echo = EchoServer::start(&topology.server().namespace, "web", 80).unwrap();
    let client = Client::new(&topology.client().namespace);
    let server = topology.server().v4;
    let bundle = sample_dropping(80).bundle();
    let mut steps = Vec::new();
    let options = state.options(&topology.router);
    let applied = apply(&bundle, &options, &mut |step| steps.push(step.to_owned())).unwrap();
    assert_eq!(applied.previous, None);
    assert_eq!(applied.warnings, []);
    assert!(steps.contains(&"loading the ruleset".to_owned()));
    assert_eq!(client.tcp(server, 80), Outcome::TimedOut);
    let again = state.apply(&topology.router, &bundle).unwrap();
    let generation = bundle.manifest().generation.clone();
    let expected = Applied {
        previous: Some(generation),
        ..applied
    };
    assert_eq!(again, expected);
    assert!(state.status(&topology.router).in_step);
}

#[test]
fn stale_objects_go_in_the_same_transaction() {
    if !privileged() {
        return;
    }
    let (namespace, state) = (Namespace::new().unwrap(), State::new());
    let old = Policy::new(
        "counter c_old {\n}\n\
         limit l_old {\nrate 10/second\n}\n\
         set s_old {\ntype ipv4_addr\nflags interval\nelements = { 192.0.2.0/24 }\n}\n\
         chain leaf_old {\nip saddr @s_old limit name \"l_old\" counter name \"c_old\" drop\n}\n\
         map m_old {\ntype inet_service : verdict\nelements = { 80 : jump leaf_old }\n}\n\
         chain old {\ntype filter hook forward priority 0; policy accept;\n\
         tcp dport vmap @m_old\n}\n",
        &[
            (ObjectKind::Counter, "c_old"),
            (ObjectKind::Limit, "l_old"),
            (ObjectKind::Set, "s_old"),
            (ObjectKind::Map, "m_old"),
            (ObjectKind::Chain, "leaf_old"),
            (ObjectKind::Chain, "old"),
        ],
    );
    let removed: Vec<Object> = old.objects.clone();
    state.apply(&namespace, &old.bundle()).unwrap();
    let applied = state.apply(&namespace, &sample().bundle()).unwrap();
    assert_eq!(applied.changes.objects_removed.len(), removed.len() - 1);
    let listed = nft(&namespace, "list table inet polc");
    assert!(!listed.contains("_old"), "{listed}");
    assert!(!listed.contains("chain old"), "{listed}");
    assert!(listed.contains("counter passed"));
}

#[test]
fn unchanged_sets_and_counters_keep_their_state() {
    if !privileged() {
        return;
    }
    let (topology, state) = (Topology::new().unwrap(), State::new());
    let _echo = EchoServer::start(&topology.server().namespace, "web", 80).unwrap();
    let policy = |extra: &str| {
        Policy::new(
            &format!(
                "counter seen {{\n}}\n\
                 set buckets {{\ntype ipv4_addr\nsize 1000\nflags dynamic,timeout\ntimeout 1m\n}}\n\
                 set fixed {{\ntype ipv4_addr\nflags interval\nelements = {{ 10.0.0.0/8 }}\n}}\n\
                 chain forward {{\ntype filter hook forward priority 0; policy accept;\n{extra}\
                 iifname lan0 ip saddr @fixed counter name \"seen\" \
                 update @buckets {{ ip saddr limit rate 1/hour burst 5 packets }} accept\n\
                 iifname lan0 drop\n}}\n"
            ),
            &[
                (ObjectKind::Counter, "seen"),
                (ObjectKind::Set, "buckets"),
                (ObjectKind::Set, "fixed"),
                (ObjectKind::Chain, "forward"),
            ],
        )
        .rule("limit", "seen")
        .bundle()
    };
    let client = Client::new(&topology.client().namespace);
    let server = topology.server().v4;
    state.apply(&topology.router, &policy("")).unwrap();
    assert_eq!(client.udp_burst(server, 80, 20, GAP).passed, 5);
    let changed = policy("tcp dport 9 drop\n");
    state.apply(&topology.router, &changed).unwrap();
    // The bucket is as empty as before.
    assert_eq!(client.udp_burst(server, 80, 20, GAP).passed, 0);
    let counter = state.status(&topology.router).rules[0].counter.unwrap();
    assert_eq!(counter.packets, 40);
}

#[test]
fn routing_follows_the_plan() {
    if !privileged() {
        return;
    }
    let (namespace, state) = (Namespace::new().unwrap(), State::new());
    let with = |table| {
        let mut policy = sample();
        policy.routing = routing(table);
        policy.bundle()
    };
    let first = state.apply(&namespace, &with(100)).unwrap();
    assert_eq!(
        first.changes.routing_added,
        [
            "ip route local default dev lo table 100",
            "ip -6 route local default dev lo table 100",
            "ip rule pref 100 iif lan0 fwmark 0x1/0xff lookup 100",
            "ip -6 rule pref 100 iif lan0 fwmark 0x1/0xff lookup 100",
        ]
    );
    let shown = namespace.output("ip", &["rule"]).unwrap();
    assert!(shown.contains("fwmark 0x1/0xff iif lan0"), "{shown}");
    assert!(shown.contains("lookup 100 proto 112"), "{shown}");
    // A table number that does not fit into the header's eight bits.
    let second = state.apply(&namespace, &with(70_000)).unwrap();
    assert_eq!(second.changes.routing_added.len(), 4);
    assert_eq!(second.changes.routing_removed, {
        let [a, b, c, d] = first.changes.routing_added.try_into().unwrap();
        [c, d, a, b]
    });
    for family in ["-4", "-6"] {
        let show = |what: &[&str]| {
            let arguments: Vec<_> = [family].iter().chain(what).copied().collect();
            namespace.output("ip", &arguments).unwrap()
        };
        let routes = show(&["route", "show", "table", "all", "proto", "112"]);
        assert_eq!(routes.lines().count(), 1, "{routes}");
        assert!(
            routes.starts_with("local default dev lo table 70000"),
            "{routes}"
        );
        let rules = show(&["rule"]);
        assert_eq!(rules.matches("proto 112").count(), 1, "{rules}");
    }
    assert!(state.status(&namespace).in_step);
}

#[test]
fn a_lost_route_is_put_back() {
    if !privileged() {
        return;
    }
    let (namespace, state) = (Namespace::new().unwrap(), State::new());
    let mut policy = sample();
    policy.routing = routing(100);
    let bundle = policy.bundle();
    state.apply(&namespace, &bundle).unwrap();
    // Takes the IPv6 route away for good.
    namespace.set_link_up("lo", false).unwrap();
    let error = state.apply(&namespace, &bundle).unwrap_err();
    assert!(matches!(error, ApplyError::LoopbackDown), "{error}");
    assert_eq!(error.help().unwrap(), "run `ip link set lo up`");
    namespace.set_link_up("lo", true).unwrap();
    assert!(!state.status(&namespace).in_step);
    let applied = state.apply(&namespace, &bundle).unwrap();
    let lost = "ip -6 route local default dev lo table 100";
    assert!(applied.changes.routing_added.contains(&lost.to_owned()));
    assert!(state.status(&namespace).in_step);
}

#[test]
fn kernel_settings_are_checked_inside_the_namespace() {
    if !privileged() {
        return;
    }
    let (namespace, state) = (Namespace::new().unwrap(), State::new());
    let key = "net/ipv4/conf/all/src_valid_mark";
    let bundle = |required| {
        let mut policy = sample();
        policy.sysctls = vec![Sysctl {
            key: key.to_owned(),
            values: vec!["0".to_owned()],
            reason: "transparent IPv4 traffic would be dropped".to_owned(),
            required,
        }];
        policy.bundle()
    };
    assert_eq!(state.apply(&namespace, &bundle(true)).unwrap().warnings, []);
    namespace.sysctl(key, "1").unwrap();
    let error = state.apply(&namespace, &bundle(true)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "kernel settings stand in the way:\n  \
         `net/ipv4/conf/all/src_valid_mark` is `1` and must be `0`: \
         transparent IPv4 traffic would be dropped"
    );
    assert_eq!(error.help().unwrap(), format!("run `sysctl -w {key}=0`"));
    let applied = state.apply(&namespace, &bundle(false)).unwrap();
    assert!(
        matches!(&applied.warnings[..], [Warning::Sysctl(problem)] if problem.key == key),
        "{:?}",
        applied.warnings
    );
}

#[test]
fn a_dry_run_tells_everything_and_changes_nothing() {
    if !privileged() {
        return;
    }
    let (namespace, state) = (Namespace::new().unwrap(), State::new());
    let dry = polc_runtime_loader::ApplyOptions {
        dry_run: true,
        ..state.options(&namespace)
    };
    let mut policy = sample_dropping(82);
    policy.routing = routing(100);
    let new = policy.bundle();
    let everything = || (kernel(&namespace), state.status(&namespace));
    let empty = everything();
    let planned = apply(&new, &dry, &mut |_| {}).unwrap();
    assert!(planned.dry_run);
    assert_eq!(everything(), empty);
    assert_eq!(std::fs::read_dir(state.path()).unwrap().count(), 0);

    state.apply(&namespace, &sample().bundle()).unwrap();
    let before = everything();
    let planned = apply(&new, &dry, &mut |_| {}).unwrap();
    assert_eq!(everything(), before);
    let done = state.apply(&namespace, &new).unwrap();
    assert_eq!(planned.changes, done.changes);
    assert_eq!(planned.changes.routing_added.len(), 4);
    assert_eq!(planned.changes.objects_removed.len(), 1);

    let broken = Policy::new("chain broken {\nnonsense\n}\n", &[]).bundle();
    let error = apply(&broken, &dry, &mut |_| {}).unwrap_err();
    assert!(matches!(error, ApplyError::Nft(_)), "{error}");
}

#[test]
fn without_a_name_the_callers_namespace_is_meant() {
    if !privileged() {
        return;
    }
    let (namespace, state) = (Namespace::new().unwrap(), State::new());
    let options = polc_runtime_loader::ApplyOptions {
        netns: None,
        ..state.options(&namespace)
    };
    let bundle = sample().bundle();
    let applied = namespace.run(|| apply(&bundle, &options, &mut |_| {}));
    applied.unwrap().unwrap();
    assert!(nft(&namespace, "list tables").contains("inet polc"));
    let status = namespace.run(|| polc_runtime_loader::status(None, Some(state.path())));
    assert!(status.unwrap().unwrap().in_step);
    // By its name, it is another entry of the state directory.
    assert_eq!(state.status(&namespace).committed, None);
}

#[test]
fn two_applies_do_not_meet() {
    if !privileged() {
        return;
    }
    let (namespace, state) = (Namespace::new().unwrap(), State::new());
    let bundle = sample().bundle();
    let mut second = None;
    let mut meanwhile = |_: &str| {
        second.get_or_insert_with(|| state.apply(&namespace, &bundle));
    };
    apply(&bundle, &state.options(&namespace), &mut meanwhile).unwrap();
    let error = second.unwrap().unwrap_err();
    assert!(error.to_string().contains("another polc"), "{error}");
    assert_eq!(error.help().unwrap(), "try again when it is done");
}

#[test]
fn a_missing_namespace_is_named() {
    let state = State::new();
    let options = polc_runtime_loader::ApplyOptions {
        netns: Some("polc-nowhere".to_owned()),
        state_dir: Some(state.path().to_owned()),
        ..polc_runtime_loader::ApplyOptions::default()
    };
    let error = apply(&sample().bundle(), &options, &mut |_| {}).unwrap_err();
    assert!(error.to_string().contains("`polc-nowhere`"), "{error}");
}
