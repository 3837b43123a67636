//! Steer: where a flow goes.
//!
//! What the mangle chain and the NAT chain each do of the rules: see
//! [`netfilter::steer`](crate::target::netfilter::steer).

use polc_bundle::{Family, ObjectKind};

use super::filter::{stateless, unless_judged};
use super::sockets::{direct_access, divert};
use super::{
    NAT_OUT, NAT_PRE, STEER_OUT, STEER_PRE, base, finish, invalid, judge, loopback, strict_tcp,
    unconditional_icmp,
};
use crate::ir::{Cube, Down, Mark, Proxy, Rule};
use crate::target::netfilter::Role;
use crate::target::netfilter::check::{may_be_untracked, may_lack_syn};
use crate::target::netfilter::label::ADMITTED;
use crate::target::netfilter::sides::{Hook, Place};
use crate::target::netfilter::steer::{
    Labels, OUT, PRE, Plan, Restored, marks, of_host, plan, protocols,
};
use crate::target::nftables::Build;
use crate::target::nftables::action::{FlowMark, mark_packet};
use crate::target::nftables::fields::{L4PROTO, among};
use crate::target::nftables::matches::nfproto;
use crate::target::nftables::tree::{Base, Chain, Match, Rule as Line, Verdict as Then};
use crate::target::{Capability, strict};

/// After connection tracking (-200), before destination NAT.
const MANGLE: i32 = -150;
const DSTNAT: i32 = -100;

/// What belongs to no flow and opens none is not steered. Filter refuses it where it governs.
const NOT_STEERED: &str = "ct state invalid";

pub(super) fn chains(build: &mut Build) -> Vec<Chain> {
    let marks = marks(build.ir);
    proxy_chains(build);
    check_down(build);
    for rule in strict::moves(build.ir) {
        build.unsupported(Capability::StrictMoved, rule.span);
    }
    let mut labels = Labels::new();
    let mut chains = Vec::new();
    for pair in [PRE, OUT] {
        let plan = plan(build.ir, &pair, &mut labels, !marks.is_empty());
        if let Some(span) = plan.excess {
            build.unsupported(Capability::ManyLimitedNat, span);
        }
        if plan.mangle {
            let rules = match pair.mangle {
                Hook::SteerPre => steer_pre(build, &plan, &marks),
                _ => steer_out(build, &plan, &marks),
            };
            let (kind, hook, name) = match pair.mangle {
                Hook::SteerPre => ("filter", "prerouting", STEER_PRE),
                _ => ("route", "output", STEER_OUT),
            };
            chains.push(base(name, at(kind, hook, MANGLE), rules));
        }
        if plan.last_nat.is_some() {
            build.features.add("NAT in inet tables", "5.2");
            let (hook, name) = match pair.nat {
                Hook::NatPre => ("prerouting", NAT_PRE),
                _ => ("output", NAT_OUT),
            };
            let mut rules = loopback(build, name, pair.nat, plan.nat.iter().copied());
            judge_all(build, &mut rules, pair.nat, &plan.nat);
            chains.push(base(name, at("nat", hook, DSTNAT), rules));
        }
    }
    chains
}

fn at(kind: &'static str, hook: &'static str, priority: i32) -> Base {
    Base {
        kind,
        hook,
        priority,
        drop: false,
    }
}

/// Writes the rules and ends the chain: what nothing decides goes on.
fn judge_all(build: &mut Build, out: &mut Vec<Line>, hook: Hook, rules: &[(&Rule, Role)]) {
    let place = Place {
        hook,
        loopback: false,
    };
    judge(build, out, place, rules.iter().copied());
    finish(out, Then::Accept);
}

fn restore(marks: &[Restored], original: bool) -> Vec<Line> {
    let line = |r: &Restored| {
        let direction = if original {
            "ct direction original "
        } else {
            ""
        };
        Line {
            matches: vec![Match::Text(format!("{direction}{}", flow_mark(r.mark)))],
            statements: vec![mark_packet(r.mark)],
            ..Line::default()
        }
    };
    marks
        .iter()
        .filter(|r| r.original == original)
        .map(line)
        .collect()
}

fn flow_mark(Mark { value, mask }: Mark) -> String {
    match mask {
        u32::MAX => format!("ct mark {value:#x}"),
        mask => format!("ct mark & {mask:#x} == {:#x}", value & mask),
    }
}

/// One chain for each proxy: it takes the packet, and what is left nobody listens for.
///
/// `tproxy` does not hold when there is no socket, and the packet goes on to its real destination:
/// the last line is what makes `down deny` true.
fn proxy_chains(build: &mut Build) {
    let untracked = may_be_untracked(build.ir, &Cube::any(), Family::V4);
    for proxy in &build.ir.proxies {
        build.features.add("tproxy", "4.19");
        if proxy.tcp {
            build.features.add("socket wildcard expression", "5.10");
        }
        let v4 = proxy
            .v4
            .map(|(a, port)| (Family::V4, format!("ip to {a}:{port}")));
        let v6 = proxy
            .v6
            .map(|(a, port)| (Family::V6, format!("ip6 to [{a}]:{port}")));
        let (marks, then) = taken(build, proxy, untracked);
        let mut rules = Vec::new();
        for (family, socket) in v4.into_iter().chain(v6) {
            let mut statements = vec![format!("tproxy {socket}"), mark_packet(proxy.mark)];
            statements.extend(marks.clone());
            statements.push(format!("ct label set {ADMITTED}"));
            rules.push(Line {
                matches: vec![nfproto(family), among(L4PROTO, &protocols(proxy), 255)],
                statements,
                verdict: Some(then.clone()),
                ..Line::default()
            });
        }
        rules.push(Line::new(
            vec![],
            match proxy.down {
                Down::Deny => Then::Drop,
                Down::Direct => Then::Accept,
            },
        ));
        let name = build
            .names
            .unique(ObjectKind::Chain, &format!("proxy_{}", proxy.name));
        build.proxy_chains.push(name.clone());
        build.chains.push(Chain {
            name,
            base: None,
            rules,
        });
    }
}

/// What is done with packets that `tproxy` has found a socket for, and only with these: statements behind it, and where they
/// go.
fn taken(build: &mut Build, proxy: &Proxy, untracked: bool) -> (Option<String>, Then) {
    let mut lines = Vec::new();
    let arriving = Place {
        hook: Hook::SteerPre,
        loopback: false,
    };
    if proxy.tcp && may_lack_syn(build.ir, arriving) {
        lines.extend(strict_tcp(build, ""));
    }
    let statement = match FlowMark::of(proxy.mark, untracked) {
        FlowMark::Beside(statement) => Some(statement),
        FlowMark::Apart(line) => {
            lines.push(line);
            None
        }
    };
    if lines.is_empty() {
        return (statement, Then::Accept);
    }
    lines.push(Line::new(vec![], Then::Accept));
    let chain = build.chain(&format!("proxy_{}_taken", proxy.name), lines);
    (statement, Then::Goto(chain))
}

fn check_down(build: &mut Build) {
    for id in of_host(build.ir) {
        let direct = build.ir.proxies.get(id).filter(|p| p.down == Down::Direct);
        if let Some(proxy) = direct {
            // Its packets are on the loopback interface by then, and cannot go back.
            build.unsupported(Capability::LocalDownDirect, proxy.span);
        }
    }
}

fn steer_pre(build: &mut Build, plan: &Plan, marks: &[Restored]) -> Vec<Line> {
    let ir = build.ir;
    let mut rules = Vec::new();
    let own = of_host(build.ir);
    let chains = build.proxy_chains.clone();
    for (id, (proxy, chain)) in ir.proxies.iter().zip(&chains).enumerate() {
        if own.contains(&id) {
            let Mark { value, mask } = proxy.mark;
            let mark = format!("meta mark & {mask:#x} == {:#x}", value & mask);
            let matches = vec![
                Match::Text("iifname \"lo\"".to_owned()),
                among(L4PROTO, &protocols(proxy), 255),
                Match::Text(mark),
            ];
            rules.push(Line::new(matches, Then::Goto(chain.clone())));
        }
    }
    rules.extend(loopback(
        build,
        STEER_PRE,
        Hook::SteerPre,
        plan.in_mangle.iter().copied(),
    ));
    let lookup = Place {
        hook: Hook::Lookup,
        loopback: false,
    };
    let stateless = stateless(build, lookup);
    // Beside its meaning, this line keeps connection tracking in use.
    rules.push(if ir.governs.input && ir.governs.forward {
        let invalid = invalid(build);
        unless_judged(build, "judge_invalid", invalid, &stateless, &Then::Accept)
    } else {
        Line::text(NOT_STEERED, Then::Accept)
    });
    // Before packets of a proxy's flows leave the chain.
    rules.extend(restore(marks, false));
    rules.extend(restore(marks, true));
    for (proxy, chain) in ir.proxies.iter().zip(&chains) {
        let matches = vec![
            among(L4PROTO, &protocols(proxy), 255),
            Match::Text(format!("ct direction original {}", flow_mark(proxy.mark))),
        ];
        rules.push(Line::new(matches, Then::Goto(chain.clone())));
    }
    rules.extend(divert(&ir.proxies));
    rules.push(Line::text("ct state established,related", Then::Accept));
    rules.push(Line::text("ct status confirmed", Then::Accept));
    if let Some(strict) = strict_tcp(build, "") {
        rules.push(unless_judged(
            build,
            "judge_strict",
            strict,
            &stateless,
            &Then::Return,
        ));
    }
    rules.extend(unconditional_icmp(build));
    for proxy in &ir.proxies {
        rules.extend(direct_access(proxy));
    }
    judge_all(build, &mut rules, Hook::SteerPre, &plan.in_mangle);
    rules
}

fn steer_out(build: &mut Build, plan: &Plan, marks: &[Restored]) -> Vec<Line> {
    let ir = build.ir;
    let mut rules = loopback(
        build,
        STEER_OUT,
        Hook::SteerOut,
        plan.in_mangle.iter().copied(),
    );
    rules.push(Line::text(NOT_STEERED, Then::Accept));
    rules.extend(restore(marks, false));
    rules.push(Line::text("ct direction reply", Then::Accept));
    let own = of_host(build.ir);
    for (_, proxy) in ir
        .proxies
        .iter()
        .enumerate()
        .filter(|(id, _)| own.contains(id))
    {
        rules.push(Line {
            matches: vec![
                among(L4PROTO, &protocols(proxy), 255),
                Match::Text(flow_mark(proxy.mark)),
            ],
            statements: vec![mark_packet(proxy.mark)],
            verdict: Some(Then::Accept),
            ..Line::default()
        });
    }
    rules.extend(restore(marks, true));
    rules.push(Line::text("ct status confirmed", Then::Accept));
    if let Some(strict) = strict_tcp(build, "").filter(|_| ir.governs.output) {
        let place = Place {
            hook: Hook::SteerOut,
            loopback: false,
        };
        let stateless = stateless(build, place);
        rules.push(unless_judged(
            build,
            "judge_strict_out",
            strict,
            &stateless,
            &Then::Return,
        ));
    }
    rules.extend(unconditional_icmp(build));
    judge_all(build, &mut rules, Hook::SteerOut, &plan.in_mangle);
    rules
}
