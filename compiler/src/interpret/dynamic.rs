//! Dynamic sets: what rules with `add` remember.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use super::expiring::Expiring;
use super::view::View;
use crate::ir::{DynamicSet, KeyKind};
use crate::packet::AddrSet;

/// What is remembered of a packet: an address, or both.
pub(super) type Element = (IpAddr, Option<IpAddr>);

/// A dynamic set while packets pass. It holds single addresses (or pairs), up to `max` for each
/// family, as a target keeps one set for each.
#[derive(Clone, Debug)]
pub(super) struct Members {
    pub(super) name: Arc<str>,
    pub(super) kind: KeyKind,
    /// Milliseconds after which an element leaves that was not added again.
    idle: Option<u64>,
    max: u64,
    initial: AddrSet,
    /// When the set was filled with its first elements: with the first packet.
    since: Option<u64>,
    /// The elements of each family that rules have added.
    added: [Expiring<Element, ()>; 2],
    /// How many of these the set began with.
    renewed: [u64; 2],
    /// What to answer about sources and about destinations, but for elements of `now`.
    told: Option<Told>,
}

/// The answers of a set that records nothing but what the packet under judgement adds.
#[derive(Clone, Debug)]
pub(super) struct Told {
    pub(super) source: bool,
    pub(super) dest: bool,
    pub(super) now: BTreeSet<Element>,
}

impl Members {
    pub(super) fn new(set: &DynamicSet, max: u32, told: Option<Told>) -> Self {
        Self {
            name: Arc::clone(&set.name),
            kind: set.key,
            idle: set.idle,
            max: u64::from(set.max.unwrap_or(max)),
            initial: set.initial.clone(),
            since: None,
            added: [Expiring::new(set.idle), Expiring::new(set.idle)],
            renewed: [0, 0],
            told,
        }
    }

    /// A packet comes: the clock starts with the first. A set that is told its answers forgets what
    /// the packet before has added.
    pub(super) fn begin(&mut self, now: u64) {
        self.since.get_or_insert(now);
        if let Some(told) = &mut self.told {
            told.now.clear();
        }
    }

    /// Whether the packet's source, destination (`dest`) or pair is in the set.
    pub(super) fn has(&self, view: &View, dest: bool) -> bool {
        let kind = match self.kind {
            KeyKind::Pair => KeyKind::Pair,
            _ if dest => KeyKind::Dest,
            _ => KeyKind::Source,
        };
        let element = element(kind, view);
        match &self.told {
            Some(told) => told.now.contains(&element) || if dest { told.dest } else { told.source },
            None => self.contains(&element, view.now),
        }
    }

    fn contains(&self, element: &Element, now: u64) -> bool {
        let [v4, v6] = &self.added;
        let added = if element.0.is_ipv4() { v4 } else { v6 };
        self.has_initial(element, now) || added.contains(element, now)
    }

    /// Elements that a set begins with leave after `idle`, as others do.
    fn has_initial(&self, element: &Element, now: u64) -> bool {
        let since = self.since.unwrap_or(now);
        element.1.is_none()
            && self.initial.contains(element.0)
            && self
                .idle
                .is_none_or(|idle| now < since.saturating_add(idle))
    }

    /// Puts the packet's key in, or renews its time. A full set takes nothing new.
    pub(super) fn add(&mut self, view: &View) {
        let (element, now) = (element(self.kind, view), view.now);
        if let Some(told) = &mut self.told {
            told.now.insert(element);
            return;
        }
        let known = self.contains(&element, now);
        if known && self.idle.is_none() {
            return;
        }
        let initial = self.has_initial(&element, now);
        let first = self.first_elements(element.0.is_ipv4(), now);
        let [added4, added6] = &mut self.added;
        let [renewed4, renewed6] = &mut self.renewed;
        let (added, renewed) = match element.0 {
            IpAddr::V4(_) => (added4, renewed4),
            IpAddr::V6(_) => (added6, renewed6),
        };
        added.expire(now);
        // While the first elements stay, those that were added again are among them.
        let again = if first > 0 { *renewed } else { 0 };
        let count = first
            .saturating_add(added.len() as u64)
            .saturating_sub(again);
        if known || count < self.max {
            *renewed += u64::from(initial && !added.contains(&element, now));
            added.touch(element, now, || ());
        }
    }

    /// How many elements of a family are there that the set began with.
    fn first_elements(&self, v4: bool, now: u64) -> u64 {
        let since = self.since.unwrap_or(now);
        let stay = self
            .idle
            .is_none_or(|idle| now < since.saturating_add(idle));
        let count = match (stay, v4) {
            (false, _) => 0,
            (true, true) => self.initial.v4.count(),
            (true, false) => self.initial.v6.count(),
        };
        u64::try_from(count).unwrap_or(u64::MAX)
    }
}

fn element(kind: KeyKind, view: &View) -> Element {
    match kind {
        KeyKind::Source => (view.saddr, None),
        KeyKind::Dest => (view.daddr, None),
        KeyKind::Pair => (view.saddr, Some(view.daddr)),
    }
}
