//! Filter: whether a flow to, through or from this host may be.

use super::{
    FORWARD, INPUT, OUTPUT, base, finish, invalid, judge, loopback, strict_tcp, unconditional_icmp,
};
use crate::field::{IP_TTL, ttl_before_forwarding};
use crate::ir::{Cube, Side};
use crate::packet::IfaceSet;
use crate::target::Capability;
use crate::target::netfilter::Role;
use crate::target::netfilter::check::{self, refuses};
use crate::target::netfilter::label::ADMITTED;
use crate::target::netfilter::sides::{Hook, Place};
use crate::target::nftables::Build;
use crate::target::nftables::tree::{Base, Chain, Match, Rule as Line, Verdict as Then};

pub(super) fn chains(build: &mut Build) -> Vec<Chain> {
    for rule in check::moved_egress(build.ir) {
        build.unsupported(Capability::MovedEgress, rule.span);
    }
    let governs = build.ir.governs;
    let directions = [
        (governs.input, INPUT, Hook::Input),
        (governs.forward, FORWARD, Hook::Forward),
        (governs.output, OUTPUT, Hook::Output),
    ];
    let wanted = directions.into_iter().filter(|(wanted, ..)| *wanted);
    wanted
        .map(|(_, name, hook)| chain(build, name, hook))
        .collect()
}

fn chain(build: &mut Build, name: &'static str, hook: Hook) -> Chain {
    let ir = build.ir;
    let place = Place {
        hook,
        loopback: false,
    };
    let all = ir.filter.iter().map(|r| (r, Role::Whole));
    let lo = loopback(build, name, hook, all);
    let names_lo = lo.iter().any(|l| matches!(l.verdict, Some(Then::Goto(_))));
    let mut judged = Vec::new();
    let last = judge(
        build,
        &mut judged,
        place,
        ir.filter.iter().map(|r| (r, Role::Whole)),
    );
    let drop = last.is_none_or(refuses);
    finish(&mut judged, Then::Drop);

    let judges_lo = names_lo && hook == Hook::Input;
    let mut rules = Vec::new();
    if !names_lo {
        rules.extend(lo.clone());
    }
    let stateless = stateless(build, place);
    if stateless.is_empty() {
        rules.extend(flow_lookup(build, judges_lo));
        rules.extend(strict_tcp(build, ""));
        rules.extend(admitted(build));
        rules.extend(unconditional_icmp(build));
    } else {
        rules.extend(unconditional_icmp(build));
        if let Some(label) = admitted(build) {
            rules.extend(strict_tcp(build, &format!("ct label {ADMITTED} ")));
            rules.push(label);
        }
        let chain = build.chain(&format!("{name}_rules"), judged);
        for scope in stateless {
            rules.push(Line::new(scope, Then::Goto(chain.clone())));
        }
        rules.extend(flow_lookup(build, judges_lo));
        rules.extend(strict_tcp(build, ""));
        judged = vec![Line::new(vec![], Then::Goto(chain))];
    }
    if names_lo {
        rules.extend(lo);
    }
    rules.extend(judged);
    let at = Base {
        kind: "filter",
        hook: name,
        priority: 0,
        drop,
    };
    base(name, at, rules)
}

/// Packets of flows that were judged before follow them. With `judges_lo` this is the input chain,
/// and rules name loopback traffic, whose flows were confirmed on their way out.
fn flow_lookup(build: &mut Build, judges_lo: bool) -> [Line; 3] {
    let unless = if judges_lo { "iifname != \"lo\" " } else { "" };
    [
        invalid(build),
        Line::text("ct state established,related", Then::Accept),
        // The second packet of a flow that nobody has answered yet.
        Line::text(&format!("{unless}ct status confirmed"), Then::Accept),
    ]
}

/// Flows that steer has admitted, if it admits any.
fn admitted(build: &Build) -> Option<Line> {
    check::admits(build.ir).then(|| Line::text(&format!("ct label {ADMITTED}"), Then::Accept))
}

/// The conditions of packets that are judged one by one.
pub(super) fn stateless(build: &mut Build, place: Place) -> Vec<Vec<Match>> {
    let mut out = Vec::new();
    for mut scope in check::stateless_scopes(build.ir) {
        if place.hook == Hook::Lookup {
            scope.cubes = scope.cubes.iter().flat_map(before_routing).collect();
        }
        let alts = build.alternatives(&scope, place, false).list;
        out.extend(alts.into_iter().map(|a| a.matches));
    }
    out
}

/// A cube of filter, to be asked before routing: the time to live of what will be sent on is not lowered yet.
fn before_routing(cube: &Cube) -> Vec<Cube> {
    let Some(ttl) = cube.field(IP_TTL) else {
        return vec![cube.clone()];
    };
    let host = Side {
        ifaces: IfaceSet::empty(),
        ..cube.egress.clone()
    };
    let away = Side::ifaces(cube.egress.ifaces.clone());
    let parts = [(host, ttl.clone()), (away, ttl_before_forwarding(ttl))];
    let parts = parts
        .into_iter()
        .filter(|(egress, ttl)| !egress.is_empty() && !ttl.is_empty());
    parts
        .map(|(egress, ttl)| {
            let mut part = Cube {
                egress,
                ..cube.clone()
            };
            part.fields.insert(IP_TTL, ttl);
            part
        })
        .collect()
}

/// A line that refuses packets, but for those that are judged one by one: these get another verdict.
pub(super) fn unless_judged(
    build: &mut Build,
    name: &str,
    refusal: Line,
    stateless: &[Vec<Match>],
    judged: &Then,
) -> Line {
    let Some(refuse) = refusal.verdict.clone().filter(|_| !stateless.is_empty()) else {
        return refusal;
    };
    let scopes = stateless.iter();
    let mut lines: Vec<Line> = scopes
        .map(|scope| Line::new(scope.clone(), judged.clone()))
        .collect();
    lines.push(Line::new(vec![], refuse));
    let chain = build.chain(name, lines);
    Line {
        verdict: Some(match judged {
            Then::Return => Then::Jump(chain),
            _ => Then::Goto(chain),
        }),
        ..refusal
    }
}
