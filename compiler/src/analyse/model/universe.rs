//! Which packets there can be.

use super::Model;
use super::ifaces::HOST;
use super::lines::FAMILIES;
use super::space::{Dim, zones};
use super::view::Moved;
use crate::field::Header;
use crate::ir::{Side, Stage};
use crate::packet::{AddrSet, Region, Values};

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
            out.extend(ways.into_iter().filter_map(|(from, to)| {
                let part = self.space.narrowed(&all, &Dim::Ingress, &from)?;
                let part = self.space.narrowed(&part, &Dim::Egress, &to)?;
                let part = self
                    .space
                    .narrowed(&part, &Dim::Detour, &self.detours(&from)?)?;
                Some(self.plausible(part, from == Values::one(HOST)))
            }));
        }
        out
    }

    /// Where packets come from and where their own destination is.
    fn ways(&self, stage: Stage) -> Vec<(Values, Values)> {
        let largest = self.space.ifaces.largest();
        let lo = self.space.ifaces.number("lo").map_or(HOST, |lo| lo);
        let loopback = Values::one(lo);
        let host = Values::one(HOST);
        let every = Values::Range(HOST, largest);
        let wire = every
            .difference(&loopback)
            .and_then(|v| v.difference(&host));
        let anywhere = every.difference(&loopback).unwrap_or_else(|| host.clone());
        let mut ways = Vec::new();
        if let Some(wire) = wire {
            ways.push((wire, anywhere));
        }
        ways.push((loopback, host.clone()));
        if let (false, Some(out)) = (stage == Stage::Guard, every.difference(&host)) {
            ways.push((host, out));
        }
        ways
    }

    /// Where packets can be led that come from there: what arrives does not leave by `lo`, and what
    /// this host sends to itself does.
    fn detours(&self, from: &Values) -> Option<Values> {
        let every = Values::Range(HOST, self.space.ifaces.largest());
        let never = if *from == Values::one(HOST) {
            HOST
        } else {
            self.space.ifaces.loopback()
        };
        every.difference(&Values::one(never))
    }

    /// A region without what packets from there cannot have: a sender when they arrive, a frame
    /// when they are this machine's own.
    fn plausible(&self, mut region: Region, local: bool) -> Region {
        for dim in &self.space.dims {
            let gone = match dim {
                Dim::Header(Header::Owner) | Dim::Principal(_) | Dim::Cgroup(_) => !local,
                Dim::Header(Header::Ethernet | Header::Vlan) => local,
                _ => false,
            };
            if gone {
                region = self.fixed(&region, dim, 0);
            }
        }
        region
    }

    fn fixed(&self, region: &Region, dim: &Dim, value: u128) -> Region {
        let at = self.space.at(dim);
        at.map_or_else(|| region.clone(), |at| region.with(at, Values::one(value)))
    }

    /// Packets that there cannot be: an address behind a zone is reached by that zone's
    /// interfaces, unless it is one of this machine's own.
    pub fn impossible(&self, moved: Moved) -> Vec<Region> {
        let mut out = Vec::new();
        for zone in zones(self.policy) {
            let Some(net) = &zone.net else { continue };
            let reached = Side {
                host: true,
                ifaces: zone.ifaces.clone(),
            };
            let full = Values::Range(HOST, self.space.ifaces.largest());
            let elsewhere = match self.space.ifaces.values(&reached) {
                Some(values) => full.difference(&values),
                None => Some(full),
            };
            let Some(elsewhere) = elsewhere else { continue };
            for region in self.behind(net, Moved::No) {
                out.extend(self.space.narrowed(&region, &Dim::Egress, &elsewhere));
            }
            if moved != Moved::No {
                for region in self.behind(net, moved) {
                    out.extend(self.space.narrowed(&region, &Dim::Detour, &elsewhere));
                }
            }
        }
        out
    }

    /// Packets whose destination, once moved, is in `net`.
    fn behind(&self, net: &AddrSet, moved: Moved) -> Vec<Region> {
        let cube = crate::ir::Cube {
            daddr: net.clone(),
            families: net.families(),
            ..crate::ir::Cube::any()
        };
        let view = super::View {
            stage: Stage::Filter,
            moved,
            untracked: false,
        };
        self.regions(&[cube], view)
    }
}
