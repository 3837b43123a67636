//! What the language says of packets before and after the rules of a stage, as regions.

use super::Model;
use super::ifaces::HOST;
use super::lines::{FAMILIES, unconditional_icmp};
use super::space::{Dim, V4};
use super::view::View;
use super::ways::groups;
use crate::field::{
    DPORT, Field, Header, ICMP, ICMP_TYPE, ICMPV6, IP_FRAGMENT, TCP, TCP_FLAGS, UDP,
};
use crate::interpret::Fact;
use crate::ir::{Cube, Proxy, Side, Stage};
use crate::packet::{IfaceSet, IntervalSet, Region, Values};

/// A stage, or the flow lookup between guard and steer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    Guard,
    Lookup,
    Steer,
    Filter,
    Egress,
}

impl Phase {
    pub(crate) const ALL: [Self; 5] = [
        Self::Guard,
        Self::Lookup,
        Self::Steer,
        Self::Filter,
        Self::Egress,
    ];

    /// The stage whose rules it asks.
    pub(crate) fn stage(self) -> Option<Stage> {
        match self {
            Self::Guard => Some(Stage::Guard),
            Self::Lookup => None,
            Self::Steer => Some(Stage::Steer),
            Self::Filter => Some(Stage::Filter),
            Self::Egress => Some(Stage::Egress),
        }
    }
}

/// What a fact comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The phase is over, and the packet goes on.
    HandOn,
    /// The phase is over, and the packet goes on untracked.
    Untracked,
    /// The packet passes, and nothing else is asked.
    Pass,
    /// It is dropped.
    Drop,
}

/// A fact of the language, asked like a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FactLine {
    pub(crate) fact: Option<Fact>,
    pub(crate) ending: Ending,
    pub(crate) regions: Vec<Region>,
}

impl Model<'_> {
    /// Every packet that comes in or that this host sends; later fragments as guard sees them.
    pub fn entering(&self) -> Vec<Region> {
        let headed: IntervalSet<u64> = DPORT.def().protocols.iter().map(|p| (*p, *p)).collect();
        let icmp = [(ICMP, ICMP), (ICMPV6, ICMPV6)].into_iter().collect();
        let headed = Values::of(&headed.union(&icmp));
        let mut out = self.universe(Stage::Steer);
        for region in self.universe(Stage::Guard) {
            let later = [
                (Dim::Header(Header::Transport), Some(Values::one(0))),
                (Dim::Field(IP_FRAGMENT), Some(Values::one(1))),
                (Dim::Protocol, headed.clone()),
            ];
            out.extend(self.part(region, &later));
        }
        out
    }

    /// The part of a region whose numbers are among the values.
    fn part(&self, region: Region, asked: &[(Dim, Option<Values>)]) -> Option<Region> {
        asked.iter().try_fold(region, |region, (dim, values)| {
            self.space.narrowed(&region, dim, values.as_ref()?)
        })
    }

    fn parts(&self, asked: &[(Dim, Option<Values>)]) -> Vec<Region> {
        let all = FAMILIES.into_iter().map(|family| self.space.all(family));
        all.filter_map(|all| self.part(all, asked)).collect()
    }

    /// What is asked before the rules of a phase.
    pub(crate) fn facts_before(&self, phase: Phase, view: View) -> Vec<FactLine> {
        let line = |fact, ending, regions| FactLine {
            fact: Some(fact),
            ending,
            regions,
        };
        match phase {
            Phase::Guard if self.ir.strict_icmp || self.ir.guard.is_empty() => vec![],
            Phase::Guard => {
                let regions = self.unconditional();
                let wire = self.wire();
                let come = |r: &Region| self.space.narrowed(r, &Dim::Ingress, wire.as_ref()?);
                let regions = regions.iter().filter_map(come).collect();
                vec![line(Fact::UnconditionalIcmp, Ending::HandOn, regions)]
            }
            Phase::Lookup => self.lookup(view),
            Phase::Steer => {
                let sockets = self.ir.proxies.iter().flat_map(|p| self.sockets(p));
                vec![line(Fact::ProxySocket, Ending::Drop, sockets.collect())]
            }
            Phase::Filter => {
                vec![line(
                    Fact::NotGoverned,
                    Ending::HandOn,
                    self.not_governed(view),
                )]
            }
            Phase::Egress => {
                let local = Cube {
                    egress: Side::host(),
                    ..Cube::any()
                };
                vec![FactLine {
                    fact: None,
                    ending: Ending::HandOn,
                    regions: self.between(&local, view),
                }]
            }
        }
    }

    /// What is asked behind the rules of a phase.
    pub(crate) fn facts_behind(&self, phase: Phase) -> Vec<FactLine> {
        if phase != Phase::Filter {
            return vec![];
        }
        let lo = Some(Values::one(self.space.ifaces.loopback()));
        let mut regions = self.parts(&[(Dim::Ingress, lo.clone())]);
        regions.extend(self.parts(&[(Dim::Egress, lo)]));
        vec![FactLine {
            fact: Some(Fact::Loopback),
            ending: Ending::HandOn,
            regions,
        }]
    }

    /// The numbers of interfaces but `lo`.
    fn wire(&self) -> Option<Values> {
        let every = Values::Range(HOST, self.space.ifaces.largest());
        let wire = every.difference(&Values::one(HOST))?;
        wire.difference(&Values::one(self.space.ifaces.loopback()))
    }

    /// Neighbour discovery and packet-too-big.
    fn unconditional(&self) -> Vec<Region> {
        let mut out = Vec::new();
        for cube in unconditional_icmp() {
            out.extend(self.between(&cube, View::of(Stage::Filter)));
        }
        out
    }

    /// The packets of a cube between its sides, loopback traffic or not.
    fn between(&self, cube: &Cube, view: View) -> Vec<Region> {
        let view = View {
            stage: Stage::Filter,
            ..view
        };
        let mut out = Vec::new();
        for (family, has) in FAMILIES
            .into_iter()
            .zip([cube.families.v4, cube.families.v6])
        {
            if has {
                self.tables()
                    .sides(cube, view, &self.space.all(family), &mut out);
            }
        }
        out
    }

    /// The flow lookup, for packets that belong to no known flow.
    fn lookup(&self, view: View) -> Vec<FactLine> {
        let line = |fact, ending, regions| FactLine {
            fact,
            ending,
            regions,
        };
        let later = self.parts(&[(Dim::Header(Header::Transport), Some(Values::one(0)))]);
        let protocols: IntervalSet<u64> = DPORT.def().protocols.iter().map(|p| (*p, *p)).collect();
        let icmp = [(ICMP, ICMP), (ICMPV6, ICMPV6)].into_iter().collect();
        let headed = Values::of(&protocols.union(&icmp));
        let asked = [
            (Dim::Protocol, headed),
            (Dim::Field(IP_FRAGMENT), Some(Values::one(1))),
        ];
        let later = later
            .into_iter()
            .filter_map(|r| self.part(r, &asked))
            .collect();
        let mut out = vec![line(Some(Fact::Reassembled), Ending::Pass, later)];
        if !self.ir.strict_icmp {
            out.push(line(
                Some(Fact::UnconditionalIcmp),
                Ending::Pass,
                self.unconditional(),
            ));
        }
        if view.untracked {
            return out;
        }
        out.push(line(None, Ending::Untracked, self.never_tracked()));
        if self.ir.strict_tcp {
            out.push(line(None, Ending::HandOn, self.stateless()));
            out.push(line(
                Some(Fact::NotSyn),
                Ending::Drop,
                self.not_syn_of_touched(),
            ));
        }
        out
    }

    /// Neighbour discovery, multicast listener discovery and the advertisement of multicast routers
    /// belong to no flow.
    fn never_tracked(&self) -> Vec<Region> {
        let types: IntervalSet<u64> = [(130, 136), (143, 143), (151, 151)].into_iter().collect();
        self.parts(&[
            (Dim::Protocol, Some(Values::one(ICMPV6.into()))),
            (Dim::Header(Header::Transport), Some(Values::one(1))),
            (Dim::Field(ICMP_TYPE), Values::of(&types)),
        ])
    }

    /// Sections whose packets are judged one by one.
    fn stateless(&self) -> Vec<Region> {
        let blocks = self.ir.blocks.iter();
        let sections = blocks.filter(|b| b.stateless && b.stage == Stage::Filter);
        let mut out = Vec::new();
        for section in sections {
            out.extend(self.regions(&section.scope, View::of(Stage::Filter)));
        }
        out
    }

    /// TCP packets that `strict tcp` lets open no flow.
    pub(crate) fn not_syn(&self) -> Vec<Region> {
        const SYN: u64 = 0x02;
        const ASKED: u64 = 0x17;
        let largest = TCP_FLAGS.largest();
        let flags: IntervalSet<u64> = (0..=largest)
            .filter(|f| f & ASKED != SYN)
            .map(|f| (f, f))
            .collect();
        self.parts(&[
            (Dim::Protocol, Some(Values::one(TCP.into()))),
            (Dim::Header(Header::Transport), Some(Values::one(1))),
            (Dim::Field(TCP_FLAGS), Values::of(&flags)),
        ])
    }

    /// Those of them that go where the policy has something to say.
    fn not_syn_of_touched(&self) -> Vec<Region> {
        let touched = self.touched();
        let not_syn = self.not_syn();
        let both = |r: &Region| -> Vec<Region> {
            touched.iter().filter_map(|t| r.intersection(t)).collect()
        };
        not_syn.iter().flat_map(both).collect()
    }

    fn touched(&self) -> Vec<Region> {
        let (host, wire) = (Some(Values::one(HOST)), self.wire());
        let loopback = Some(Values::one(self.space.ifaces.loopback()));
        let away = Values::Range(HOST, self.space.ifaces.largest());
        let away = away.difference(&Values::one(self.space.ifaces.loopback()));
        let governs = self.ir.governs;
        let steers = !self.ir.steer.is_empty();
        let mut out = Vec::new();
        let mut add = |on: bool, from: &Option<Values>, to: &Option<Values>| {
            if on {
                let way = [(Dim::Ingress, from.clone()), (Dim::Egress, to.clone())];
                out.extend(self.parts(&way));
            }
        };
        add(governs.input || steers, &wire, &host);
        add(governs.forward || steers, &wire, &wire);
        add(governs.output, &host, &away);
        let every = Some(Values::Range(HOST, self.space.ifaces.largest()));
        add(self.filter_names_loopback(true), &loopback, &every);
        add(self.filter_names_loopback(false), &host, &loopback);
        out
    }

    /// Whether a section speaks of loopback traffic that comes in, or of such that goes out.
    fn filter_names_loopback(&self, arriving: bool) -> bool {
        let names = |set: &IfaceSet| set.include().is_some() && set.contains("lo");
        let mut cubes = self.ir.filter.iter().flat_map(|r| &r.cubes);
        cubes.any(|c| {
            let (end, by) = if arriving {
                (&c.egress, &c.ingress)
            } else {
                (&c.ingress, &c.egress)
            };
            end.host && names(&by.ifaces)
        })
    }

    /// What comes from outside to the socket of a proxy, which takes only what steer gives it.
    fn sockets(&self, proxy: &Proxy) -> Vec<Region> {
        let protocols: IntervalSet<u64> = [(proxy.tcp, TCP), (proxy.udp, UDP)]
            .into_iter()
            .filter(|(takes, _)| *takes)
            .map(|(_, p)| (p, p))
            .collect();
        let v4 = proxy
            .v4
            .map(|(addr, port)| (V4, u128::from(u32::from(addr)), port));
        let v6 = proxy
            .v6
            .map(|(addr, port)| (super::V6, u128::from(addr), port));
        let loopback = |family, addr: u128| match family {
            V4 => addr >> 24 == 127,
            _ => addr == 1,
        };
        let sockets = v4.into_iter().chain(v6);
        let sockets = sockets.filter(|(family, addr, _)| !loopback(*family, *addr));
        let region = |(family, addr, port): (u128, u128, u16)| {
            let all = self.space.all(family);
            let mut asked = vec![
                (Dim::Ingress, self.wire()),
                (Dim::Protocol, Values::of(&protocols)),
                (Dim::Header(Header::Transport), Some(Values::one(1))),
                (Dim::Field(DPORT), Some(Values::one(port.into()))),
            ];
            if addr == 0 {
                let single = self
                    .space
                    .full(&Dim::Destination, family)
                    .difference(&groups(family));
                asked.push((Dim::Egress, Some(Values::one(HOST))));
                asked.push((Dim::Destination, single));
            } else {
                asked.push((Dim::Destination, Some(Values::one(addr))));
            }
            self.part(all, &asked)
        };
        sockets.filter_map(region).collect()
    }

    /// Packets of the directions that the policy does not govern.
    fn not_governed(&self, view: View) -> Vec<Region> {
        let wire = || Side::ifaces(IfaceSet::full());
        let governs = self.ir.governs;
        let directions = [
            (governs.input, wire(), Side::host()),
            (governs.forward, wire(), wire()),
            (governs.output, Side::host(), Side::any()),
        ];
        let open = directions.into_iter().filter(|(governed, ..)| !governed);
        open.flat_map(|(_, ingress, egress)| {
            let cube = Cube {
                ingress,
                egress,
                ..Cube::any()
            };
            self.between(&cube, view)
        })
        .collect()
    }

    /// Where a packet's own number in a field is one of these.
    pub(crate) fn field_part(
        &self,
        region: &Region,
        field: Field,
        values: &Values,
    ) -> Option<Region> {
        self.space.narrowed(region, &Dim::Field(field), values)
    }
}
