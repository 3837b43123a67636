//! Verdicts that need a target: reject, redirect, dnat, snat, proxy, route.

use std::net::IpAddr;

use crate::diagnostic::{Code, Diagnostic};
use crate::field::{TCP, UDP};
use crate::ir::cube::families_of;
use crate::ir::{Balance, Cube, Mark, Nat, NatTarget, Proxy, Reject, Verdict};
use crate::packet::addr::exact_prefix;
use crate::packet::{AddrSet, IntervalSet};
use crate::policy::{Rule, Target, Targets, Via};

type Outcome = Result<Verdict, Diagnostic>;

/// Whether every cube is of some protocols only.
fn only(cubes: &[Cube], protocols: &IntervalSet<u64>) -> bool {
    cubes.iter().all(|c| c.proto.is_subset(protocols))
}

pub(super) fn reject(rule: &Rule, cubes: &[Cube]) -> Outcome {
    let Some((kind, span)) = rule.clauses.reject else {
        return Ok(Verdict::Reject(Reject::Default));
    };
    if kind == Reject::TcpReset && !only(cubes, &IntervalSet::one(TCP)) {
        let title = "only TCP can be answered with a reset";
        let help = "write `reject tcp …`, or leave `with` out: then TCP gets a reset and the \
                    rest an ICMP error";
        return Err(Diagnostic::error(Code::TypeMismatch, title, span).help(help));
    }
    Ok(Verdict::Reject(kind))
}

fn required<'r>(rule: &'r Rule, example: &str) -> Result<&'r Targets, Diagnostic> {
    rule.clauses
        .targets
        .as_ref()
        .filter(|t| !t.list.is_empty())
        .ok_or_else(|| {
            let title = "this rule needs a target";
            let help = format!("add one, such as `=> {example}`");
            Diagnostic::error(Code::MissingClause, title, rule.span).help(help)
        })
}

pub(super) fn redirect(rule: &Rule, cubes: &[Cube]) -> Outcome {
    let Some(targets) = &rule.clauses.targets else {
        return Ok(Verdict::Redirect { port: None });
    };
    let [Target::Port(port)] = targets.list.as_slice() else {
        let title = "`redirect` goes to a port of this host";
        let help = "write `=> :15001`; `dnat` goes to another address";
        return Err(Diagnostic::error(Code::TypeMismatch, title, targets.span).help(help));
    };
    with_ports(cubes, targets)?;
    Ok(Verdict::Redirect { port: Some(*port) })
}

/// A target port needs packets that have ports.
fn with_ports(cubes: &[Cube], targets: &Targets) -> Result<(), Diagnostic> {
    let ported: IntervalSet<u64> = [(TCP, TCP), (UDP, UDP), (132, 132), (33, 33)]
        .into_iter()
        .collect();
    if only(cubes, &ported) {
        return Ok(());
    }
    let title = "a target port needs a protocol with ports";
    let help = "name the service, such as `tcp` or `tcp/80`, before the clauses";
    Err(Diagnostic::error(Code::TypeMismatch, title, targets.span).help(help))
}

pub(super) fn dnat(rule: &Rule, cubes: &[Cube]) -> Outcome {
    let targets = required(rule, "192.0.2.10:80")?;
    if targets
        .list
        .iter()
        .any(|t| matches!(t, Target::Addr(_, Some(_))))
    {
        with_ports(cubes, targets)?;
    }
    nat(rule, targets, cubes, |cube| &cube.daddr).map(Verdict::Dnat)
}

pub(super) fn snat(rule: &Rule, cubes: &[Cube]) -> Outcome {
    let targets = required(rule, "192.0.2.81")?;
    if targets
        .list
        .iter()
        .any(|t| matches!(t, Target::Addr(_, Some(_))))
    {
        let title = "`snat` chooses the port itself";
        let help = "write the address without a port";
        return Err(Diagnostic::error(Code::TypeMismatch, title, targets.span).help(help));
    }
    nat(rule, targets, cubes, |cube| &cube.saddr).map(Verdict::Snat)
}

fn nat(
    rule: &Rule,
    targets: &Targets,
    cubes: &[Cube],
    matched: fn(&Cube) -> &AddrSet,
) -> Result<Nat, Diagnostic> {
    let mut nat = Nat::default();
    for target in &targets.list {
        let entry = match *target {
            Target::Port(_) => {
                let title = format!("`{}` goes to an address", rule.verb.word());
                let help = "write `=> 192.0.2.10:80`; `redirect` goes to a port of this host";
                return Err(Diagnostic::error(Code::TypeMismatch, title, targets.span).help(help));
            }
            Target::Addr(addr, port) => NatTarget::Addr(addr, port),
            Target::Net(to, len) => {
                let from = same_length(cubes, matched, to, len).map_err(|title| {
                    let help = "narrow the rule to one prefix as long as the target";
                    Diagnostic::error(Code::TypeMismatch, title, targets.span).help(help)
                })?;
                NatTarget::Prefix { from, to, len }
            }
        };
        match entry {
            NatTarget::Addr(IpAddr::V4(_), _)
            | NatTarget::Prefix {
                to: IpAddr::V4(_), ..
            } => {
                nat.v4.push(entry);
            }
            _ => nat.v6.push(entry),
        }
    }
    let reach = families_of(cubes);
    for (reached, list, family, word) in [
        (reach.v4, &nat.v4, "IPv4", "v6"),
        (reach.v6, &nat.v6, "IPv6", "v4"),
    ] {
        if reached && list.is_empty() {
            let title = format!("{family} packets reach this rule, and it has no {family} target");
            let help = format!("add one after `=>`, or say `only {word}`");
            return Err(Diagnostic::error(Code::MissingTarget, title, targets.span)
                .and(rule.span, format!("{family} packets match"))
                .help(help));
        }
        if list.len() > 1 && list.iter().any(|t| matches!(t, NatTarget::Prefix { .. })) {
            let title = "a prefix is mapped onto one prefix";
            return Err(Diagnostic::error(Code::TypeMismatch, title, targets.span));
        }
        let ports = list
            .iter()
            .filter(|t| matches!(t, NatTarget::Addr(_, Some(_))))
            .count();
        if ports != 0 && ports != list.len() {
            let title = "either all targets have a port or none has";
            return Err(Diagnostic::error(Code::TypeMismatch, title, targets.span));
        }
    }
    let several = nat.v4.len() > 1 || nat.v6.len() > 1;
    nat.balance = several.then(|| targets.balance.unwrap_or(Balance::Source));
    Ok(nat)
}

/// The one prefix of length `len` that the cubes match, of the family of `to`.
fn same_length(
    cubes: &[Cube],
    matched: fn(&Cube) -> &AddrSet,
    to: IpAddr,
    len: u8,
) -> Result<IpAddr, String> {
    let all = cubes
        .iter()
        .fold(AddrSet::empty(), |set, cube| set.union(matched(cube)));
    let found = match to {
        IpAddr::V4(_) => match *all.v4.ranges() {
            [(first, last)] => {
                exact_prefix(first.into(), last.into(), 32).map(|l| (IpAddr::V4(first.into()), l))
            }
            _ => None,
        },
        IpAddr::V6(_) => match *all.v6.ranges() {
            [(first, last)] => {
                exact_prefix(first, last, 128).map(|l| (IpAddr::V6(first.into()), l))
            }
            _ => None,
        },
    };
    match found {
        Some((from, length)) if length == u32::from(len) => Ok(from),
        Some((from, length)) => Err(format!(
            "the prefix `{from}/{length}` cannot be mapped onto one of {len} bits: the lengths \
             must agree"
        )),
        None => Err("what is mapped onto a prefix must be one prefix itself".to_owned()),
    }
}

/// `mark`: the rule's own mark, or that of a group around it.
pub(super) fn proxy(rule: &Rule, cubes: &[Cube], proxies: &[Proxy], mark: Option<Mark>) -> Outcome {
    let Some(Via::Proxy(index, span)) = rule.clauses.via else {
        let title = "`proxy` needs to know which";
        let help = "add `via NAME`, the name of a `proxy NAME { … }`";
        return Err(Diagnostic::error(Code::MissingClause, title, rule.span).help(help));
    };
    let Some(proxy) = proxies.get(index) else {
        let title = "there is no such proxy";
        return Err(Diagnostic::error(Code::Undefined, title, span));
    };
    if mark.is_some_and(|mark| mark.mask & proxy.mark.mask != 0) {
        let title = format!(
            "this rule sets bits of the mark of the proxy `{}`",
            proxy.name
        );
        return Err(Diagnostic::error(Code::MarkCollision, title, rule.span)
            .and(proxy.span, "the proxy is defined here")
            .help("the proxy's mark takes flows to it: set other bits, with a mask"));
    }
    let listens: IntervalSet<u64> = [(proxy.tcp, TCP), (proxy.udp, UDP)]
        .into_iter()
        .filter(|(listens, _)| *listens)
        .map(|(_, protocol)| (protocol, protocol))
        .collect();
    if !only(cubes, &listens) {
        let words = match (proxy.tcp, proxy.udp) {
            (true, true) => "tcp, udp",
            (true, false) => "tcp",
            _ => "udp",
        };
        let title = format!(
            "the proxy `{}` takes {words}, and this rule sends it more",
            proxy.name
        );
        let help = format!("write `proxy {words} …`");
        return Err(Diagnostic::error(Code::ProxyProtocol, title, rule.span)
            .and(proxy.span, "the proxy is defined here")
            .help(help));
    }
    let reach = families_of(cubes);
    let missing = match (
        reach.v4 && proxy.v4.is_none(),
        reach.v6 && proxy.v6.is_none(),
    ) {
        (true, _) => Some(("IPv4", "v6")),
        (_, true) => Some(("IPv6", "v4")),
        _ => None,
    };
    if let Some((family, other)) = missing {
        let title = format!(
            "{family} packets reach this rule, and the proxy `{}` has no {family} socket",
            proxy.name
        );
        let help = format!("let it `listen` on one, or say `only {other}`");
        return Err(Diagnostic::error(Code::MissingTarget, title, rule.span)
            .and(proxy.span, "the proxy is defined here")
            .help(help));
    }
    Ok(Verdict::Proxy(index))
}

/// `mark`: the rule's own mark, or that of a group around it.
pub(super) fn route(rule: &Rule, mark: Option<Mark>) -> Outcome {
    let Some(Via::Table(table, _)) = rule.clauses.via else {
        let title = "`route` needs a routing table";
        let help = "add `via table 200`";
        return Err(Diagnostic::error(Code::MissingClause, title, rule.span).help(help));
    };
    if mark.is_none() {
        let title = "`route` needs a mark: the kernel chooses the table by it";
        let help = "add one with its mask, such as `mark 0x200/0xff00`";
        return Err(Diagnostic::error(Code::MissingClause, title, rule.span).help(help));
    }
    Ok(Verdict::Route { table })
}
