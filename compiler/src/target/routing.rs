//! What routing must look like for marked packets to get where the policy sends them. The same for
//! every target.

use std::collections::{BTreeMap, BTreeSet};

use polc_bundle::{Family, LocalRoute, RoutingPlan, RoutingRule, Sysctl};

use crate::field::{GID, UID};
use crate::ir::{Atom, Cube, Ir, Mark, NatTarget, Proxy, Rule, Verdict};
use crate::packet::{IfaceSet, Pattern};

/// The priority of the first rule; the others follow.
const FIRST: u32 = 100;

/// The rules and routes that the policy's proxies and `route` rules need.
///
/// A proxy's rule names no interface: beside the packets it takes, answers to connections that it
/// opens in a client's name must reach it, and those come in by any interface.
pub(crate) fn plan(ir: &Ir) -> RoutingPlan {
    let mut plan = RoutingPlan::default();
    let mut priority = FIRST;
    for proxy in &ir.proxies {
        for family in families(proxy) {
            plan.rules
                .push(rule(family, priority, proxy.mark, proxy.table));
            let route = LocalRoute {
                family,
                table: proxy.table,
            };
            if !plan.local_routes.contains(&route) {
                plan.local_routes.push(route);
            }
        }
        priority += 1;
    }
    for ((mark, table), families) in routed(ir) {
        for family in families {
            plan.rules.push(rule(family, priority, mark, table));
        }
        priority += 1;
    }
    plan
}

fn rule(family: Family, priority: u32, mark: Mark, table: u32) -> RoutingRule {
    RoutingRule {
        family,
        priority,
        iif: None,
        mark: mark.value & mark.mask,
        mask: mark.mask,
        table,
    }
}

fn families(proxy: &Proxy) -> Vec<Family> {
    let v4 = proxy.v4.map(|_| Family::V4);
    let v6 = proxy.v6.map(|_| Family::V6);
    v4.into_iter().chain(v6).collect()
}

/// The marks that choose a routing table, and the families of their packets.
fn routed(ir: &Ir) -> BTreeMap<(Mark, u32), BTreeSet<Family>> {
    let mut out: BTreeMap<(Mark, u32), BTreeSet<Family>> = BTreeMap::new();
    for rule in &ir.steer {
        if let (Some(Verdict::Route { table }), Some(mark)) = (&rule.verdict, rule.effects.mark) {
            let families = out.entry((mark, *table)).or_default();
            families.extend(
                rule.cubes
                    .iter()
                    .any(|c| c.families.v4)
                    .then_some(Family::V4),
            );
            families.extend(
                rule.cubes
                    .iter()
                    .any(|c| c.families.v6)
                    .then_some(Family::V6),
            );
        }
    }
    out
}

/// The names of a set of interfaces; `None` when it cannot be listed.
fn exact_names(set: &IfaceSet) -> Option<Vec<String>> {
    let name = |pattern: &Pattern| match pattern {
        Pattern::Name(name) => Some(name.clone()),
        Pattern::Prefix(_) => None,
    };
    set.include()?.iter().map(name).collect()
}

/// Whether the cube asks which process sent the packet, which this host must have done then.
fn of_process(cube: &Cube) -> bool {
    let atom = |(atom, answer): (&Atom, &bool)| *answer && matches!(atom, Atom::Principal(..));
    cube.field(UID).or(cube.field(GID)).is_some() || cube.atoms.iter().any(atom)
}

/// The kernel settings without which the policy does not do what it says.
pub(crate) fn sysctls(ir: &Ir) -> Vec<Sysctl> {
    let mut out = Vec::new();
    if ir.proxies.iter().any(|p| p.v4.is_some()) {
        out.push(Sysctl {
            key: "net/ipv4/conf/all/src_valid_mark".to_owned(),
            values: vec!["0".to_owned()],
            reason: "the check of source addresses would look into the proxy's routing table, and \
                     every IPv4 packet for the proxy would be dropped"
                .to_owned(),
            required: true,
        });
    }
    out.extend(loopback_targets(ir));
    if forwards(ir) {
        for (_, key) in FORWARDING {
            let reason = "the policy speaks of forwarded traffic";
            out.push(on(key, reason, false));
        }
    }
    out
}

/// The settings without which programs do not do what the policy says: [`sysctls`], and two more things.
/// Programs send what they capture of this host's own packets to `lo`, which must take it. And they ask
/// the kernel's routing whether a packet goes on to another host: while it forwards nothing, they would
/// judge what a rule sends there as if it were for this host.
pub(crate) fn sysctls_of_programs(ir: &Ir) -> Vec<Sysctl> {
    let mut out = sysctls(ir);
    let sent_on = sent_on(ir);
    let family_of = |key: &str| FORWARDING.iter().find(|(_, other)| *other == key);
    for sysctl in &mut out {
        sysctl.required |= family_of(&sysctl.key).is_some_and(|(f, _)| sent_on.contains(f));
    }
    if ir.steer.iter().any(captures_own_v4) {
        for (name, what) in [
            ("accept_local", "come from an address of this host"),
            ("route_localnet", "go to a loopback address"),
        ] {
            let key = format!("net/ipv4/conf/lo/{name}");
            let reason = format!(
                "packets of this host that a rule captures would be dropped where they {what}"
            );
            if out.iter().all(|sysctl| sysctl.key != key) {
                out.push(on(&key, &reason, true));
            }
        }
    }
    out
}

/// The setting by which each family's packets are forwarded.
const FORWARDING: [(Family, &str); 2] = [
    (Family::V4, "net/ipv4/ip_forward"),
    (Family::V6, "net/ipv6/conf/all/forwarding"),
];

/// A setting that must be 1.
fn on(key: &str, reason: &str, required: bool) -> Sysctl {
    Sysctl {
        key: key.to_owned(),
        values: vec!["1".to_owned()],
        reason: reason.to_owned(),
        required,
    }
}

/// Forwarded traffic is sent to a loopback address only where the kernel is told to route it.
fn loopback_targets(ir: &Ir) -> Vec<Sysctl> {
    let mut names = BTreeSet::new();
    let rules = ir.steer.iter().filter(|r| targets_loopback(r));
    for cube in rules.flat_map(|r| &r.cubes).filter(|c| !of_process(c)) {
        match exact_names(&cube.ingress.ifaces) {
            Some(list) => names.extend(list),
            None => {
                names.insert("all".to_owned());
            }
        }
    }
    if names.contains("all") {
        names.retain(|n| n == "all");
    }
    names
        .into_iter()
        .map(|name| {
            let key = format!("net/ipv4/conf/{name}/route_localnet");
            let reason = "packets from outside for a loopback address are dropped otherwise";
            on(&key, reason, true)
        })
        .collect()
}

fn targets_loopback(rule: &Rule) -> bool {
    let here = |t: &NatTarget| !is_elsewhere(t);
    matches!(&rule.verdict, Some(Verdict::Dnat(nat)) if nat.v4.iter().any(here))
}

/// Whether the policy decides, rewrites or routes forwarded traffic.
fn forwards(ir: &Ir) -> bool {
    let mut rules = ir.steer.iter().chain(&ir.egress);
    ir.governs.forward || rules.any(|r| sends_on(r) && r.cubes.iter().any(passes))
}

/// Whether packets that meet a rule may have come by an interface.
fn passes(cube: &Cube) -> bool {
    !cube.ingress.ifaces.is_empty() && !of_process(cube)
}

/// Whether a rule is about packets that leave this host.
fn sends_on(rule: &Rule) -> bool {
    matches!(
        rule.verdict,
        Some(Verdict::Dnat(_) | Verdict::Route { .. } | Verdict::Snat(_) | Verdict::Masquerade)
    )
}

/// The families of packets whose way programs ask the kernel for: arriving ones that rules send on to other
/// hosts, or that a proxy takes because they would go on, and this host's own that go another way.
fn sent_on(ir: &Ir) -> BTreeSet<Family> {
    let mut out = BTreeSet::new();
    let asks = |rule: &&Rule| sends_on(rule) || matches!(rule.verdict, Some(Verdict::Proxy(_)));
    for rule in ir.steer.iter().chain(&ir.egress).filter(asks) {
        let reached = match &rule.verdict {
            Some(Verdict::Dnat(nat)) => [&nat.v4, &nat.v6].map(|t| t.iter().any(is_elsewhere)),
            Some(Verdict::Proxy(proxy)) => ir
                .proxies
                .get(*proxy)
                .map_or([false; 2], |proxy| [proxy.v4.is_some(), proxy.v6.is_some()]),
            _ => [true, true],
        };
        let goes_elsewhere = matches!(rule.verdict, Some(Verdict::Dnat(_) | Verdict::Route { .. }));
        let asked = |cube: &&Cube| passes(cube) || goes_elsewhere && cube.ingress.host;
        for cube in rule.cubes.iter().filter(asked) {
            let of_v4 = reached[0] && cube.families.v4;
            let of_v6 = reached[1] && cube.families.v6;
            out.extend(of_v4.then_some(Family::V4));
            out.extend(of_v6.then_some(Family::V6));
        }
    }
    out
}

/// Whether a target is not certainly this host.
fn is_elsewhere(target: &NatTarget) -> bool {
    !matches!(target, NatTarget::Addr(addr, _) if addr.is_loopback())
}

/// Whether a rule takes IPv4 packets of this host to another place than they were sent to.
fn captures_own_v4(rule: &Rule) -> bool {
    let moves = matches!(
        rule.verdict,
        Some(Verdict::Redirect { .. } | Verdict::Dnat(_) | Verdict::Proxy(_))
    );
    let own = |c: &Cube| c.families.v4 && (c.ingress.host || of_process(c));
    moves && rule.cubes.iter().any(own)
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::{Files, Options, compile};

    struct NoFiles;

    impl Files for NoFiles {
        fn read(&self, _: &str) -> io::Result<String> {
            Err(io::ErrorKind::NotFound.into())
        }
    }

    /// The settings that a policy with these blocks needs as programs: `!` before those that it
    /// cannot do without.
    fn needed(blocks: &str) -> Vec<String> {
        let text = format!("policy p\nzone lan = lan0\nzone wan = wan0\n{blocks}\n");
        let compilation = compile("p.pol", &text, &NoFiles, &Options::default());
        let ir = compilation.ir;
        let ir = ir.unwrap_or_else(|| panic!("{blocks}: {:?}", compilation.diagnostics));
        let (plain, all) = (sysctls(&ir), sysctls_of_programs(&ir));
        let keys = |list: &[Sysctl]| list.iter().map(|s| s.key.clone()).collect::<Vec<_>>();
        assert_eq!(keys(&plain), keys(&all)[..plain.len()], "{blocks}");
        let required = |s: &&Sysctl| s.required;
        let plain = plain.iter().filter(required);
        assert!(plain.clone().all(|s| all.contains(s)), "{blocks}");
        let word = |s: &Sysctl| if s.required { "!" } else { "" };
        all.iter()
            .map(|s| format!("{}{}", word(s), s.key))
            .collect()
    }

    #[test]
    fn programs_need_forwarding_where_rules_send_packets_on() {
        let forwarding = ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"];
        assert_eq!(needed("to host { default allow }"), [""; 0]);
        assert_eq!(
            needed("from lan { default allow }\ndefault deny"),
            forwarding
        );
        let (v4, v6) = (
            ["!net/ipv4/ip_forward", forwarding[1]],
            [forwarding[0], "!net/ipv6/conf/all/forwarding"],
        );
        let to_one = "steer { dnat tcp/80 from wan to 192.0.2.80 => 10.1.0.80 }";
        assert_eq!(needed(to_one), v4);
        assert_eq!(needed("egress { masquerade from lan to wan only v4 }"), v4);
        assert_eq!(needed("egress { masquerade from lan to wan only v6 }"), v6);
        let local = "steer { dnat tcp/80 from wan to 192.0.2.80 => 127.0.0.1 }";
        let here = [
            "!net/ipv4/conf/wan0/route_localnet",
            forwarding[0],
            forwarding[1],
        ];
        assert_eq!(needed(local), here);
    }

    #[test]
    fn programs_send_what_they_capture_of_this_host_to_lo() {
        let taken = [
            "!net/ipv4/conf/lo/accept_local",
            "!net/ipv4/conf/lo/route_localnet",
        ];
        assert_eq!(
            needed("steer { redirect tcp/80 from host => :8080 }"),
            taken
        );
        assert_eq!(
            needed("steer { redirect tcp/80 from host only v6 => :8080 }"),
            [""; 0]
        );
        assert_eq!(
            needed("steer { redirect tcp/80 from lan => :8080 }"),
            [""; 0]
        );
    }
}
