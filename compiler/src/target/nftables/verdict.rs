//! From a verdict to the statement that gives it.

use polc_bundle::Family;

use super::Build;
use super::action::{mark_flow, mark_packet};
use super::fields::{L4PROTO, among};
use super::tree::{Match, Rule as Line, Verdict as Then};
use crate::field::{DPORT, TCP};
use crate::ir::cube::protocols;
use crate::ir::{Reject, Rule, Verdict};
use crate::packet::IntervalSet;
use crate::target::Capability;
use crate::target::netfilter::Role;
use crate::target::netfilter::label::ADMITTED;
use crate::target::netfilter::sides::Hook;

impl Build<'_> {
    /// What `rule`'s verdict comes to at `hook`; `None` when that is an error, which is reported.
    pub(super) fn verdict(
        &mut self,
        rule: &Rule,
        verdict: &Verdict,
        hook: Hook,
        duty: Role,
        family: Option<Family>,
    ) -> Option<Decided> {
        let nat_later = matches!(duty, Role::Mangle { .. });
        let mut admitted = Vec::new();
        let redirected = matches!(verdict, Verdict::Redirect { .. });
        let here = match verdict {
            Verdict::Redirect { .. } | Verdict::Dnat(_) => !nat_later,
            _ => !matches!(duty, Role::Nat { .. }),
        };
        if here && (rule.admit || redirected) {
            admitted.push(format!("ct label set {ADMITTED}"));
        }
        let plain = |then| {
            Some(Decided {
                matches: vec![],
                statements: admitted.clone(),
                then,
            })
        };
        match verdict {
            Verdict::Allow | Verdict::Direct | Verdict::Route { .. } => plain(Then::Accept),
            Verdict::Deny => plain(Then::Drop),
            Verdict::Notrack => {
                let then = self.untracked();
                plain(then)
            }
            Verdict::Reject(reject) => {
                let then = self.reject(rule, *reject);
                plain(then)
            }
            Verdict::Redirect { .. } | Verdict::Dnat(_) if nat_later => plain(Then::Accept),
            Verdict::Redirect { port: None } => plain(Then::Final("redirect".to_owned())),
            Verdict::Redirect { port: Some(port) } => Some(Decided {
                matches: self.transport(rule)?,
                statements: admitted,
                then: Then::Final(format!("redirect to :{port}")),
            }),
            Verdict::Dnat(nat) | Verdict::Snat(nat) => {
                let (matches, then) = self.nat(rule, nat, hook, family?)?;
                Some(Decided {
                    matches,
                    statements: admitted,
                    then,
                })
            }
            Verdict::Masquerade => plain(Then::Final("masquerade".to_owned())),
            Verdict::Proxy(_) if matches!(duty, Role::Nat { .. }) => plain(Then::Accept),
            Verdict::Proxy(id) => self.capture(*id, hook),
        }
    }

    /// Hands a flow to a proxy: at once, or for a packet of this host by way of loopback.
    fn capture(&mut self, id: usize, hook: Hook) -> Option<Decided> {
        let proxy = self.ir.proxies.get(id)?;
        if hook == Hook::SteerPre {
            let chain = self.proxy_chains.get(id)?.clone();
            return Some(Decided {
                matches: vec![],
                statements: vec![],
                then: Then::Goto(chain),
            });
        }
        let statements = vec![
            mark_packet(proxy.mark),
            mark_flow(proxy.mark),
            format!("ct label set {ADMITTED}"),
        ];
        Some(Decided {
            matches: vec![],
            statements,
            then: Then::Accept,
        })
    }

    /// Lets a packet go on untracked. Fragments stay tracked: the kernel puts no others together,
    /// and later stages judge whole packets.
    fn untracked(&mut self) -> Then {
        let whole = Line {
            statements: vec!["notrack".to_owned()],
            ..Line::new(vec![], Then::Accept)
        };
        let fragments = ["ip frag-off & 0x3fff != 0", "exthdr frag exists"];
        let mut lines: Vec<Line> = fragments.map(|f| Line::text(f, Then::Accept)).into();
        lines.push(whole);
        Then::Goto(self.chain("untracked", lines))
    }

    fn reject(&mut self, rule: &Rule, reject: Reject) -> Then {
        let tcp = IntervalSet::one(TCP);
        let icmpx = |kind: &str| Then::Final(format!("reject with icmpx {kind}"));
        match reject {
            Reject::TcpReset => Then::Final(RESET.to_owned()),
            Reject::PortUnreachable => icmpx("port-unreachable"),
            Reject::HostUnreachable => icmpx("host-unreachable"),
            Reject::AdminProhibited => icmpx("admin-prohibited"),
            Reject::NoRoute => icmpx("no-route"),
            Reject::Default if rule.cubes.iter().all(|c| c.proto == tcp) => {
                Then::Final(RESET.to_owned())
            }
            Reject::Default if !rule.cubes.iter().any(|c| c.proto.contains(TCP)) => {
                icmpx("port-unreachable")
            }
            Reject::Default => {
                let reset = Line::new(
                    vec![among(L4PROTO, &tcp, 255)],
                    Then::Final(RESET.to_owned()),
                );
                let other = Line::new(vec![], icmpx("port-unreachable"));
                Then::Goto(self.chain("refuse", vec![reset, other]))
            }
        }
    }

    /// The condition that lets nft write a port: that the packet has one.
    pub(crate) fn transport(&mut self, rule: &Rule) -> Option<Vec<Match>> {
        let with_ports: IntervalSet<u64> = DPORT.def().protocols.iter().map(|p| (*p, *p)).collect();
        let all = rule
            .cubes
            .iter()
            .fold(IntervalSet::empty(), |all, c| c.proto.union(&all));
        if all == protocols() || !all.is_subset(&with_ports) {
            self.unsupported(Capability::PortWithoutPorts, rule.span);
            return None;
        }
        Some(vec![among(L4PROTO, &all, 255)])
    }
}

const RESET: &str = "reject with tcp reset";

/// A verdict and what must stand before it.
pub(super) struct Decided {
    pub(super) matches: Vec<Match>,
    pub(super) statements: Vec<String>,
    pub(super) then: Then,
}
