//! The dimensions in which packets differ, as far as some policies can tell.

use std::collections::{BTreeMap, BTreeSet};

use super::ifaces::Classes;
use crate::field::{DPORT, Field, Header, ICMP_CODE, ICMP_TYPE, IP_FRAGMENT, SPORT, TCP_FLAGS};
use crate::ir::cube::PrincipalKind;
use crate::ir::{Atom, Bucket, Cube, Ir, NatTarget, Verdict};
use crate::packet::{IfaceSet, Region, Values};
use crate::policy::{Policy, Value, Zone};

/// A dimension. The order is that in which regions are compared and cut: what tells most packets
/// apart comes first, and a header before its fields.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Dim {
    /// 0 is IPv4, 1 is IPv6.
    Family,
    /// Its source address.
    Source,
    /// Its own destination address.
    Destination,
    /// Its protocol number.
    Protocol,
    /// Where a packet comes from: 0 is this machine, others are classes of interfaces.
    Ingress,
    /// Where its own destination is.
    Egress,
    /// Where it goes once steer has given it another destination or table.
    Detour,
    /// Whether it has a header: 0 or 1. Fields of a header that it does not have can be anything.
    Header(Header),
    /// Another field.
    Field(Field),
    /// Whether its key is in the dynamic set of this name; with `true` its destination is looked
    /// up.
    Member(String, bool),
    /// Its user or group: 0 is one that no policy names, others index [`Space::principals`].
    Principal(PrincipalKind),
    /// Whether its sender is in this control group.
    Cgroup(String),
    /// Whether a bucket has tokens for it. The bucket is an index into [`Space::buckets`].
    Tokens(usize),
    /// Which of several targets it gets. The targets are an index into [`Space::choices`].
    Choice(usize),
}

/// IPv4 in [`Dim::Family`].
pub const V4: u128 = 0;
/// IPv6 in [`Dim::Family`].
pub const V6: u128 = 1;

/// What the policies of an analysis can tell apart. Policies that are compared share one.
#[derive(Clone, Debug)]
pub struct Space {
    /// The dimensions, in the order of [`Region::dims`].
    pub dims: Vec<Dim>,
    index: BTreeMap<Dim, usize>,
    /// The interfaces.
    pub ifaces: Classes,
    /// Users and groups without numbers.
    pub principals: BTreeMap<PrincipalKind, Vec<String>>,
    /// The buckets. Those that are the same in two policies are here once.
    pub buckets: Vec<Bucket>,
    /// Targets of NAT among which one is chosen, of one family each.
    pub choices: Vec<Vec<NatTarget>>,
}

impl Space {
    /// The space of some policies.
    pub fn of(policies: &[(&Policy, &Ir)]) -> Self {
        let mut space = Self {
            dims: Vec::new(),
            index: BTreeMap::new(),
            ifaces: Classes::of(policies.iter().flat_map(|(policy, ir)| ifaces(policy, ir))),
            principals: BTreeMap::new(),
            buckets: Vec::new(),
            choices: Vec::new(),
        };
        let mut dims = BTreeSet::new();
        for (policy, ir) in policies {
            for cube in cubes(policy, ir) {
                space.ask(cube, ir, &mut dims);
            }
            space.share(ir);
        }
        dims.extend((0..space.buckets.len()).map(Dim::Tokens));
        dims.extend((0..space.choices.len()).map(Dim::Choice));
        dims.extend([Dim::Family, Dim::Ingress, Dim::Egress, Dim::Detour]);
        dims.extend([Dim::Protocol, Dim::Source, Dim::Destination]);
        dims.insert(Dim::Header(Header::Transport));
        for field in [IP_FRAGMENT, SPORT, DPORT, TCP_FLAGS, ICMP_TYPE, ICMP_CODE] {
            dims.insert(Dim::Field(field));
        }
        space.dims = dims.into_iter().collect();
        space.index = space.dims.iter().cloned().zip(0..).collect();
        space
    }

    /// Notes what a cube asks.
    fn ask(&mut self, cube: &Cube, ir: &Ir, dims: &mut BTreeSet<Dim>) {
        for field in cube.fields.keys() {
            dims.insert(Dim::Field(*field));
            if field.def().header != Header::Network {
                dims.insert(Dim::Header(field.def().header));
            }
        }
        for atom in cube.atoms.keys() {
            match atom {
                Atom::Dynamic { set, dest } => {
                    let name = ir.dynamic.get(*set).map(|s| s.name.to_string());
                    dims.insert(Dim::Member(name.unwrap_or_default(), *dest));
                }
                Atom::Principal(PrincipalKind::Cgroup, name) => {
                    dims.insert(Dim::Cgroup(name.clone()));
                }
                Atom::Principal(kind, name) => {
                    dims.insert(Dim::Principal(*kind));
                    let known = self.principals.entry(*kind).or_default();
                    if !known.contains(name) {
                        known.push(name.clone());
                    }
                }
            }
        }
    }

    /// Adds the buckets and the choices of a policy to those that are known.
    fn share(&mut self, ir: &Ir) {
        for bucket in &ir.buckets {
            if self.bucket(bucket).is_none() {
                self.buckets.push(bucket.clone());
            }
        }
        for (_, rule) in ir.rules() {
            let (Some(Verdict::Dnat(nat) | Verdict::Snat(nat)), false) =
                (&rule.verdict, rule.cubes.is_empty())
            else {
                continue;
            };
            for targets in [&nat.v4, &nat.v6] {
                if targets.len() > 1 && !self.choices.contains(targets) {
                    self.choices.push(targets.clone());
                }
            }
        }
    }

    /// The index of a bucket that is the same but for its place.
    pub fn bucket(&self, bucket: &Bucket) -> Option<usize> {
        let same = |b: &Bucket| {
            Bucket {
                span: bucket.span,
                ..b.clone()
            } == *bucket
        };
        self.buckets.iter().position(same)
    }

    /// The place of a dimension; `None` when no policy asks about it.
    pub fn at(&self, dim: &Dim) -> Option<usize> {
        self.index.get(dim).copied()
    }

    /// The largest number of a dimension; the smallest is 0.
    fn largest(&self, dim: &Dim, family: u128) -> u128 {
        match dim {
            Dim::Family | Dim::Header(_) | Dim::Member(..) | Dim::Cgroup(_) | Dim::Tokens(_) => 1,
            Dim::Ingress | Dim::Egress | Dim::Detour => self.ifaces.largest(),
            Dim::Source | Dim::Destination if family == V4 => u32::MAX.into(),
            Dim::Source | Dim::Destination => u128::MAX,
            Dim::Protocol => 255,
            Dim::Field(field) => field.largest().into(),
            Dim::Principal(kind) => {
                let names = self.principals.get(kind).map_or(0, Vec::len);
                names as u128
            }
            Dim::Choice(at) => {
                let targets = self.choices.get(*at).map_or(0, Vec::len);
                (targets as u128).saturating_sub(1)
            }
        }
    }

    /// Every number of a dimension, for packets of a family.
    pub fn full(&self, dim: &Dim, family: u128) -> Values {
        Values::Range(0, self.largest(dim, family))
    }

    /// Every packet of a family, possible or not.
    pub fn all(&self, family: u128) -> Region {
        let dims = self.dims.iter().map(|dim| match dim {
            Dim::Family => Values::one(family),
            dim => self.full(dim, family),
        });
        Region::new(dims.collect())
    }

    /// The part of a region whose number in a dimension is among `values`.
    pub fn narrowed(&self, region: &Region, dim: &Dim, values: &Values) -> Option<Region> {
        region.narrowed(self.at(dim)?, values)
    }

    /// The numbers of a region in a dimension.
    pub fn values<'r>(&self, region: &'r Region, dim: &Dim) -> Option<&'r Values> {
        region.dim(self.at(dim)?)
    }

    /// The family of a region's packets; regions have one.
    pub fn family(&self, region: &Region) -> u128 {
        self.values(region, &Dim::Family)
            .map_or(V4, |values| values.bounds().0)
    }
}

/// Every cube that an analysis of the policy can meet.
fn cubes<'a>(policy: &'a Policy, ir: &'a Ir) -> impl Iterator<Item = &'a Cube> {
    let rules = ir.rules().flat_map(|(_, rule)| &rule.cubes);
    let bypass = ir.proxies.iter().flat_map(|p| &p.bypass);
    let blocks = ir.blocks.iter().flat_map(|b| &b.scope);
    let claims = policy.claims.iter().flat_map(|c| &c.cubes);
    rules.chain(bypass).chain(blocks).chain(claims)
}

/// Every set of interfaces that an analysis of the policy can meet.
fn ifaces<'a>(policy: &'a Policy, ir: &'a Ir) -> impl Iterator<Item = &'a IfaceSet> {
    let sides = cubes(policy, ir).flat_map(|c| [&c.ingress.ifaces, &c.egress.ifaces]);
    sides.chain(zones(policy).map(|zone| &zone.ifaces))
}

/// The zones of a policy.
pub(super) fn zones(policy: &Policy) -> impl Iterator<Item = &Zone> {
    policy.definitions.iter().filter_map(|d| match &d.value {
        Value::Zone(zone) => Some(zone),
        _ => None,
    })
}
