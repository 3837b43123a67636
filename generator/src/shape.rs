//! What random policies are made of.

use std::collections::BTreeSet;

/// A part of the language that a random policy may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Feature {
    /// IPv6 addresses, and `only`.
    Families,
    /// Sets.
    Sets,
    /// Sets that packets fill, and `add`.
    Dynamic,
    /// Services with names.
    Services,
    /// Zones.
    Zones,
    /// Nested groups.
    Groups,
    /// Templates.
    Templates,
    /// `not` before ends and interfaces.
    Not,
    /// `except`.
    Except,
    /// `when`.
    Conditions,
    /// `within` and `over`.
    Rates,
    /// `mark`.
    Marks,
    /// `match` rules.
    Match,
    /// `log` and `count`.
    Logs,
    /// `by`.
    Senders,
    /// `in` and `out`.
    Interfaces,
    /// `dnat`, `redirect`, `snat`, `masquerade`.
    Nat,
    /// `proxy`.
    Proxies,
    /// `route`.
    Routes,
    /// `to original`.
    Original,
    /// `notrack`.
    Notrack,
    /// `strict icmp` and `strict tcp`.
    Strict,
    /// `stateless` sections.
    Stateless,
    /// No `default` of the policy: filter governs traffic to this host, from it, both, or none.
    Partial,
    /// Owners, tickets, notes and dates.
    Metadata,
    /// What a target cannot express: fields of frames, `down direct`, sets of pairs, `full within`, rates in
    /// bytes and of flows, and some others.
    Uncommon,
}

impl Feature {
    /// All.
    pub const ALL: [Self; 26] = [
        Self::Families,
        Self::Sets,
        Self::Dynamic,
        Self::Services,
        Self::Zones,
        Self::Groups,
        Self::Templates,
        Self::Not,
        Self::Except,
        Self::Conditions,
        Self::Rates,
        Self::Marks,
        Self::Match,
        Self::Logs,
        Self::Senders,
        Self::Interfaces,
        Self::Nat,
        Self::Proxies,
        Self::Routes,
        Self::Original,
        Self::Notrack,
        Self::Strict,
        Self::Stateless,
        Self::Partial,
        Self::Metadata,
        Self::Uncommon,
    ];
}

/// The size of random policies, and what they use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    /// The most rules of the guard block; without rules there is no block.
    pub guard: usize,
    /// The most rules of the steer block.
    pub steer: usize,
    /// The most rules of a section.
    pub filter: usize,
    /// The most sections.
    pub sections: usize,
    /// The most rules of the egress block.
    pub egress: usize,
    /// How deep groups can be nested.
    pub depth: usize,
    /// What may be used.
    pub features: BTreeSet<Feature>,
}

impl Default for Shape {
    /// All stages and all features but `stateless` and parts of the filter.
    fn default() -> Self {
        Self {
            guard: 6,
            steer: 6,
            filter: 6,
            sections: 3,
            egress: 4,
            depth: 2,
            features: Feature::ALL.into(),
        }
        .without(Feature::Stateless)
        .without(Feature::Partial)
    }
}

impl Shape {
    /// The same, with one more feature.
    #[must_use]
    pub fn with(mut self, feature: Feature) -> Self {
        self.features.insert(feature);
        self
    }

    /// The same, without a feature.
    #[must_use]
    pub fn without(mut self, feature: Feature) -> Self {
        self.features.remove(&feature);
        self
    }

    /// Whether the feature may be used.
    pub fn has(&self, feature: Feature) -> bool {
        self.features.contains(&feature)
    }
}
