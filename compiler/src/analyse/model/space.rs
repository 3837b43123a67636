//! The dimensions in which packets differ, as far as some policies can tell.

use std::collections::{BTreeMap, BTreeSet};

use super::asked::Asked;
use super::ifaces::Classes;
use super::supply::{Counting, Supply};
use crate::field::{DPORT, Field, Header, ICMP_CODE, ICMP_TYPE, IP_FRAGMENT, SPORT, TCP_FLAGS};
use crate::ir::cube::PrincipalKind;
use crate::ir::{Atom, Bucket, BucketId, DynamicSet, Ir, NatTarget, Verdict};
use crate::packet::{Region, Values};
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
    /// What a bucket has for it: 0 is no token, 1 is one. More is told of a bucket that
    /// [`is_shared`](Space::is_shared). The bucket is an index into [`Space::buckets`].
    Tokens(usize),
    /// Which of several targets it gets. The targets are an index into [`Space::choices`].
    Choice(usize),
}

/// IPv4 in [`Dim::Family`].
pub const V4: u128 = 0;
/// IPv6 in [`Dim::Family`].
pub const V6: u128 = 1;

/// Where the dimensions are that every space has.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Fixed {
    pub(crate) source: usize,
    pub(crate) destination: usize,
    pub(crate) protocol: usize,
    pub(crate) ingress: usize,
    pub(crate) egress: usize,
    pub(crate) detour: usize,
    pub(crate) dport: usize,
}

/// What the policies of an analysis can tell apart. Policies that are compared share one.
#[derive(Clone, Debug)]
pub struct Space {
    /// The dimensions, in the order of [`Region::dims`].
    pub dims: Vec<Dim>,
    index: BTreeMap<Dim, usize>,
    fixed: Fixed,
    /// The interfaces.
    pub ifaces: Classes,
    /// Users and groups without numbers.
    pub principals: BTreeMap<PrincipalKind, Vec<String>>,
    /// The buckets. Those that are the same in two policies are here once.
    pub buckets: Vec<Bucket>,
    pub(super) supply: Supply,
    /// Where the buckets of each policy are in [`Space::buckets`].
    numbers: Vec<Vec<usize>>,
    /// Dynamic sets. A second one of the same name that is not the same has another label.
    dynamic: Vec<(DynamicSet, String)>,
    /// Targets of NAT among which one is chosen, of one family each.
    pub choices: Vec<Vec<NatTarget>>,
}

impl Space {
    /// The space of a policy.
    pub fn of(policy: &Policy, ir: &Ir) -> Self {
        Self::with_alike(&[(ir, &Asked::of(policy, ir))], &BTreeMap::new())
    }

    /// The space of one policy, or of two. `alike` says of buckets of the second policy which ones of
    /// the first they are; of those of which it says nothing, names do.
    pub(crate) fn with_alike(
        policies: &[(&Ir, &Asked)],
        alike: &BTreeMap<BucketId, BucketId>,
    ) -> Self {
        let patterns = policies.iter().flat_map(|(_, asked)| &asked.patterns);
        let mut space = Self {
            dims: Vec::new(),
            index: BTreeMap::new(),
            ifaces: Classes::of(patterns.copied()),
            principals: BTreeMap::new(),
            buckets: Vec::new(),
            supply: Supply {
                counting: match policies {
                    [_] => Counting::Places,
                    _ => Counting::Tokens,
                },
                asks: Vec::new(),
                names: Vec::new(),
            },
            numbers: Vec::new(),
            dynamic: Vec::new(),
            choices: Vec::new(),
            fixed: Fixed::default(),
        };
        let mut dims = BTreeSet::new();
        let irs: Vec<&Ir> = policies.iter().map(|(ir, _)| *ir).collect();
        space.share_buckets(&irs, alike);
        for (ir, asked) in policies {
            space.share(ir);
            space.ask(asked, ir, &mut dims);
        }
        space.count_asks(&irs);
        dims.extend((0..space.buckets.len()).map(Dim::Tokens));
        dims.extend((0..space.choices.len()).map(Dim::Choice));
        dims.extend([Dim::Family, Dim::Ingress, Dim::Egress, Dim::Detour]);
        dims.extend([Dim::Protocol, Dim::Source, Dim::Destination]);
        dims.insert(Dim::Header(Header::Transport));
        for field in [SPORT, DPORT, TCP_FLAGS, ICMP_TYPE, ICMP_CODE, IP_FRAGMENT] {
            dims.insert(Dim::Field(field));
        }
        space.dims = dims.into_iter().collect();
        space.index = space.dims.iter().cloned().zip(0..).collect();
        let at = |dim: &Dim| space.index.get(dim).copied().unwrap_or_default();
        space.fixed = Fixed {
            source: at(&Dim::Source),
            destination: at(&Dim::Destination),
            protocol: at(&Dim::Protocol),
            ingress: at(&Dim::Ingress),
            egress: at(&Dim::Egress),
            detour: at(&Dim::Detour),
            dport: at(&Dim::Field(DPORT)),
        };
        space
    }

    /// Notes what a policy asks.
    fn ask(&mut self, asked: &Asked, ir: &Ir, dims: &mut BTreeSet<Dim>) {
        for field in &asked.fields {
            dims.insert(Dim::Field(*field));
            if field.def().header != Header::Network {
                dims.insert(Dim::Header(field.def().header));
            }
        }
        for atom in &asked.atoms {
            match atom {
                Atom::Dynamic { set, dest } => {
                    let label = ir.dynamic.get(*set).map(|s| self.dynamic_label(s));
                    dims.insert(Dim::Member(label.unwrap_or_default(), *dest));
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

    /// Numbers the buckets of each policy. One of the second that is one of the first has its number.
    fn share_buckets(&mut self, irs: &[&Ir], alike: &BTreeMap<BucketId, BucketId>) {
        let mut named: BTreeMap<&str, (&Bucket, usize)> = BTreeMap::new();
        for ir in irs {
            let mut numbers = Vec::with_capacity(ir.buckets.len());
            for (id, bucket) in ir.buckets.iter().enumerate() {
                let told = alike.get(&id).and_then(|first| self.bucket(0, *first));
                let by_name = || {
                    let (first, at) = named.get(&*bucket.name)?;
                    same(first, bucket).then_some(*at)
                };
                numbers.push(told.or_else(by_name).unwrap_or_else(|| {
                    self.buckets.push(bucket.clone());
                    self.buckets.len() - 1
                }));
            }
            let taken: BTreeSet<BucketId> = alike.values().copied().collect();
            let free = ir.buckets.iter().zip(&numbers).enumerate();
            let free = free.filter(|(id, _)| !taken.contains(id));
            named = free.map(|(_, (b, at))| (&*b.name, (b, *at))).collect();
            self.numbers.push(numbers);
        }
    }

    /// Adds the dynamic sets and choices of a policy to those that are known.
    fn share(&mut self, ir: &Ir) {
        for set in &ir.dynamic {
            let mut label = set.name.to_string();
            if self.dynamic.iter().any(|(known, _)| same_set(known, set)) {
                continue;
            }
            if self.dynamic.iter().any(|(known, _)| known.name == set.name) {
                label.push_str(" (new)");
            }
            self.dynamic.push((set.clone(), label));
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

    /// Where a bucket of the first (0) or second (1) policy is in [`Space::buckets`].
    pub(super) fn bucket(&self, policy: usize, bucket: BucketId) -> Option<usize> {
        self.numbers.get(policy)?.get(bucket).copied()
    }

    /// The number of a dynamic set that is the same but for its place.
    pub(super) fn dynamic_index(&self, set: &DynamicSet) -> Option<usize> {
        self.dynamic
            .iter()
            .position(|(known, _)| same_set(known, set))
    }

    /// How many dynamic sets there are.
    pub(super) fn dynamic_count(&self) -> usize {
        self.dynamic.len()
    }

    /// What [`Dim::Member`] calls a dynamic set.
    pub fn dynamic_label(&self, set: &DynamicSet) -> String {
        let known = self.dynamic.iter().find(|(known, _)| same_set(known, set));
        known.map_or_else(|| set.name.to_string(), |(_, label)| label.clone())
    }

    /// Where the dimensions are that every space has.
    pub(crate) fn at_fixed(&self) -> Fixed {
        self.fixed
    }

    /// The place of a dimension; `None` when no policy asks about it.
    pub fn at(&self, dim: &Dim) -> Option<usize> {
        self.index.get(dim).copied()
    }

    /// The largest number of a dimension; the smallest is 0.
    fn largest(&self, dim: &Dim, family: u128) -> u128 {
        match dim {
            Dim::Family | Dim::Header(_) | Dim::Member(..) | Dim::Cgroup(_) => 1,
            Dim::Tokens(at) => self.most_tokens(*at),
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

/// Whether two buckets are the same but for their places.
pub(crate) fn same(a: &Bucket, b: &Bucket) -> bool {
    a.name == b.name && alike(a, b)
}

/// Whether two buckets are the same but for their places and names.
pub(crate) fn alike(a: &Bucket, b: &Bucket) -> bool {
    (a.rate, a.key, a.max, a.idle, a.full) == (b.rate, b.key, b.max, b.idle, b.full)
}

/// Whether two dynamic sets are the same but for their places.
pub(crate) fn same_set(a: &DynamicSet, b: &DynamicSet) -> bool {
    a.name == b.name && a.initial == b.initial && (a.key, a.idle, a.max) == (b.key, b.idle, b.max)
}

/// The zones of a policy.
pub(super) fn zones(policy: &Policy) -> impl Iterator<Item = &Zone> {
    policy.definitions.iter().filter_map(|d| match &d.value {
        Value::Zone(zone) => Some(zone),
        _ => None,
    })
}
