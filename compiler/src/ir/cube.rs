//! Conjunctions of per-field sets.

use std::collections::BTreeMap;

use super::DynamicId;
use crate::field::Field;
use crate::packet::{AddrSet, Families, IfaceSet, IntervalSet};

pub use polc_grammar::ast::PrincipalKind;

/// One end of a packet's way through this machine: the machine itself, or an interface.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Side {
    /// Ingress: sent by this host. Egress: delivered to this host.
    pub host: bool,
    /// The interfaces it may come in by, or leave by.
    pub ifaces: IfaceSet,
}

impl Side {
    /// The host, or any interface.
    pub fn any() -> Self {
        Self {
            host: true,
            ifaces: IfaceSet::full(),
        }
    }

    /// The host.
    pub fn host() -> Self {
        Self {
            host: true,
            ifaces: IfaceSet::empty(),
        }
    }

    /// One of some interfaces.
    pub fn ifaces(ifaces: IfaceSet) -> Self {
        Self {
            host: false,
            ifaces,
        }
    }

    /// What is in both.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        Self {
            host: self.host && other.host,
            ifaces: self.ifaces.intersection(&other.ifaces),
        }
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        !self.host && self.ifaces.is_empty()
    }

    /// Whether everything is in it.
    pub fn is_any(&self) -> bool {
        self.host && self.ifaces.is_full()
    }

    /// Whether all of it is in `other`.
    pub fn is_subset(&self, other: &Self) -> bool {
        (!self.host || other.host) && self.ifaces.is_subset(&other.ifaces)
    }

    /// What is in `self` and not in `other`, as disjoint parts.
    pub fn difference(&self, other: &Self) -> Vec<Self> {
        let mut parts: Vec<Self> = self
            .ifaces
            .difference(&other.ifaces)
            .into_iter()
            .map(Self::ifaces)
            .collect();
        if self.host && !other.host {
            match parts.first_mut() {
                Some(first) => first.host = true,
                None => parts.push(Self::host()),
            }
        }
        parts
    }
}

/// A yes-or-no question about a packet that is not a set of values of a field.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Atom {
    /// Whether the packet's key is in a dynamic set.
    Dynamic {
        /// The set.
        set: DynamicId,
        /// Whether its destination is looked up, not its source (for sets of single addresses).
        dest: bool,
    },
    /// Whether a process of this user, group (names that only the machine that loads the policy
    /// can look up) or control group sent it.
    Principal(PrincipalKind, String),
}

/// A conjunction: a packet is in it when every part holds. A part that is full asks nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cube {
    /// The packet's family.
    pub families: Families,
    /// Where it comes from.
    pub ingress: Side,
    /// Where it goes to.
    pub egress: Side,
    /// Its source address, as the stage sees it.
    pub saddr: AddrSet,
    /// Its destination address, as the stage sees it.
    pub daddr: AddrSet,
    /// Its destination address before steer.
    pub original: AddrSet,
    /// Its protocol number, 0–255. For IPv6 the one after all extension headers.
    pub proto: IntervalSet<u64>,
    /// Other fields. One that is absent asks nothing; one that is present asks that the packet
    /// has the field (a later fragment has no ports) and its value is in the set.
    pub fields: BTreeMap<Field, IntervalSet<u64>>,
    /// Questions and the answers they must have.
    pub atoms: BTreeMap<Atom, bool>,
}

impl Cube {
    /// Every packet.
    pub fn any() -> Self {
        Self {
            families: Families::BOTH,
            ingress: Side::any(),
            egress: Side::any(),
            saddr: AddrSet::full(),
            daddr: AddrSet::full(),
            original: AddrSet::full(),
            proto: protocols(),
            fields: BTreeMap::new(),
            atoms: BTreeMap::new(),
        }
    }

    /// The same, of some protocols only.
    #[must_use]
    pub fn with_proto(mut self, proto: &IntervalSet<u64>) -> Self {
        self.proto = self.proto.intersection(proto);
        self
    }

    /// The same, with a field's value in `set`.
    #[must_use]
    pub fn with_field(mut self, field: Field, set: &IntervalSet<u64>) -> Self {
        let both = self
            .fields
            .get(&field)
            .map_or_else(|| set.clone(), |s| s.intersection(set));
        self.fields.insert(field, both);
        self
    }

    /// The same, of some families only.
    #[must_use]
    pub fn with_families(mut self, families: Families) -> Self {
        self.families = self.families.and(families);
        self
    }

    /// The values a field may have; `None` when it is not asked.
    pub fn field(&self, field: Field) -> Option<&IntervalSet<u64>> {
        self.fields.get(&field)
    }

    /// Packets in both; `None` when there are none.
    pub fn intersection(&self, other: &Self) -> Option<Self> {
        let mut out = Self {
            families: self.families.and(other.families),
            ingress: self.ingress.intersection(&other.ingress),
            egress: self.egress.intersection(&other.egress),
            saddr: self.saddr.intersection(&other.saddr),
            daddr: self.daddr.intersection(&other.daddr),
            original: self.original.intersection(&other.original),
            proto: self.proto.intersection(&other.proto),
            fields: self.fields.clone(),
            atoms: self.atoms.clone(),
        };
        for (field, set) in &other.fields {
            out = out.with_field(*field, set);
        }
        for (atom, answer) in &other.atoms {
            if *out.atoms.entry(atom.clone()).or_insert(*answer) != *answer {
                return None;
            }
        }
        out.normal()
    }

    /// Drops the families without addresses and the addresses of families it does not have;
    /// `None` when nothing is left.
    pub fn normal(mut self) -> Option<Self> {
        let families = self
            .families
            .and(self.saddr.families())
            .and(self.daddr.families())
            .and(self.original.families());
        let empty = families.is_empty()
            || self.ingress.is_empty()
            || self.egress.is_empty()
            || self.proto.is_empty()
            || self.fields.values().any(IntervalSet::is_empty);
        if empty {
            return None;
        }
        self.families = families;
        for set in [&mut self.saddr, &mut self.daddr, &mut self.original] {
            if !set.is_full() {
                *set = set.only(families);
            }
        }
        Some(self)
    }

    /// Whether every packet of `self` is in `other`.
    pub fn is_subset(&self, other: &Self) -> bool {
        let addr = |a: &AddrSet, b: &AddrSet| b.is_full() || a.only(self.families).is_subset(b);
        self.families.minus(other.families).is_empty()
            && self.ingress.is_subset(&other.ingress)
            && self.egress.is_subset(&other.egress)
            && addr(&self.saddr, &other.saddr)
            && addr(&self.daddr, &other.daddr)
            && addr(&self.original, &other.original)
            && self.proto.is_subset(&other.proto)
            && other
                .fields
                .iter()
                .all(|(f, b)| self.field(*f).is_some_and(|a| a.is_subset(b)))
            && other
                .atoms
                .iter()
                .all(|(atom, answer)| self.atoms.get(atom) == Some(answer))
    }

    /// Packets of `self` that are not in `other`, as cubes that do not overlap. A packet that
    /// lacks a field that only `other` asks for is not in the result: see the module
    /// [`field`](crate::field).
    pub fn difference(&self, other: &Self) -> Vec<Self> {
        let Some(_) = self.intersection(other) else {
            return vec![self.clone()];
        };
        let mut out = Vec::new();
        let mut rest = self.clone();
        let mut keep = |cube: Self| out.extend(cube.normal());
        keep(Self {
            families: rest.families.minus(other.families),
            ..rest.clone()
        });
        rest.families = rest.families.and(other.families);
        for part in rest.ingress.difference(&other.ingress) {
            keep(Self {
                ingress: part,
                ..rest.clone()
            });
        }
        rest.ingress = rest.ingress.intersection(&other.ingress);
        for part in rest.egress.difference(&other.egress) {
            keep(Self {
                egress: part,
                ..rest.clone()
            });
        }
        rest.egress = rest.egress.intersection(&other.egress);
        keep(Self {
            saddr: rest.saddr.difference(&other.saddr),
            ..rest.clone()
        });
        rest.saddr = rest.saddr.intersection(&other.saddr);
        keep(Self {
            daddr: rest.daddr.difference(&other.daddr),
            ..rest.clone()
        });
        rest.daddr = rest.daddr.intersection(&other.daddr);
        keep(Self {
            original: rest.original.difference(&other.original),
            ..rest.clone()
        });
        rest.original = rest.original.intersection(&other.original);
        keep(Self {
            proto: rest.proto.difference(&other.proto),
            ..rest.clone()
        });
        rest.proto = rest.proto.intersection(&other.proto);
        for (field, set) in &other.fields {
            let own = rest.field(*field).cloned().unwrap_or_else(|| field.all());
            let mut part = rest.clone();
            part.fields.insert(*field, own.difference(set));
            keep(part);
            rest = rest.with_field(*field, set);
        }
        for (atom, answer) in &other.atoms {
            if !rest.atoms.contains_key(atom) {
                let mut part = rest.clone();
                part.atoms.insert(atom.clone(), !answer);
                keep(part);
                rest.atoms.insert(atom.clone(), *answer);
            }
        }
        out
    }
}

/// The most cubes of one rule or condition.
pub const MOST_CUBES: usize = 4096;

/// Packets in one of `a` and one of `b`; `None` when that takes more than [`MOST_CUBES`].
pub fn both(a: &[Cube], b: &[Cube]) -> Option<Vec<Cube>> {
    let mut out = Vec::new();
    for x in a {
        out.extend(b.iter().filter_map(|y| x.intersection(y)));
        if out.len() > MOST_CUBES {
            return None;
        }
    }
    Some(out)
}

/// Packets of `cubes` that are not in `other`; `None` when that takes more than [`MOST_CUBES`].
pub fn without(cubes: &[Cube], other: &Cube) -> Option<Vec<Cube>> {
    let rest: Vec<Cube> = cubes.iter().flat_map(|c| c.difference(other)).collect();
    (rest.len() <= MOST_CUBES).then_some(rest)
}

/// Every protocol number.
pub fn protocols() -> IntervalSet<u64> {
    IntervalSet::range(0, 255)
}

/// The families of the packets that cubes are about.
pub fn families_of(cubes: &[Cube]) -> Families {
    Families {
        v4: cubes.iter().any(|cube| cube.families.v4),
        v6: cubes.iter().any(|cube| cube.families.v6),
    }
}
