//! Steer: where a flow goes.
//!
//! nftables does this in two places: a mangle chain (marks, proxies, effects) and a NAT chain. A
//! policy has one list of rules. Where it needs both chains, both evaluate the list: in the mangle
//! chain a NAT rule accepts, in the NAT chain a rule without NAT accepts, up to the last NAT rule.
//! They agree because a rule's conditions are the same in both, but for those whose answer
//! changes from one asking to the next (buckets, dynamic sets, marks, the time). Such a rule is
//! decided in the mangle chain, which leaves its answer in a bit of the flow's label.

use std::collections::{BTreeMap, BTreeSet};

use polc_bundle::{Family, ObjectKind};

use super::filter::{stateless, unless_judged};
use super::sockets::{direct_access, divert};
use super::{
    NAT_OUT, NAT_PRE, STEER_OUT, STEER_PRE, base, finish, invalid, judge, loopback, strict_tcp,
    unconditional_icmp,
};
use crate::field::{TCP, UDP};
use crate::ir::{Atom, Down, Mark, Proxy, Rule, Verdict};
use crate::packet::IntervalSet;
use crate::target::Capability;
use crate::target::nftables::Build;
use crate::target::nftables::action::{Role, set_mark};
use crate::target::nftables::fields::{L4PROTO, among};
use crate::target::nftables::matches::nfproto;
use crate::target::nftables::sides::{Hook, Place, applies, names_loopback};
use crate::target::nftables::tree::{Base, Chain, Match, Rule as Line, Verdict as Then};
use crate::target::nftables::verdict::ADMITTED;

/// After connection tracking (-200), before destination NAT.
const MANGLE: i32 = -150;
const DSTNAT: i32 = -100;

/// The most label bits for answers.
const LABELS: usize = 100;

/// The two chains of incoming or of own traffic.
struct Pair {
    mangle: Hook,
    nat: Hook,
}

const PRE: Pair = Pair {
    mangle: Hook::SteerPre,
    nat: Hook::NatPre,
};
const OUT: Pair = Pair {
    mangle: Hook::SteerOut,
    nat: Hook::NatOut,
};

pub(super) fn chains(build: &mut Build) -> Vec<Chain> {
    let marks = marks(build);
    proxy_chains(build);
    check_down(build);
    let mut labels = BTreeMap::new();
    let mut chains = Vec::new();
    for pair in [PRE, OUT] {
        let plan = plan(build, &pair, &mut labels, !marks.is_empty());
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

/// Which of the two chains exist, and what each does of the rules.
struct Plan<'a> {
    mangle: bool,
    last_nat: Option<usize>,
    in_mangle: Vec<(&'a Rule, Role)>,
    nat: Vec<(&'a Rule, Role)>,
}

fn plan<'a>(
    build: &mut Build<'a>,
    pair: &Pair,
    labels: &mut BTreeMap<usize, u8>,
    restores: bool,
) -> Plan<'a> {
    let rules = &build.ir.steer;
    let here = |rule: &Rule| {
        let hook = pair.mangle;
        let place = Place {
            hook,
            loopback: false,
        };
        applies(rule, place) || names_loopback(rule, hook)
    };
    let here: Vec<bool> = rules.iter().map(here).collect();
    let used = |i: usize| here.get(i).copied().unwrap_or(false);
    let mangle = restores
        || !build.ir.proxies.is_empty()
        || rules
            .iter()
            .enumerate()
            .any(|(i, r)| used(i) && needs_mangle(r));
    let last_nat = rules
        .iter()
        .enumerate()
        .rposition(|(i, r)| used(i) && rewrites(r));
    let mut plan = Plan {
        mangle,
        last_nat,
        in_mangle: vec![],
        nat: vec![],
    };
    let mut excess = None;
    for (i, rule) in rules.iter().enumerate() {
        let refuses = matches!(rule.verdict, None | Some(Verdict::Deny));
        let in_nat = last_nat.is_some_and(|last| i <= last) && !refuses && used(i);
        let label = if mangle && in_nat && changeable(rule) {
            let next = labels.len();
            let label = *labels
                .entry(i)
                .or_insert(u8::try_from(next).unwrap_or(u8::MAX));
            if usize::from(label) >= LABELS {
                excess = excess.or(Some(rule.span));
            }
            Some(label)
        } else {
            None
        };
        plan.in_mangle.push((rule, Role::Mangle { label }));
        if !mangle {
            plan.nat.push((rule, Role::Whole));
        } else if in_nat {
            plan.nat.push((rule, Role::Nat { label }));
        }
    }
    if let Some(span) = excess {
        build.unsupported(Capability::ManyLimitedNat, span);
    }
    plan
}

/// Whether the rule does what only a mangle chain can do for each of its flows.
fn needs_mangle(rule: &Rule) -> bool {
    let effects = &rule.effects;
    let decides = match rule.verdict {
        None | Some(Verdict::Proxy(_) | Verdict::Route { .. } | Verdict::Deny) => true,
        Some(Verdict::Direct) => rule.admit,
        _ => false,
    };
    decides
        || effects.log.is_some()
        || effects.count
        || effects.mark.is_some()
        || effects.add.is_some()
}

fn rewrites(rule: &Rule) -> bool {
    matches!(
        rule.verdict,
        Some(Verdict::Redirect { .. } | Verdict::Dnat(_))
    )
}

/// Whether the rule's conditions may hold at one asking and not at the next.
fn changeable(rule: &Rule) -> bool {
    !rule.limits.is_empty()
        || rule.cubes.iter().any(|c| {
            let atom = c.atoms.keys().any(|a| matches!(a, Atom::Dynamic { .. }));
            let field =
                |name: &str| ["meta.mark", "ct.mark", "time.hour", "time.day"].contains(&name);
            atom || c.fields.keys().any(|f| field(f.name()))
        })
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

/// A mark that later packets of a flow get again.
struct Restored {
    mark: Mark,
    /// Only in the direction of the first packet.
    original: bool,
}

/// The marks that rules set, but for those of proxies, in order and once each.
fn marks(build: &Build) -> Vec<Restored> {
    let mut out: Vec<Restored> = Vec::new();
    for (stage, rule) in build.ir.rules() {
        let tracked = stage != crate::ir::Stage::Guard;
        if let Some(mark) = rule
            .effects
            .mark
            .filter(|m| tracked && m.value & m.mask != 0)
            && out.iter().all(|r| r.mark != mark)
        {
            let original = matches!(rule.verdict, Some(Verdict::Route { .. }));
            out.push(Restored { mark, original });
        }
    }
    out
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
            statements: set_mark(r.mark, false),
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

/// The protocols that a proxy takes.
pub(super) fn protocols(proxy: &Proxy) -> IntervalSet<u64> {
    let tcp = proxy.tcp.then_some((TCP, TCP));
    let udp = proxy.udp.then_some((UDP, UDP));
    tcp.into_iter().chain(udp).collect()
}

/// One chain for each proxy: it takes the packet, and what is left nobody listens for.
///
/// `tproxy` does not hold when there is no socket, and the packet goes on to its real destination:
/// the last line is what makes `down deny` true.
fn proxy_chains(build: &mut Build) {
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
        let mut rules = Vec::new();
        for (family, socket) in v4.into_iter().chain(v6) {
            let mut statements = vec![format!("tproxy {socket}")];
            statements.extend(set_mark(proxy.mark, true));
            statements.push(format!("ct label set {ADMITTED}"));
            rules.push(Line {
                matches: vec![nfproto(family), among(L4PROTO, &protocols(proxy), 255)],
                statements,
                verdict: Some(Then::Accept),
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

/// The proxies that take traffic of this host.
fn of_host(build: &Build) -> BTreeSet<usize> {
    let place = Place {
        hook: Hook::SteerOut,
        loopback: false,
    };
    let rules = build.ir.steer.iter().filter(|r| applies(r, place));
    rules
        .filter_map(|r| match r.verdict {
            Some(Verdict::Proxy(id)) => Some(id),
            _ => None,
        })
        .collect()
}

fn check_down(build: &mut Build) {
    for id in of_host(build) {
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
    let own = of_host(build);
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
    let invalid = invalid(build);
    rules.push(unless_judged(
        build,
        "judge_invalid",
        invalid,
        &stateless,
        &Then::Accept,
    ));
    for (proxy, chain) in ir.proxies.iter().zip(&chains) {
        let matches = vec![
            among(L4PROTO, &protocols(proxy), 255),
            Match::Text(format!("ct direction original {}", flow_mark(proxy.mark))),
        ];
        rules.push(Line::new(matches, Then::Goto(chain.clone())));
    }
    rules.extend(divert(&ir.proxies));
    rules.extend(restore(marks, false));
    rules.extend(restore(marks, true));
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
    // What belongs to no flow and opens none is not steered; filter refuses it.
    rules.push(Line::text("ct state invalid", Then::Accept));
    rules.extend(restore(marks, false));
    rules.push(Line::text("ct direction reply", Then::Accept));
    let own = of_host(build);
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
            statements: set_mark(proxy.mark, false),
            verdict: Some(Then::Accept),
            ..Line::default()
        });
    }
    rules.extend(restore(marks, true));
    rules.push(Line::text("ct status confirmed", Then::Accept));
    if let Some(strict) = strict_tcp(build, "") {
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
