//! The statements that rewrite addresses.

use std::net::IpAddr;

use polc_bundle::Family;

use super::Build;
use super::limits::suffix;
use super::tree::{Match, Rule as Line, Verdict as Then};
use crate::diagnostic::{Code, Diagnostic};
use crate::ir::{Balance, Nat, NatTarget, Rule, Verdict};
use crate::target::Capability;
use crate::target::netfilter::sides::Hook;

/// The start value of the hash that picks a target by source, so that a client keeps its server
/// when the policy is applied again.
const SEED: &str = "0x706f6c63";

impl Build<'_> {
    /// What must hold and the statement that sends `rule`'s flows of `family` to its targets.
    pub(crate) fn nat(
        &mut self,
        rule: &Rule,
        nat: &Nat,
        hook: Hook,
        family: Family,
    ) -> Option<(Vec<Match>, Then)> {
        let source = matches!(rule.verdict, Some(Verdict::Snat(_)));
        let verb = if source { "snat" } else { "dnat" };
        let ip = match family {
            Family::V4 => "ip",
            Family::V6 => "ip6",
        };
        let targets = match family {
            Family::V4 => &nat.v4,
            Family::V6 => &nat.v6,
        };
        self.check_loopback(rule, targets, hook);
        let ports = targets
            .iter()
            .any(|t| matches!(t, NatTarget::Addr(_, Some(_))));
        let matches = if ports { self.transport(rule)? } else { vec![] };
        let statement = |to: &str| Then::Final(format!("{verb} {ip} {to}"));
        let then = match targets.as_slice() {
            [] => {
                let title = format!(
                    "rule `{}` has no target for IP{}",
                    rule.name,
                    suffix(family)
                );
                self.errors
                    .push(Diagnostic::error(Code::MissingTarget, title, rule.span));
                return None;
            }
            [NatTarget::Prefix { .. }, ..] => {
                self.features.add("prefix translation", "5.8");
                let end = if source { "saddr" } else { "daddr" };
                statement(&format!(
                    "prefix to {ip} {end} map {{ {} }}",
                    prefixes(targets)
                ))
            }
            [NatTarget::Addr(addr, port)] => statement(&format!("to {}", socket(*addr, *port))),
            many => {
                let pick = pick(nat.balance, ip, many.len());
                let all_ports = many
                    .iter()
                    .all(|t| matches!(t, NatTarget::Addr(_, Some(_))));
                if all_ports || !ports {
                    let how = if ports { "addr . port to" } else { "to" };
                    statement(&format!("{how} {pick} map {{ {} }}", entries(many)))
                } else {
                    let to: Vec<Then> = many
                        .iter()
                        .filter_map(|t| match t {
                            NatTarget::Addr(a, p) => {
                                Some(statement(&format!("to {}", socket(*a, *p))))
                            }
                            NatTarget::Prefix { .. } => None,
                        })
                        .collect();
                    self.dispatch(rule, &pick, &matches, to)
                }
            }
        };
        if nat.balance == Some(Balance::RoundRobin) && targets.len() > 1 {
            return Some(self.in_turn(rule, hook, Line::new(matches, then)));
        }
        Some((matches, then))
    }

    /// Puts the line that takes turns into a chain of its own: wherever the rule is asked, it is the same line and has
    /// the same turns. But this host's flows share none with those that arrive.
    fn in_turn(&mut self, rule: &Rule, hook: Hook, line: Line) -> (Vec<Match>, Then) {
        let own = if hook == Hook::NatOut { "-own" } else { "" };
        let chain = self.chain(&format!("{}-turns{own}", rule.name), vec![line]);
        (vec![], Then::Goto(chain))
    }

    /// Picks one of several statements that have no common form.
    fn dispatch(&mut self, rule: &Rule, pick: &str, matches: &[Match], to: Vec<Then>) -> Then {
        let mut entries = Vec::new();
        for (i, then) in to.into_iter().enumerate() {
            let line = Line::new(matches.to_vec(), then);
            let chain = self.chain(&format!("{}-to-{i}", rule.name), vec![line]);
            entries.push(format!("{i} : goto {chain}"));
        }
        Then::Final(format!("{pick} vmap {{ {} }}", entries.join(", ")))
    }

    fn check_loopback(&mut self, rule: &Rule, targets: &[NatTarget], hook: Hook) {
        let loopback6 = targets
            .iter()
            .any(|t| matches!(t, NatTarget::Addr(IpAddr::V6(a), _) if a.is_loopback()));
        if loopback6 && hook == Hook::NatPre {
            self.unsupported(Capability::Ipv6LoopbackNat, rule.span);
        }
    }
}

/// An address, with a port after it when one is given.
fn socket(addr: IpAddr, port: Option<u16>) -> String {
    match (addr, port) {
        (IpAddr::V6(addr), Some(port)) => format!("[{addr}]:{port}"),
        (addr, Some(port)) => format!("{addr}:{port}"),
        (addr, None) => addr.to_string(),
    }
}

/// The number of the target that a flow gets.
fn pick(balance: Option<Balance>, ip: &str, n: usize) -> String {
    match balance {
        Some(Balance::Random) => format!("numgen random mod {n}"),
        Some(Balance::RoundRobin) => format!("numgen inc mod {n}"),
        Some(Balance::Source) | None => format!("jhash {ip} saddr mod {n} seed {SEED}"),
    }
}

fn entries(targets: &[NatTarget]) -> String {
    let entry = |(i, target): (usize, &NatTarget)| match target {
        NatTarget::Addr(addr, Some(port)) => Some(format!("{i} : {addr} . {port}")),
        NatTarget::Addr(addr, None) => Some(format!("{i} : {addr}")),
        NatTarget::Prefix { .. } => None,
    };
    let list: Vec<String> = targets.iter().enumerate().filter_map(entry).collect();
    list.join(", ")
}

fn prefixes(targets: &[NatTarget]) -> String {
    let entry = |target: &NatTarget| match target {
        NatTarget::Prefix { from, to, len } => Some(format!("{from}/{len} : {to}/{len}")),
        NatTarget::Addr(..) => None,
    };
    let list: Vec<String> = targets.iter().filter_map(entry).collect();
    list.join(", ")
}
