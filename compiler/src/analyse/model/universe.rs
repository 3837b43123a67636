//! Which packets there can be.

use super::Model;
use super::ifaces::HOST;
use super::lines::FAMILIES;
use super::space::{Dim, zones};
use super::view::{Moved, View};
use crate::field::{CT_DIRECTION, CT_MARK, CT_STATE, Header, IP_FRAGMENT};
use crate::ir::{Cube, Side, Stage};
use crate::packet::{AddrSet, IfaceSet, Pattern, Region, Values};

impl Model<'_> {
    /// The packets that can reach a stage: what arrives, what this machine sends, and what it sends
    /// to itself. Regions do not overlap.
    pub fn universe(&self, stage: Stage) -> Vec<Region> {
        let mut out = Vec::new();
        for family in FAMILIES {
            let mut all = self.space.all(family);
            if stage != Stage::Guard {
                // Later stages see whole packets.
                all = self.fixed(&all, &Dim::Header(Header::Transport), 1);
            }
            let ways = self.ways(stage);
            out.extend(ways.into_iter().filter_map(|[from, to, detour]| {
                let part = self.space.narrowed(&all, &Dim::Ingress, &from)?;
                let part = self.space.narrowed(&part, &Dim::Egress, &to)?;
                let part = self.space.narrowed(&part, &Dim::Detour, &detour)?;
                Some(self.plausible(part, stage, from == Values::one(HOST)))
            }));
        }
        out
    }

    /// Where packets come from, where their own destination is, and where another one can be. What
    /// arrives does not leave by `lo`, and what this machine sends to itself does.
    fn ways(&self, stage: Stage) -> Vec<[Values; 3]> {
        let loopback = Values::one(self.space.ifaces.loopback());
        let host = Values::one(HOST);
        let every = self.space.ifaces.every();
        let anywhere = every.difference(&loopback).unwrap_or_else(|| host.clone());
        let mut ways = Vec::new();
        if let Some(wire) = anywhere.difference(&host) {
            ways.push([wire, anywhere.clone(), anywhere.clone()]);
        }
        ways.push([loopback, host.clone(), anywhere]);
        if let (false, Some(out)) = (stage == Stage::Guard, every.difference(&host)) {
            ways.push([host, out.clone(), out]);
        }
        ways
    }

    /// A region without what packets from there cannot have: a sender when they arrive, a frame
    /// when they are this machine's own, and a known flow in any case.
    fn plausible(&self, mut region: Region, stage: Stage, local: bool) -> Region {
        for dim in &self.space.dims {
            let gone = match dim {
                Dim::Header(Header::Owner) | Dim::Principal(_) | Dim::Cgroup(_) => !local,
                Dim::Header(Header::Ethernet | Header::Vlan) => local,
                Dim::Field(f) => [CT_STATE, CT_DIRECTION].contains(f),
                _ => false,
            };
            if gone {
                region = self.fixed(&region, dim, 0);
            }
        }
        if let Some(at) = self.space.at(&Dim::Field(CT_MARK)) {
            region = region.with(at, self.flow_marks(stage));
        }
        region
    }

    fn fixed(&self, region: &Region, dim: &Dim, value: u128) -> Region {
        let at = self.space.at(dim);
        at.map_or_else(|| region.clone(), |at| region.with(at, Values::one(value)))
    }

    /// Packets that there cannot be: an address behind a zone is reached by that zone's
    /// interfaces, unless it is one of this machine's own; and only later fragments lack the header
    /// behind IP.
    pub fn impossible(&self, moved: Moved) -> Vec<Region> {
        let mut out: Vec<Region> = FAMILIES.into_iter().map(|f| self.headless(f)).collect();
        for zone in zones(self.policy) {
            let Some(net) = &zone.net else { continue };
            let ifaces = &self.space.ifaces;
            // What this machine sends to itself leaves by `lo`.
            let own = IfaceSet::of([Pattern::Name("lo".to_owned())]);
            let reached = [
                Side::host(),
                Side::ifaces(own),
                Side::ifaces(zone.ifaces.clone()),
            ];
            let mut reached = reached.iter().filter_map(|side| ifaces.values(side));
            let elsewhere = reached.try_fold(ifaces.every(), |left, side| left.difference(&side));
            let Some(elsewhere) = elsewhere else { continue };
            for region in self.behind(net, Moved::No) {
                out.extend(self.space.narrowed(&region, &Dim::Egress, &elsewhere));
            }
            if matches!(moved, Moved::Routed | Moved::To(_)) {
                for region in self.behind(net, moved) {
                    out.extend(self.space.narrowed(&region, &Dim::Detour, &elsewhere));
                }
            }
        }
        out
    }

    /// Whole packets without the header behind IP.
    fn headless(&self, family: u128) -> Region {
        let all = self.fixed(&self.space.all(family), &Dim::Header(Header::Transport), 0);
        self.fixed(&all, &Dim::Field(IP_FRAGMENT), 0)
    }

    /// Packets whose destination, once moved, is in `net`.
    fn behind(&self, net: &AddrSet, moved: Moved) -> Vec<Region> {
        let cube = Cube {
            daddr: net.clone(),
            ..Cube::any()
        };
        let view = View {
            stage: Stage::Filter,
            moved,
            untracked: false,
        };
        self.tables().wherever(&cube, view)
    }
}
