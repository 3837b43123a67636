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
        for key in ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"] {
            out.push(Sysctl {
                key: key.to_owned(),
                values: vec!["1".to_owned()],
                reason: "the policy speaks of forwarded traffic".to_owned(),
                required: false,
            });
        }
    }
    out
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
        .map(|name| Sysctl {
            key: format!("net/ipv4/conf/{name}/route_localnet"),
            values: vec!["1".to_owned()],
            reason: "packets from outside for a loopback address are dropped otherwise".to_owned(),
            required: true,
        })
        .collect()
}

fn targets_loopback(rule: &Rule) -> bool {
    let loopback = |t: &NatTarget| matches!(t, NatTarget::Addr(addr, _) if addr.is_loopback());
    matches!(&rule.verdict, Some(Verdict::Dnat(nat)) if nat.v4.iter().any(loopback))
}

/// Whether the policy decides, rewrites or routes forwarded traffic.
fn forwards(ir: &Ir) -> bool {
    let passes = |c: &Cube| !c.ingress.ifaces.is_empty() && !of_process(c);
    let sends_on = |r: &Rule| {
        let verdict = matches!(
            r.verdict,
            Some(Verdict::Dnat(_) | Verdict::Route { .. } | Verdict::Snat(_) | Verdict::Masquerade)
        );
        verdict && r.cubes.iter().any(passes)
    };
    ir.governs.forward || ir.steer.iter().chain(&ir.egress).any(sends_on)
}
