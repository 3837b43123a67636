//! Dynamic sets: what rules with `add` remember.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

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
    /// When each element that a rule added leaves.
    added: BTreeMap<Element, Option<u64>>,
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
            added: BTreeMap::new(),
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
        self.has_initial(element, now)
            || self
                .added
                .get(element)
                .is_some_and(|leaves| stays(*leaves, now))
    }

    /// Elements that a set begins with leave after `idle`, as others do.
    fn has_initial(&self, element: &Element, now: u64) -> bool {
        element.1.is_none() && self.initial.contains(element.0) && self.initial_stay(now)
    }

    fn initial_stay(&self, now: u64) -> bool {
        let leaves = self
            .idle
            .map(|idle| self.since.unwrap_or(now).saturating_add(idle));
        stays(leaves, now)
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
        if !known {
            self.added.retain(|_, leaves| stays(*leaves, now));
            if self.count(element.0.is_ipv4(), now) >= self.max {
                return;
            }
        }
        self.added
            .insert(element, self.idle.map(|idle| now.saturating_add(idle)));
    }

    /// How many elements of a family there are.
    fn count(&self, v4: bool, now: u64) -> u64 {
        let initial = match (self.initial_stay(now), v4) {
            (false, _) => 0,
            (true, true) => self.initial.v4.count(),
            (true, false) => self.initial.v6.count(),
        };
        let is_new = |e: &&Element| e.0.is_ipv4() == v4 && !self.has_initial(e, now);
        let added = self.added.keys().filter(is_new).count() as u64;
        u64::try_from(initial)
            .unwrap_or(u64::MAX)
            .saturating_add(added)
    }
}

fn stays(leaves: Option<u64>, now: u64) -> bool {
    leaves.is_none_or(|leaves| now < leaves)
}

fn element(kind: KeyKind, view: &View) -> Element {
    match kind {
        KeyKind::Source => (view.saddr, None),
        KeyKind::Dest => (view.daddr, None),
        KeyKind::Pair => (view.saddr, Some(view.daddr)),
    }
}
