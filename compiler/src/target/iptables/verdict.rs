//! From a verdict to the lines that give it.

use polc_bundle::Family;

use super::Build;
use super::action::set_mark;
use super::fields::is_fragment;
use super::tree::{Line, Test, Then};
use crate::field::{DPORT, TCP};
use crate::ir::cube::protocols;
use crate::ir::{NatTarget, Reject, Rule, Stage, Verdict};
use crate::packet::IntervalSet;
use crate::target::Capability;
use crate::target::netfilter::Role;
use crate::target::netfilter::label::ADMITTED;
use crate::target::netfilter::sides::Hook;

/// UDP-Lite, to whose ports the kernel can translate and iptables has no words for it.
const UDPLITE: u64 = 136;

impl Build<'_> {
    /// The lines that give `rule`'s verdict at `hook`, the last of which ends evaluation; `None` when
    /// that is an error, which is reported.
    pub(super) fn verdict(
        &mut self,
        rule: &Rule,
        verdict: &Verdict,
        hook: Hook,
        duty: Role,
    ) -> Option<Vec<Line>> {
        let nat_later = matches!(duty, Role::Mangle { .. });
        let here = match verdict {
            Verdict::Redirect { .. } | Verdict::Dnat(_) => !nat_later,
            _ => !matches!(duty, Role::Nat { .. }),
        };
        let mut lines: Vec<Line> = Self::admitted(rule, here).into_iter().collect();
        let leave = || Line::new(vec![], Then::Leave);
        match verdict {
            Verdict::Allow if hook != Hook::Guard => {
                lines.push(Line::new(vec![], Self::pass(Stage::Filter)));
            }
            Verdict::Allow | Verdict::Direct | Verdict::Route { .. } => lines.push(leave()),
            Verdict::Deny => lines.push(Line::new(vec![], Then::Drop)),
            Verdict::Notrack => {
                let chain = self.untracked();
                lines.push(Line::new(vec![], Then::Goto(chain)));
            }
            Verdict::Reject(reject) => {
                let answers = self.reject(rule, *reject);
                lines.push(self.one(rule, answers));
            }
            Verdict::Redirect { .. } | Verdict::Dnat(_) if nat_later => lines.push(leave()),
            Verdict::Redirect { port } => {
                let target = match port {
                    None => "REDIRECT".to_owned(),
                    Some(port) => format!("REDIRECT --to-ports {port}"),
                };
                let answers = self.each_protocol(rule, port.is_some(), &target)?;
                lines.push(self.one(rule, answers));
            }
            Verdict::Dnat(nat) | Verdict::Snat(nat) => {
                let answers = self.nat(rule, nat, hook)?;
                // A prefix may not stand beside another one in a line.
                let prefixes = [&nat.v4, &nat.v6].into_iter().flatten();
                let apart = prefixes
                    .into_iter()
                    .any(|t| matches!(t, NatTarget::Prefix { .. }));
                lines.push(if apart {
                    Line::new(vec![], Then::Goto(self.chain(&rule.name, answers)))
                } else {
                    self.one(rule, answers)
                });
            }
            Verdict::Masquerade => {
                lines.push(Line::new(vec![], Then::Final("MASQUERADE".to_owned())));
            }
            Verdict::Proxy(_) if matches!(duty, Role::Nat { .. }) => lines.push(leave()),
            Verdict::Proxy(id) => lines.extend(self.capture(*id, hook)?),
        }
        Some(lines)
    }

    /// One line that comes to the same as several.
    fn one(&mut self, rule: &Rule, mut lines: Vec<Line>) -> Line {
        match lines.len() {
            1 => lines.pop().unwrap_or_default(),
            _ => Line::new(vec![], Then::Goto(self.chain(&rule.name, lines))),
        }
    }

    /// Hands a flow to a proxy: at once, or for a packet of this host by way of loopback.
    fn capture(&mut self, id: usize, hook: Hook) -> Option<Vec<Line>> {
        let proxy = self.ir.proxies.get(id)?;
        if hook == Hook::SteerPre {
            let chain = self.proxy_chains.get(id)?.clone();
            return Some(vec![Line::new(vec![], Then::Goto(chain))]);
        }
        let mut lines = set_mark(proxy.mark, true);
        lines.push(Line::label(ADMITTED));
        lines.push(Line::new(vec![], Then::Leave));
        Some(lines)
    }

    /// Lets a packet go on untracked. Fragments stay tracked: the kernel puts no others together,
    /// and later stages judge whole packets.
    fn untracked(&mut self) -> std::sync::Arc<str> {
        let lines = vec![
            Line::new(vec![is_fragment(self.family, true)], Then::Leave),
            Line::new(vec![], Then::Do("CT --notrack".to_owned())),
            Line::new(vec![], Then::Leave),
        ];
        self.chain("untracked", lines)
    }

    fn reject(&self, rule: &Rule, reject: Reject) -> Vec<Line> {
        let tcp = IntervalSet::one(TCP);
        let (v4, v6) = match reject {
            Reject::Default | Reject::TcpReset | Reject::PortUnreachable => {
                ("icmp-port-unreachable", "icmp6-port-unreachable")
            }
            Reject::HostUnreachable => ("icmp-host-unreachable", "icmp6-addr-unreachable"),
            Reject::AdminProhibited => ("icmp-admin-prohibited", "icmp6-adm-prohibited"),
            Reject::NoRoute => ("icmp-net-unreachable", "icmp6-no-route"),
        };
        let kind = match self.family {
            Family::V4 => v4,
            Family::V6 => v6,
        };
        let with = |kind: &str| Then::Final(format!("REJECT --reject-with {kind}"));
        let reset = Line::new(vec![Test::protocol(TCP)], with("tcp-reset"));
        let other = Line::new(vec![], with(kind));
        let all_tcp = rule.cubes.iter().all(|c| c.proto == tcp);
        let some_tcp = rule.cubes.iter().any(|c| c.proto.contains(TCP));
        match reject {
            Reject::TcpReset => vec![reset],
            Reject::Default if all_tcp => vec![reset],
            Reject::Default if some_tcp => vec![reset, other],
            _ => vec![other],
        }
    }

    /// `target` once, or where it writes a port, which needs a protocol that has some, for each of the
    /// rule's protocols.
    pub(super) fn each_protocol(
        &mut self,
        rule: &Rule,
        writes_port: bool,
        target: &str,
    ) -> Option<Vec<Line>> {
        let then = || Then::Final(target.to_owned());
        if !writes_port {
            return Some(vec![Line::new(vec![], then())]);
        }
        let with_ports: IntervalSet<u64> = DPORT.def().protocols.iter().map(|p| (*p, *p)).collect();
        let all = rule
            .cubes
            .iter()
            .fold(IntervalSet::empty(), |all, c| c.proto.union(&all));
        if all == protocols() || !all.is_subset(&with_ports) {
            self.unsupported(Capability::PortWithoutPorts, rule.span);
            return None;
        }
        if all.contains(UDPLITE) {
            self.unsupported(Capability::UdpLiteNat, rule.span);
            return None;
        }
        let numbers = all.ranges().iter().flat_map(|(a, b)| *a..=*b);
        Some(
            numbers
                .map(|n| Line::new(vec![Test::protocol(n)], then()))
                .collect(),
        )
    }
}
