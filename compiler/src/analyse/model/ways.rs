//! Where packets come from and go to, in the eyes of a stage.
//!
//! Loopback traffic, what comes in by `lo` and what this host sends out by it, is meant only by a
//! cube that names `lo`. So a cube means up to five kinds of packets, a region for each.

use super::ifaces::HOST;
use super::space::{Space, V4};
use super::view::{Moved, View};
use crate::ir::{Side, Stage};
use crate::packet::{IntervalSet, Region, Values};

/// The sides that a cube speaks of.
#[derive(Clone, Copy)]
pub(super) struct Spoken<'a> {
    pub(super) ingress: &'a Side,
    pub(super) egress: &'a Side,
    /// Whether it names `lo`, as the way in and as the way out; `None` when it need not.
    pub(super) named: Option<[bool; 2]>,
}

/// Multicast and broadcast addresses. That of a subnet's broadcast cannot be told from that of a
/// host.
pub(super) fn groups(family: u128) -> Values {
    if family == V4 {
        let ranges = [(0xe000_0000, 0xefff_ffff), (0xffff_ffff, 0xffff_ffff)];
        Values::of(&ranges.into_iter().collect::<IntervalSet<u128>>())
            .unwrap_or(Values::one(0xffff_ffff))
    } else {
        Values::Range(0xff << 120, u128::MAX)
    }
}

/// The packets of `hull` that this host sends on when they come to a stage, and the others: those that
/// nobody has routed yet, this host's own, and what is for it. As regions that do not overlap.
pub(super) fn sent_on(space: &Space, view: View, hull: &Region) -> (Option<Region>, Vec<Region>) {
    let at = space.at_fixed();
    let egress = match (view.stage, view.moved) {
        (Stage::Guard | Stage::Steer, _) | (_, Moved::Here) => return (None, vec![hull.clone()]),
        (_, Moved::No) => at.egress,
        (_, Moved::Routed | Moved::To(_)) => at.detour,
    };
    let (host, ifaces) = (Values::one(HOST), space.ifaces.interfaces());
    let arriving = hull.narrowed(at.ingress, &ifaces);
    let part = |values| arriving.as_ref()?.narrowed(egress, values);
    let own = hull.narrowed(at.ingress, &host);
    (part(&ifaces), own.into_iter().chain(part(&host)).collect())
}

/// The packets of `body` that take such a way.
pub(super) fn ways(
    space: &Space,
    spoken: Spoken,
    view: View,
    body: &Region,
    out: &mut Vec<Region>,
) {
    let lo = Values::one(space.ifaces.loopback());
    let sides = (
        space.ifaces.values(spoken.ingress),
        space.ifaces.values(spoken.egress),
    );
    let (Some(ingress), Some(egress)) = sides else {
        return;
    };
    let mut ways = Ways {
        space,
        body,
        ingress,
        egress,
        lo,
        named: spoken.named.unwrap_or([true; 2]),
        out,
    };
    match (view.stage, view.moved) {
        (Stage::Guard, _) => ways.arriving(),
        (Stage::Steer, _) => ways.before_routing(spoken.egress),
        (Stage::Filter, Moved::No) => ways.plain(),
        (Stage::Filter, Moved::Here) => ways.taken(),
        (Stage::Filter, Moved::Routed | Moved::To(_)) => ways.detours(),
        (Stage::Egress, Moved::No) => ways.leaving(space.at_fixed().egress),
        (Stage::Egress, _) => ways.leaving(space.at_fixed().detour),
    }
}

struct Ways<'a> {
    space: &'a Space,
    body: &'a Region,
    ingress: Values,
    egress: Values,
    lo: Values,
    named: [bool; 2],
    out: &'a mut Vec<Region>,
}

impl Ways<'_> {
    /// Adds the part of the body whose numbers in some dimensions are among these; none when a set
    /// of them is empty.
    fn add(&mut self, asked: &[(usize, Option<Values>)]) {
        let mut dims = self.body.dims().to_vec();
        for (at, values) in asked {
            let (Some(dim), Some(values)) = (dims.get_mut(*at), values) else {
                return;
            };
            if !dim.is_subset(values) {
                let Some(both) = dim.intersection(values) else {
                    return;
                };
                *dim = both;
            }
        }
        self.out.push(Region::new(dims));
    }

    /// The numbers of interfaces but `lo`, and of the host.
    fn wire(&self, values: &Values) -> Option<Values> {
        values.difference(&self.lo)
    }

    fn everywhere_but(&self, values: &Values) -> Option<Values> {
        Values::Range(HOST, self.space.ifaces.largest()).difference(values)
    }

    /// What comes in by an interface, before anybody knows where it goes.
    fn arriving(&mut self) {
        let at = self.space.at_fixed();
        let come = self.ingress.difference(&Values::one(HOST));
        self.add(&[(at.ingress, come.and_then(|v| self.wire(&v)))]);
        if self.named[0] {
            self.add(&[(at.ingress, self.ingress.intersection(&self.lo))]);
        }
    }

    /// Where the packet's own destination is.
    fn plain(&mut self) {
        let at = self.space.at_fixed();
        let egress = self.wire(&self.egress);
        self.add(&[(at.ingress, self.wire(&self.ingress)), (at.egress, egress)]);
        self.loopback(at.egress);
    }

    /// Loopback traffic, if it is spoken of.
    fn loopback(&mut self, egress: usize) {
        let at = self.space.at_fixed();
        if self.named[0] {
            let by = self.ingress.intersection(&self.lo);
            self.add(&[(at.ingress, by), (egress, Some(self.egress.clone()))]);
        }
        if self.named[1] {
            let own = self.ingress.intersection(&Values::one(HOST));
            let by = self.egress.intersection(&self.lo);
            self.add(&[(at.ingress, own), (at.egress, by)]);
        }
    }

    /// Steer: what goes to a group of receivers goes elsewhere, even if this host is one of them.
    fn before_routing(&mut self, egress: &Side) {
        let at = self.space.at_fixed();
        let groups = groups(self.space.family(self.body));
        let start = self.out.len();
        self.plain();
        if egress.host && egress.ifaces.is_empty() {
            for region in self.out.split_off(start) {
                let single = region
                    .dim(at.destination)
                    .and_then(|v| v.difference(&groups));
                self.out
                    .extend(single.map(|v| region.with(at.destination, v)));
            }
        } else if !egress.host {
            let host = Some(Values::one(HOST));
            let wire = self.wire(&self.ingress);
            let group = Some(groups);
            self.add(&[
                (at.ingress, wire),
                (at.egress, host.clone()),
                (at.destination, group.clone()),
            ]);
            if self.named[0] {
                let by = self.ingress.intersection(&self.lo);
                self.add(&[(at.ingress, by), (at.egress, host), (at.destination, group)]);
            }
        }
    }

    /// What a proxy takes goes to this host.
    fn taken(&mut self) {
        let at = self.space.at_fixed();
        if !self.egress.contains(HOST) {
            return;
        }
        let away = self.everywhere_but(&self.lo.clone());
        self.add(&[(at.ingress, self.wire(&self.ingress)), (at.egress, away)]);
        if self.named[0] {
            self.add(&[(at.ingress, self.ingress.intersection(&self.lo))]);
        }
        if self.named[1] {
            let own = self.ingress.intersection(&Values::one(HOST));
            self.add(&[(at.ingress, own), (at.egress, Some(self.lo.clone()))]);
        }
    }

    /// Steer has given it another destination or table. What this host sends and is led back by
    /// `lo` is judged as what leaves by its first way.
    fn detours(&mut self) {
        let at = self.space.at_fixed();
        let (wire, lo) = (self.wire(&self.ingress), Some(self.lo.clone()));
        let host = Values::one(HOST);
        let own = self.ingress.intersection(&host);
        let others = self.everywhere_but(&self.lo.clone());
        let detour = self.wire(&self.egress);
        self.add(&[
            (at.ingress, wire.clone()),
            (at.egress, others),
            (at.detour, detour.clone()),
        ]);
        let come = wire.and_then(|v| v.difference(&host));
        let back = self.egress.intersection(&self.lo);
        self.add(&[(at.ingress, come), (at.detour, back.clone())]);
        self.add(&[
            (at.ingress, own.clone()),
            (at.egress, detour),
            (at.detour, lo),
        ]);
        if self.named[0] {
            let by = self.ingress.intersection(&self.lo);
            self.add(&[(at.ingress, by), (at.detour, Some(self.egress.clone()))]);
        }
        if self.named[1] {
            self.add(&[(at.ingress, own), (at.egress, back)]);
        }
    }

    /// Egress: what leaves by an interface.
    fn leaving(&mut self, out: usize) {
        let at = self.space.at_fixed();
        let host = Values::one(HOST);
        let away = self.egress.difference(&host);
        let wire = away.as_ref().and_then(|v| self.wire(v));
        self.add(&[(at.ingress, Some(self.ingress.clone())), (out, wire)]);
        let by = self.egress.intersection(&self.lo);
        if self.named[0] {
            self.add(&[
                (at.ingress, self.ingress.difference(&host)),
                (out, by.clone()),
            ]);
        }
        if self.named[1] {
            self.add(&[(at.ingress, self.ingress.intersection(&host)), (out, by)]);
        }
    }
}
