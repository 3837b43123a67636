//! Who sends: what an object has for rules that ask.

use polc_bundle::{ProgramHook, Unresolved};
use polc_compiler::target::Options;
use polc_compiler::target::ebpf::{self, Need, Programs};

use super::guard::compiled;
use super::kernel::{Loaded, possible};
use super::rates::from;

fn filter(body: &str) -> Programs {
    let made = compiled(&format!("policy senders\nzone wan = wan0\n{body}"));
    let ir = made.ir.unwrap();
    ebpf::filter(&ir, &made.sources, &Options::default()).unwrap()
}

/// The hooks of the programs for sockets.
fn hooks(programs: &Programs) -> Vec<ProgramHook> {
    programs
        .sockets
        .iter()
        .map(|program| program.hook)
        .collect()
}

#[test]
fn only_rules_about_groups_note_something_of_sockets() {
    for (by, hook) in [
        ("user alice", None),
        ("uid 7", None),
        ("cgroup \"a/b\"", None),
        ("group staff", Some(ProgramHook::SockCreate)),
        ("gid 7", Some(ProgramHook::SockCreate)),
    ] {
        let programs = filter(&format!(
            "from host {{ allow tcp/80 by {by} }}  default deny"
        ));
        assert_eq!(
            hooks(&programs),
            hook.into_iter().collect::<Vec<_>>(),
            "{by}"
        );
        let needs = programs.needs.iter().any(|need| need == Need::SocketGroups);
        assert_eq!(needs, hook.is_some(), "{by}");
        let kept = programs.state.iter().any(|map| map == "sk_groups");
        assert_eq!(kept, hook.is_some(), "{by}");
    }
}

#[test]
fn names_stand_in_the_order_of_their_places() {
    let programs = filter(
        "from host { allow tcp/80 by user alice, bob  allow tcp/81 by cgroup \"a/b\"  allow tcp/82 by user bob }
         default deny",
    );
    let entry = |kind: &str, name: &str| Unresolved {
        kind: kind.to_owned(),
        name: name.to_owned(),
    };
    let expected = [
        entry("user", "alice"),
        entry("user", "bob"),
        entry("cgroup", "a/b"),
    ];
    assert_eq!(programs.unresolved, expected);
}

#[test]
fn policies_that_redirect_answer_where_flows_were_meant_to_go() {
    let rules = "from host { allow tcp/80 }  default deny";
    assert!(hooks(&filter(rules)).is_empty());
    let redirecting = filter(&format!(
        "steer {{ redirect tcp/80 from wan => :8080 }}\n{rules}"
    ));
    assert_eq!(hooks(&redirecting), [ProgramHook::GetSockOpt]);
    assert!(
        redirecting
            .needs
            .iter()
            .any(|need| need == Need::SocketOptions)
    );
}

/// An object that another tool has loaded knows no numbers.
#[test]
fn a_name_that_nobody_has_looked_up_stops_packets() {
    if !possible() {
        return;
    }
    let programs = filter("from host { deny udp/80 by user alice  default allow }");
    let name = programs.programs.iter().rev().find_map(|p| p.name.clone());
    let name = name.unwrap();
    let mut loaded = Loaded::new(&programs, [&*name].into_iter());
    for source in ["192.0.2.1", "2001:db8::1"] {
        let frame = from(source, 80);
        let passes = |loaded: &Loaded| loaded.run_at(&name, &frame, 0).unwrap().0 == u32::MAX;
        assert!(!passes(&loaded), "{source}");
        loaded.set_principal(0, 4242);
        assert!(passes(&loaded), "{source}");
        loaded.forget_principal(0);
    }
}
