//! What the language says of packets before and after the rules of a stage, as regions.

use super::Model;
use super::lines::FAMILIES;
use super::space::Dim;
use super::view::View;
use crate::field::{DPORT, Field, Header, ICMP, ICMPV6, IP_FRAGMENT};
use crate::interpret::Fact;
use crate::ir::{Cube, Side, Stage};
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
            Phase::Guard if self.ir.guard.is_empty() => vec![],
            Phase::Guard => {
                let regions = self.unconditional_icmp(Stage::Guard);
                vec![line(Fact::UnconditionalIcmp, Ending::HandOn, regions)]
            }
            Phase::Lookup => self.lookup(view),
            Phase::Steer => {
                let sockets = self.proxy_sockets();
                vec![line(Fact::ProxySocket, Ending::Drop, sockets)]
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
        out.push(line(
            Some(Fact::UnconditionalIcmp),
            Ending::Pass,
            self.unconditional_icmp(Stage::Steer),
        ));
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

    /// Packets that `strict tcp` denies, where the policy has something to say.
    fn not_syn_of_touched(&self) -> Vec<Region> {
        let touched = self.touched();
        let both = |r: &Region| -> Vec<Region> {
            touched.iter().filter_map(|t| r.intersection(t)).collect()
        };
        self.no_syn().iter().flat_map(both).collect()
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
