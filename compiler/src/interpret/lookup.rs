//! The flow lookup, between guard and steer.

use std::ops::ControlFlow;

use super::cube::{check_here, names_loopback};
use super::decide::Passage;
use super::decision::{Fact, Outcome, Steered};
use super::facts;
use super::flow::Found;
use super::packet::Place;
use super::view::{Towards, Track, View};
use crate::field::{CT_DIRECTION, CT_MARK, CT_STATE};
use crate::ir::{Down, ProxyId, Stage};

const NEW: u64 = 0;
const ESTABLISHED: u64 = 1;
const RELATED: u64 = 2;
const UNTRACKED: u64 = 3;

impl Passage<'_> {
    /// Packets of known flows follow them; of the others, those that cannot open one are denied.
    /// What is left goes on: as the first packet of a flow, or untracked.
    pub(super) fn look_up(&mut self) -> ControlFlow<Outcome> {
        self.view.loopback = self.packet.is_loopback();
        self.view.stage = Stage::Steer;
        self.view.mark = self.decision.mark;
        if facts::is_later_fragment(self.packet) {
            self.fact(Fact::Reassembled);
            return ControlFlow::Break(Outcome::Allow);
        }
        if self.decision.notrack || facts::is_never_tracked(self.packet) {
            self.view.track = Track::Untracked;
            return self.unconditional();
        }
        let Some(flows) = &self.state.flows else {
            return self.told();
        };
        let found = flows.find(self.packet, self.quoted);
        match found.filter(|_| facts::has_sound_flags(self.packet)) {
            Some(found) => self.follow(found),
            None => self.unknown(),
        }
    }

    /// The packet itself says what the lookup finds.
    fn told(&mut self) -> ControlFlow<Outcome> {
        let field = |field| self.packet.field(field).unwrap_or(0);
        let state = field(CT_STATE);
        let mark = u32::try_from(field(CT_MARK)).unwrap_or(u32::MAX);
        let reply = field(CT_DIRECTION) == 1;
        if state == UNTRACKED {
            self.view.track = Track::Untracked;
            return self.unconditional();
        }
        self.view.track = Track::Flow { state, mark, reply };
        self.restore(mark, reply);
        if state == NEW {
            self.unconditional()?;
            return self.new_flow();
        }
        self.view.egress = Towards::from(&self.packet.egress);
        if self.is_stateless() {
            self.unconditional()?;
            self.settled = true;
            return ControlFlow::Continue(());
        }
        self.fact(if state == RELATED {
            Fact::Related
        } else {
            Fact::Established
        });
        ControlFlow::Break(Outcome::Allow)
    }

    /// A packet of a known flow: steer and egress have decided, and filter is not asked again, but
    /// where packets are judged one by one.
    fn follow(&mut self, found: Found) -> ControlFlow<Outcome> {
        let Some(flow) = self.state.flows.as_mut().and_then(|f| f.get_mut(found.id)) else {
            return self.unknown();
        };
        flow.replied |= found.reply && !found.related;
        let flow = flow.clone();
        self.flow = Some(found.id);
        self.settled = true;
        self.admitted = flow.admitted;
        let state = match found.related {
            true => RELATED,
            false if flow.replied => ESTABLISHED,
            false => NEW,
        };
        self.view.track = Track::Flow {
            state,
            mark: flow.mark,
            reply: found.reply,
        };
        self.restore(flow.mark, found.reply);
        self.rewrite(&flow, found.reply);
        if !found.reply {
            if matches!(flow.steered, Some(Steered::Route { .. })) {
                self.view.egress = self.after_detour();
            }
            self.decision.steered = flow.steered;
            self.decision.sourced = flow.sourced;
            if let Some(id) = flow.proxy {
                self.recapture(id, found.related)?;
            }
        }
        // What this host sends to itself is known when it left, and is judged as it comes in.
        let comes_back = self.packet.ingress.is_loopback() && state == NEW;
        if self.is_stateless() {
            return self.unconditional();
        }
        if comes_back && self.filter_names_loopback() {
            return ControlFlow::Continue(());
        }
        self.fact(if found.related {
            Fact::Related
        } else {
            Fact::Established
        });
        ControlFlow::Break(Outcome::Allow)
    }

    /// A later packet of a flow that a proxy has taken is handed to it. While it does not listen, the packet is
    /// denied, or goes its way without its mark. So does a `related` error about one of the proxy's answers.
    fn recapture(&mut self, id: ProxyId, related: bool) -> ControlFlow<Outcome> {
        let Some(proxy) = self.ir.proxies.get(id) else {
            return ControlFlow::Continue(());
        };
        if related {
            self.decision.steered = Some(Steered::Direct);
            return ControlFlow::Continue(());
        }
        if self.state.is_proxy_up(id) {
            self.mark(proxy.mark, false);
            return ControlFlow::Continue(());
        }
        self.fact(Fact::ProxyDown);
        match proxy.down {
            Down::Deny => ControlFlow::Break(Outcome::Deny),
            Down::Direct => {
                self.decision.steered = Some(Steered::Direct);
                ControlFlow::Continue(())
            }
        }
    }

    /// The addresses of a later packet are rewritten as those of the first were: the destination
    /// before filter, the source behind it. That of an answer gets the port that the flow began with.
    fn rewrite(&mut self, flow: &super::flow::Flow, reply: bool) {
        let (from, to, port) = if reply {
            (flow.reply.daddr, flow.original.saddr, flow.original.sport)
        } else {
            (flow.original.daddr, flow.reply.saddr, flow.reply.sport)
        };
        self.view.egress = Towards::from(&self.packet.egress);
        if self.view.daddr == from && from != to {
            self.view.daddr = to;
            self.view.egress = Towards::from(&self.packet.detour);
        }
        if self.quoted.is_none() {
            self.view.dport = Some(port);
        }
        if reply {
            self.view.original = flow.original.daddr;
        }
    }

    /// A packet of no known flow.
    fn unknown(&mut self) -> ControlFlow<Outcome> {
        if self.quoted.is_none() && facts::can_open(self.packet) {
            self.view.track = Track::Flow {
                state: NEW,
                mark: 0,
                reply: false,
            };
            self.unconditional()?;
            self.opens = true;
            return self.new_flow();
        }
        self.view.track = Track::Nothing;
        self.unconditional()?;
        self.view.egress = Towards::from(&self.packet.egress);
        if self.is_stateless() {
            self.settled = true;
            return ControlFlow::Continue(());
        }
        if self.is_judged() {
            self.fact(Fact::Invalid);
            return ControlFlow::Break(Outcome::Deny);
        }
        self.untouched()
    }

    /// `strict tcp` asks for a SYN, but where packets are judged one by one.
    fn new_flow(&mut self) -> ControlFlow<Outcome> {
        self.view.egress = Towards::from(&self.packet.egress);
        let strict = self.ir.strict_tcp && !facts::is_strictly_opening(self.packet);
        if strict && self.is_touched() && !self.is_stateless() {
            self.fact(Fact::NotSyn);
            return ControlFlow::Break(Outcome::Deny);
        }
        ControlFlow::Continue(())
    }

    /// What always passes, whatever its state.
    fn unconditional(&mut self) -> ControlFlow<Outcome> {
        if self.ir.strict_icmp || !facts::is_unconditional_icmp(self.packet) {
            return ControlFlow::Continue(());
        }
        self.fact(Fact::UnconditionalIcmp);
        ControlFlow::Break(Outcome::Allow)
    }

    /// An invalid packet that the policy has nothing to say about.
    fn untouched(&mut self) -> ControlFlow<Outcome> {
        self.fact(if self.view.loopback {
            Fact::Loopback
        } else {
            Fact::NotGoverned
        });
        ControlFlow::Break(Outcome::Allow)
    }

    /// Whether the filter judges the packet: it governs its direction. Loopback traffic is outside,
    /// unless sections name it.
    fn is_judged(&self) -> bool {
        if self.view.loopback {
            return self.filter_names_loopback();
        }
        self.is_governed()
    }

    /// Whether flows of the packet's direction open as the policy says: the filter judges it, or it
    /// arrives and there are rules that steer what arrives.
    fn is_touched(&self) -> bool {
        let steered = !self.view.loopback && self.packet.arrives() && !self.ir.steer.is_empty();
        self.is_judged() || steered
    }

    /// Whether filter decides the packet's direction.
    pub(super) fn is_governed(&self) -> bool {
        let governs = self.ir.governs;
        match (&self.packet.ingress, self.view.egress) {
            (Place::Host, _) => governs.output,
            (Place::Iface(_), Towards::Host) => governs.input,
            (Place::Iface(_), _) => governs.forward,
        }
    }

    /// Whether a section speaks of loopback traffic of the packet's direction.
    pub(super) fn filter_names_loopback(&self) -> bool {
        let arriving = self.packet.arrives();
        let here = |c: &crate::ir::Cube| {
            let direction = if arriving {
                c.egress.host
            } else {
                c.ingress.host
            };
            direction && names_loopback(c, arriving)
        };
        self.ir
            .filter
            .iter()
            .any(|rule| rule.cubes.iter().any(here))
    }

    /// Whether the packet is, as filter sees it, in a section whose packets are judged one by one.
    pub(super) fn is_stateless(&self) -> bool {
        let view = View {
            stage: Stage::Filter,
            ..self.view.clone()
        };
        let blocks = self.ir.blocks.iter();
        let mut sections = blocks.filter(|b| b.stateless && b.stage == Stage::Filter);
        sections.any(|b| {
            let scope = &mut b.scope.iter();
            scope.any(|c| check_here(c, &view, self.state).is_ok())
        })
    }
}
