//! Steer: where flows go. Programs at the ingress of each interface are asked about what comes in, and programs
//! at the egress about what this host sends; they stand before those of the filter, which see packets as
//! steer has made them.
//!
//! Flows keep what was decided in the flow table. A flow that goes to another destination has an
//! *alias* besides: what its packets look like until then.

mod aliases;
mod decide;
pub(super) mod ends;
mod known;
mod program;
mod proxy;
mod reroute;

pub(super) use self::aliases::{Aliases, Replaces};
use self::program::Steer;
pub(super) use self::program::{ADDRESSES, address_of_interface};
pub(super) use self::reroute::home;
use super::act::Actions;
use super::filter::{Asked, LOOPBACK, Made, whole};
use super::hook::Hook;
use super::leave::comes_back;
use super::link::Each;
use super::list::{ListError, Maker};
use super::state::State;
use std::net::IpAddr;

use crate::field::{DPORT, TCP, UDP};
use crate::ir::{Cube, Ir, Proxy, Rule, Side, Stage, Verdict};
use crate::packet::{AddrSet, Families, IfaceSet, IntervalSet};

/// The programs for a class of interfaces.
pub(super) fn program(
    state: &mut State,
    asked: &Asked,
    aliases: &Aliases,
) -> Result<Made, ListError> {
    let (ir, iface) = (state.ir(), asked.iface);
    let mut maker = Maker {
        name: asked.name.to_owned(),
        own: asked.hook == Hook::Egress,
        classes: asked.classes,
        opened: false,
        counter: asked.counter,
        actions: Actions::default(),
        line: asked.line_of,
        state,
    };
    // What comes in by the loopback interface was asked about where it was sent.
    let asks = !ir.steer.is_empty() && (asked.hook == Hook::Egress || iface != LOOPBACK);
    let rules = rules(ir, asked.hook, iface);
    let lists = if asks && !rules.is_empty() {
        let mut list = |v6| maker.list(&rules, &[], v6);
        Some([list(false)?, list(true)?])
    } else {
        None
    };
    let steer = Steer {
        ir,
        name: asked.name,
        hook: asked.hook,
        line: asked.line.clone(),
        strict: iface != LOOPBACK && refuses_before_rules(ir, asked.hook),
        lists,
        actions: maker.actions,
        flows: asked.maps.flows(),
        aliases,
        targets: maker.state.target_mask(),
    };
    let programs = Each::try_make(|link| steer.program(link))?;
    let lists = steer.lists.into_iter().flatten();
    let data = lists.flat_map(super::list::List::into_data).collect();
    Ok(Made { programs, data })
}

/// Whether what opens a connection without a SYN is refused before any rule is asked. Sections that judge packets one
/// by one let some of it pass: then the filter refuses the rest. Where steer has no rules, the filter refuses it in the
/// directions that it judges.
fn refuses_before_rules(ir: &Ir, hook: Hook) -> bool {
    let mut blocks = ir.blocks.iter();
    let alone = blocks.any(|block| block.stateless && block.stage == Stage::Filter);
    let governs = hook == Hook::Ingress || ir.governs.output;
    ir.strict_tcp && !alone && !ir.steer.is_empty() && governs
}

/// The rules that can hold at a hook of an interface, with their places, and of each the cubes that can.
fn rules(ir: &Ir, hook: Hook, iface: &str) -> Vec<(usize, Rule)> {
    let own = hook == Hook::Egress;
    let here = |cube: &Cube| {
        let side = if own {
            cube.ingress.host && cube.egress.ifaces.contains(iface)
        } else {
            cube.ingress.ifaces.contains(iface)
        };
        side.then(|| Cube {
            ingress: Side::any(),
            egress: if own {
                Side::any()
            } else {
                cube.egress.clone()
            },
            ..cube.clone()
        })
    };
    let of = |(index, rule): (usize, &Rule)| {
        let cubes = rule.cubes.iter().filter_map(|cube| {
            let to_host = cube.egress.host && cube.egress.ifaces.is_empty();
            let cube = whole(here(cube)?)?;
            Some((cube, to_host))
        });
        let cubes: Vec<Cube> = match &rule.verdict {
            Some(Verdict::Proxy(proxy)) => {
                let taken = cubes.flat_map(|(cube, to_host)| {
                    capturable(ir, *proxy, cube, (own, to_host, iface))
                });
                taken.collect()
            }
            _ => cubes.map(|(cube, _)| cube).collect(),
        };
        let rule = Rule {
            cubes,
            ..rule.clone()
        };
        (!rule.cubes.is_empty()).then_some((index, rule))
    };
    let mut rules = guarded(ir, own, iface);
    rules.extend(ir.steer.iter().enumerate().filter_map(of));
    rules
}

/// Whether flows that turn out to be for this host itself have to pass the filter where they leave before they go
/// there.
pub(super) fn judged_before_home(ir: &Ir) -> bool {
    ir.governs.output && (comes_back(ir) || routes_own(ir))
}

/// Whether flows of this host take other ways than they were routed.
pub(super) fn routes_own(ir: &Ir) -> bool {
    let routes = |rule: &&Rule| matches!(rule.verdict, Some(Verdict::Route { .. }));
    let mut rules = ir.steer.iter().filter(routes);
    rules.any(|rule| rule.cubes.iter().any(|cube| cube.ingress.host))
}

/// What a proxy takes of a cube: nothing that is for this host or for several, unless the rule says so, and
/// nothing of the senders that it lets bypass.
fn capturable(
    ir: &Ir,
    proxy: usize,
    mut cube: Cube,
    (own, to_host, iface): (bool, bool, &str),
) -> Vec<Cube> {
    if !to_host {
        if own && iface == LOOPBACK {
            return Vec::new();
        }
        cube.daddr = cube.daddr.difference(&groups());
        if !own {
            cube.egress = Side::ifaces(IfaceSet::full());
        }
    }
    let mut left: Vec<Cube> = cube.normal().into_iter().collect();
    if own {
        let bypass = ir.proxies.get(proxy).map_or(&[][..], |p| &p.bypass);
        for sender in bypass {
            let sender = Cube {
                ingress: Side::any(),
                egress: Side::any(),
                ..sender.clone()
            };
            left = left.iter().flat_map(|c| c.difference(&sender)).collect();
        }
    }
    left
}

/// The addresses of several receivers.
fn groups() -> AddrSet {
    let multicast = [(0xe000_0000, 0xefff_ffff), (0xffff_ffff, 0xffff_ffff)];
    AddrSet {
        v4: multicast.into_iter().collect(),
        v6: [(0xff << 120, u128::MAX)].into_iter().collect(),
        label: None,
    }
}

/// Rules that deny what comes in for the sockets of proxies, which take only what steer gives them.
fn guarded(ir: &Ir, own: bool, iface: &str) -> Vec<(usize, Rule)> {
    let Some(first) = ir.steer.first().filter(|_| !own && iface != LOOPBACK) else {
        return Vec::new();
    };
    let cubes: Vec<Cube> = ir.proxies.iter().flat_map(sockets).collect();
    let rule = Rule {
        cubes,
        limits: Vec::new(),
        effects: crate::ir::Effects::default(),
        verdict: Some(Verdict::Deny),
        ..first.clone()
    };
    let some = !rule.cubes.is_empty();
    some.then_some((super::filter::NOBODY, rule))
        .into_iter()
        .collect()
}

/// What is addressed to the sockets of a proxy. Nothing comes in for those at loopback addresses.
fn sockets(proxy: &Proxy) -> impl Iterator<Item = Cube> {
    let protocols = [(proxy.tcp, TCP), (proxy.udp, UDP)];
    let protocols = protocols.into_iter().filter(|(takes, _)| *takes);
    let protocols: IntervalSet<u64> = protocols.map(|(_, number)| (number, number)).collect();
    let v4 = proxy.v4.map(|(addr, port)| (IpAddr::V4(addr), port));
    let v6 = proxy.v6.map(|(addr, port)| (IpAddr::V6(addr), port));
    let open = |(addr, _): &(IpAddr, u16)| !addr.is_loopback();
    let sockets = v4.into_iter().chain(v6).filter(open);
    sockets.filter_map(move |(addr, port)| {
        let mut cube = Cube::any()
            .with_families(if addr.is_ipv4() {
                Families::V4
            } else {
                Families::V6
            })
            .with_proto(&protocols)
            .with_field(DPORT, &IntervalSet::one(u64::from(port)));
        if addr.is_unspecified() {
            cube.egress = Side::host();
        } else {
            let (mut v4, mut v6) = (IntervalSet::empty(), IntervalSet::empty());
            match addr {
                IpAddr::V4(addr) => v4 = IntervalSet::one(addr.into()),
                IpAddr::V6(addr) => v6 = IntervalSet::one(addr.into()),
            }
            cube.daddr = AddrSet {
                v4,
                v6,
                label: None,
            };
        }
        cube.normal()
    })
}
