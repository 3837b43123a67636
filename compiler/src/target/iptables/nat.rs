//! The targets that rewrite addresses.

use std::net::IpAddr;

use polc_bundle::Family;

use super::Build;
use super::tree::{Line, Test, Then, suffix};
use crate::diagnostic::{Code, Diagnostic};
use crate::ir::{Balance, Nat, NatTarget, Rule, Verdict};
use crate::target::Capability;
use crate::target::netfilter::sides::Hook;

/// The start value of the hash that picks a target by source. The match `cluster` hashes the source
/// of a flow as nftables' `jhash` does.
const SEED: &str = "0x706f6c63";

/// The most nodes of a `cluster`.
const NODES: usize = 32;

impl Build<'_> {
    /// The lines that send `rule`'s flows to its targets.
    pub(super) fn nat(&mut self, rule: &Rule, nat: &Nat, hook: Hook) -> Option<Vec<Line>> {
        let source = matches!(rule.verdict, Some(Verdict::Snat(_)));
        let targets = match self.family {
            Family::V4 => &nat.v4,
            Family::V6 => &nat.v6,
        };
        let loopback6 = targets
            .iter()
            .any(|t| matches!(t, NatTarget::Addr(IpAddr::V6(a), _) if a.is_loopback()));
        if loopback6 && hook == Hook::NatPre {
            self.unsupported(Capability::Ipv6LoopbackNat, rule.span);
        }
        if targets.is_empty() {
            let family = suffix(self.family);
            let title = format!("rule `{}` has no target for IP{family}", rule.name);
            let error = Diagnostic::error(Code::MissingTarget, title, rule.span);
            self.errors.push(error);
            return None;
        }
        if nat.balance.unwrap_or(Balance::Source) == Balance::Source && targets.len() > NODES {
            self.unsupported(Capability::ManyTargets, rule.span);
            return None;
        }
        let mut out = Vec::new();
        for (i, target) in targets.iter().enumerate() {
            let (text, port) = match target {
                NatTarget::Prefix { from, to, len } => {
                    let end = if source { "-s" } else { "-d" };
                    let test = Test::Text(format!("{end} {from}/{len}"));
                    let then = Then::Final(format!("NETMAP --to {to}/{len}"));
                    out.push(Line::new(vec![test], then));
                    continue;
                }
                NatTarget::Addr(addr, port) => (socket(*addr, *port), port.is_some()),
            };
            let target = if source {
                format!("SNAT --to-source {text}")
            } else {
                format!("DNAT --to-destination {text}")
            };
            let pick = pick(nat.balance, i, targets.len());
            let lines = self.each_protocol(rule, port, &target)?;
            if let (Some(pick), true) = (&pick, lines.len() > 1) {
                // The choice is made once.
                let chain = self.chain(&rule.name, lines);
                out.push(Line::new(vec![pick.clone()], Then::Goto(chain)));
                continue;
            }
            out.extend(lines.into_iter().map(|mut line| {
                line.tests.extend(pick.clone());
                line
            }));
        }
        Some(out)
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

/// Whether a flow that none of the targets before got gets the one at `i` of `n`; `None` when it does.
fn pick(balance: Option<Balance>, i: usize, n: usize) -> Option<Test> {
    let left = n - i;
    if left == 1 {
        return None;
    }
    Some(match balance {
        Some(Balance::Random) => {
            let share = 1.0 / f64::from(u32::try_from(left).unwrap_or(u32::MAX));
            Test::AskOwn(format!(
                "-m statistic --mode random --probability {share:.11}"
            ))
        }
        Some(Balance::RoundRobin) => {
            Test::Turn(format!("-m statistic --mode nth --every {left} --packet 0"))
        }
        Some(Balance::Source) | None => Test::Text(format!(
            "-m cluster --cluster-total-nodes {n} --cluster-local-node {} --cluster-hash-seed {SEED}",
            i + 1
        )),
    })
}
