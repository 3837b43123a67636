//! Steer: where a new flow goes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::ControlFlow;

use super::decide::Passage;
use super::decision::{Fact, Outcome, RuleId, Steered};
use super::facts;
use super::packet::Place;
use super::view::{Towards, Track};
use crate::field::DPORT;
use crate::ir::{Down, Nat, Proxy, ProxyId, Rule, Stage, Verdict};

impl<'a> Passage<'a> {
    /// Each new flow is asked about, and each packet that is not tracked. What no rule takes goes
    /// direct.
    pub(super) fn steer(&mut self) -> ControlFlow<Outcome> {
        if self.settled {
            return ControlFlow::Continue(());
        }
        self.view.egress = facts::before_routing(self.packet);
        if !self.view.loopback && self.packet.arrives() && self.is_for_proxy_socket() {
            self.fact(Fact::ProxySocket);
            return ControlFlow::Break(Outcome::Deny);
        }
        let decided = if self.ir.steer.is_empty() {
            None
        } else {
            self.enter(Stage::Steer);
            self.first_match(Stage::Steer)
        };
        self.view.egress = Towards::from(&self.packet.egress);
        let Some((id, verdict, rule)) = decided else {
            if !self.ir.steer.is_empty() {
                self.fact(if self.view.loopback {
                    Fact::Loopback
                } else {
                    Fact::Implied
                });
            }
            self.steered(Steered::Direct, None);
            return ControlFlow::Continue(());
        };
        self.go(id, verdict)?;
        self.admit(id, rule)
    }

    /// Does what the verdict says.
    ///
    /// A packet that is not tracked has no flow whose addresses could be rewritten: `redirect` and
    /// `dnat` leave it as it is.
    fn go(&mut self, id: RuleId, verdict: &Verdict) -> ControlFlow<Outcome> {
        let tracked = self.view.track != Track::Untracked;
        match verdict {
            Verdict::Deny => {
                self.decision.by = Some(id);
                return ControlFlow::Break(Outcome::Deny);
            }
            Verdict::Redirect { port } if tracked => self.redirect(id, *port),
            Verdict::Dnat(nat) if tracked => self.dnat(id, nat),
            Verdict::Proxy(proxy) => return self.capture(id, *proxy),
            Verdict::Route { table } => {
                self.steered(Steered::Route { table: *table }, Some(id));
                self.view.egress = self.after_detour();
            }
            _ => self.steered(Steered::Direct, Some(id)),
        }
        ControlFlow::Continue(())
    }

    fn redirect(&mut self, id: RuleId, port: Option<u16>) {
        self.view.daddr = self.own_address();
        self.view.dport = port.or(self.view.dport);
        self.view.egress = Towards::Host;
        self.steered(Steered::Redirect { port }, Some(id));
    }

    /// The address that a redirected flow goes to: this host's own by loopback, another's by the
    /// address of the interface that it comes in by, when that is known.
    fn own_address(&self) -> IpAddr {
        let was = self.view.daddr;
        match &self.packet.ingress {
            Place::Host if was.is_ipv4() => Ipv4Addr::LOCALHOST.into(),
            Place::Host => Ipv6Addr::LOCALHOST.into(),
            Place::Iface(name) => self.state.address(name, was).unwrap_or(was),
        }
    }

    fn dnat(&mut self, id: RuleId, nat: &Nat) {
        let subject = self.subject(id, self.view.daddr);
        let record = self.state.flows.is_some();
        let Some((addr, port)) = self.state.turns.choose(nat, subject, record) else {
            self.steered(Steered::Direct, Some(id));
            return;
        };
        self.view.daddr = addr;
        self.view.dport = port;
        self.view.egress = self.after_detour();
        self.steered(Steered::Dnat { addr, port }, Some(id));
    }

    /// Where a packet goes by another address or table. What this host sends and is led back by
    /// `lo` is judged as what leaves by its first way: it is loopback traffic when it comes in.
    pub(super) fn after_detour(&self) -> Towards<'a> {
        let packet = self.packet;
        let first = !packet.arrives() && (packet.detour.is_loopback() || packet.is_loopback());
        Towards::from(if first {
            &packet.egress
        } else {
            &packet.detour
        })
    }

    /// Hands a flow to a proxy, if it listens. While it does not, the flow is denied, or goes its
    /// way as if no rule had taken it.
    fn capture(&mut self, id: RuleId, proxy_id: ProxyId) -> ControlFlow<Outcome> {
        let Some(proxy) = self.ir.proxies.get(proxy_id) else {
            return ControlFlow::Continue(());
        };
        if self.state.is_proxy_up(proxy_id) {
            self.mark(proxy.mark, true);
            self.proxy = Some(proxy_id);
            self.view.egress = Towards::Host;
            self.steered(Steered::Proxy(proxy_id), Some(id));
            return ControlFlow::Continue(());
        }
        self.fact(Fact::ProxyDown);
        match proxy.down {
            Down::Deny => {
                self.decision.by = Some(id);
                ControlFlow::Break(Outcome::Deny)
            }
            Down::Direct => {
                self.steered(Steered::Direct, Some(id));
                ControlFlow::Continue(())
            }
        }
    }

    /// `and allow`, a redirect and a proxy admit the flow. A packet without a flow is not admitted
    /// by it: filter judges it.
    fn admit(&mut self, id: RuleId, rule: &Rule) -> ControlFlow<Outcome> {
        let taken = matches!(
            self.decision.steered,
            Some(Steered::Redirect { .. } | Steered::Proxy(_))
        );
        let down = matches!(rule.verdict, Some(Verdict::Proxy(_))) && self.proxy.is_none();
        self.admitted =
            matches!(self.view.track, Track::Flow { .. }) && (taken || rule.admit && !down);
        if !self.admitted {
            return ControlFlow::Continue(());
        }
        self.decision.by = Some(id);
        // Its first packet may have come this far in a section of single packets.
        if self.ir.strict_tcp && !facts::is_strictly_opening(self.packet) {
            self.fact(Fact::NotSyn);
            return ControlFlow::Break(Outcome::Deny);
        }
        ControlFlow::Continue(())
    }

    /// Whether the packet is addressed to the socket of a proxy, which takes only what steer gives
    /// it.
    fn is_for_proxy_socket(&self) -> bool {
        let port = self.view.field(DPORT);
        let to_host = self.view.egress == Towards::Host;
        let at = |addr: IpAddr, own: u16| {
            let here = if addr.is_unspecified() {
                to_host
            } else {
                addr == self.view.daddr
            };
            !addr.is_loopback() && here && port == Some(u64::from(own))
        };
        let hit = |proxy: &Proxy| match (self.view.daddr, proxy.v4, proxy.v6) {
            (IpAddr::V4(_), Some((addr, own)), _) => at(addr.into(), own),
            (IpAddr::V6(_), _, Some((addr, own))) => at(addr.into(), own),
            _ => false,
        };
        let takes = |p: &Proxy| match u64::from(self.packet.proto) {
            crate::field::TCP => p.tcp,
            crate::field::UDP => p.udp,
            _ => false,
        };
        self.ir.proxies.iter().any(|p| takes(p) && hit(p))
    }
}
