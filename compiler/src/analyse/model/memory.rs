//! What rules that a packet has met have left for those that it meets later: marks, and keys in
//! dynamic sets.

use std::collections::BTreeSet;

use super::Model;
use super::space::Space;
use super::view::View;
use crate::field::{CT_DIRECTION, CT_MARK, CT_STATE, DPORT, IP_FRAGMENT, IP_TTL, META_MARK};
use crate::interpret::RuleId;
use crate::ir::{Atom, Cube, DynamicId, Ir, KeyKind, Mark, Rule, Stage, Verdict};
use crate::packet::cover::{Budget, OutOfBudget, subtract};
use crate::packet::{IntervalSet, Region, Values};

/// The most ranges into which a question about a mark falls.
const MOST_RANGES: usize = 4096;

/// Past so many cubes, rules may have packets in common.
const MOST_CUBES: usize = 400;

/// What a packet brings along from rules that it has met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Memory {
    /// The bits of its mark that were set before the stage.
    pub(crate) mark: Mark,
    /// Its flow's mark; `None` when that is a dimension of the space.
    pub(crate) flow: Option<u32>,
    /// The dynamic sets that have its key, as bits by [`Space::dynamic_index`].
    pub(crate) added: u64,
    /// Whether all of that may be otherwise: then nothing is asked about marks and keys that rules
    /// set.
    pub(crate) any: bool,
}

impl Memory {
    /// Of a packet that has met no rule that leaves anything.
    pub(crate) const NONE: Self = Self {
        mark: Mark { value: 0, mask: 0 },
        flow: None,
        added: 0,
        any: false,
    };

    /// Of some packet.
    pub(crate) const ANY: Self = Self {
        any: true,
        ..Self::NONE
    };

    /// The marks that, with the bits set, are in `set`; `None` when they are in too many ranges.
    pub(super) fn unmarked(self, set: &IntervalSet<u64>) -> Option<IntervalSet<u64>> {
        let mut out = Vec::new();
        let fits = unmarked(self.mark, set, (0, 0), 32, &mut out);
        fits.then(|| out.into_iter().collect())
    }
}

/// Adds the marks of a block of `1 << bits` marks that become marks of `set`. The block begins at
/// `own`, and what becomes of it at `seen`. `false` when there are too many.
fn unmarked(
    mark: Mark,
    set: &IntervalSet<u64>,
    (own, seen): (u64, u64),
    bits: u32,
    out: &mut Vec<(u64, u64)>,
) -> bool {
    let size = 1u64 << bits;
    let low = size - 1;
    // Where every bit that is left is set, the whole block becomes one mark.
    let fixed = u64::from(mark.mask) & low == low;
    let (first, last) = if fixed {
        let only = seen | u64::from(mark.value) & low;
        (only, only)
    } else {
        (seen, seen + low)
    };
    let block = IntervalSet::range(first, last);
    if !set.intersects(&block) {
        return true;
    }
    if block.is_subset(set) {
        out.push((own, own + low));
        return out.len() <= MOST_RANGES;
    }
    let half = size >> 1;
    let is_set = u64::from(mark.mask) & half != 0;
    [0, half].into_iter().all(|bit| {
        let becomes = if is_set {
            u64::from(mark.value) & half
        } else {
            bit
        };
        unmarked(mark, set, (own | bit, seen | becomes), bits - 1, out)
    })
}

/// What rules ask of what earlier ones have left.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Asks {
    pub(crate) mark: bool,
    pub(crate) flow: bool,
    pub(crate) sets: u64,
}

impl Asks {
    /// What either of two asks.
    pub(crate) fn or(self, other: Self) -> Self {
        Self {
            mark: self.mark || other.mark,
            flow: self.flow || other.flow,
            sets: self.sets | other.sets,
        }
    }
}

impl Space {
    /// The bit of a dynamic set of a policy in [`Memory::added`].
    fn dynamic_bit(&self, ir: &Ir, set: DynamicId) -> u64 {
        let index = ir.dynamic.get(set).and_then(|s| self.dynamic_index(s));
        index
            .and_then(|at| 1u64.checked_shl(u32::try_from(at).ok()?))
            .unwrap_or(0)
    }
}

impl Model<'_> {
    /// The bit of a dynamic set in [`Memory::added`].
    pub(crate) fn dynamic_bit(&self, set: DynamicId) -> u64 {
        self.space.dynamic_bit(self.ir, set)
    }

    /// What a rule asks of what earlier ones have left.
    pub(crate) fn asks_of(&self, rule: &Rule) -> Asks {
        let mut asks = Asks::default();
        for cube in &rule.cubes {
            asks.mark |= cube.field(META_MARK).is_some();
            asks.flow |= cube.field(CT_MARK).is_some();
            for atom in cube.atoms.keys() {
                if let Atom::Dynamic { set, .. } = atom {
                    asks.sets |= self.dynamic_bit(*set);
                }
            }
        }
        asks
    }

    /// The packets of `hull`, which is of one family, that a rule means, other rules of its stage
    /// having added keys before it is asked.
    pub(super) fn rule_among_others(
        &self,
        id: RuleId,
        view: View,
        hull: &Region,
        out: &mut Vec<Region>,
    ) -> Result<(), OutOfBudget> {
        let asked = id.of(self.ir).map_or(0, |rule| self.asks_of(rule).sets);
        if asked == 0 {
            return self.rule_within(id, view, Memory::NONE, hull, out);
        }
        let mut worlds = vec![(0u64, vec![hull.clone()])];
        for (index, rule) in self.ir.stage(id.stage).iter().enumerate().take(id.index) {
            let bit = rule.effects.add.map_or(0, |set| self.dynamic_bit(set)) & asked;
            // Behind a rule that decides, nothing of the stage is asked.
            if bit == 0 || rule.verdict.is_some() {
                continue;
            }
            let before = RuleId { index, ..id };
            let other_end = self
                .asked_keys(id)
                .any(|(set, dest)| rule.effects.add == Some(set) && self.is_other_end(set, dest));
            if other_end && self.may_meet(&[before, id], has_itself) {
                return Err(OutOfBudget);
            }
            let mut adding = Vec::new();
            self.rule_among_others(before, view, hull, &mut adding)?;
            let by: Vec<&Region> = adding.iter().collect();
            let mut next: Vec<(u64, Vec<Region>)> = Vec::new();
            let mut put = |added: u64, regions: Vec<Region>| match next
                .iter_mut()
                .find(|(known, _)| *known == added)
            {
                Some((_, known)) => known.extend(regions),
                None => next.push((added, regions)),
            };
            for (added, regions) in worlds {
                for region in regions {
                    let left = subtract(&region, &by, &mut Budget::default())?;
                    if added & bit == 0 {
                        let mut rest = vec![region];
                        for piece in &left {
                            rest = rest.iter().flat_map(|r| r.difference(piece)).collect();
                        }
                        put(added | bit, rest);
                    } else {
                        put(added, vec![region]);
                        continue;
                    }
                    put(added, left);
                }
            }
            worlds = next;
        }
        for (added, regions) in worlds {
            let memory = Memory {
                added,
                ..Memory::NONE
            };
            for region in regions {
                self.rule_within(id, view, memory, &region, out)?;
            }
        }
        Ok(())
    }

    /// The marks that a flow can have when its first packet enters a stage: what rules of stages
    /// behind guard have set before.
    pub(super) fn flow_marks(&self, stage: Stage) -> Values {
        let marks = self.rules().filter_map(|(id, rule)| {
            let set = id.stage != Stage::Guard && id.stage < stage;
            rule.effects.mark.filter(|_| set)
        });
        let mut marks: Vec<Mark> = marks.collect();
        marks.sort_unstable();
        marks.dedup();
        let mut known = BTreeSet::from([0u32]);
        let mut fresh = vec![0u32];
        while let Some(old) = fresh.pop() {
            for mark in &marks {
                let new = old & !mark.mask | mark.value & mark.mask;
                if known.insert(new) {
                    fresh.push(new);
                }
            }
            if known.len() > MOST_RANGES {
                return Values::Range(0, u32::MAX.into());
            }
        }
        let set = known.into_iter().map(|m| (m.into(), m.into()));
        Values::of(&set.collect::<IntervalSet<u128>>()).unwrap_or(Values::one(0))
    }

    /// Why keys that rules add are not followed; `None` when they are.
    pub(super) fn lost_keys(&self) -> Option<&'static str> {
        if self.space.dynamic_count() > 64 {
            return Some("there are too many dynamic sets");
        }
        for (id, adds) in self.added_keys() {
            for (asking, _) in self.rules().filter(|(asking, _)| *asking > id) {
                for (_, dest) in self.asked_keys(asking).filter(|(set, _)| *set == adds) {
                    if self.is_other_end(adds, dest) && self.may_meet(&[id, asking], has_itself) {
                        return Some(
                            "a rule asks for an address at the other end than rules add it",
                        );
                    }
                    let kind = self.ir.dynamic.get(adds).map(|s| s.key);
                    if kind != Some(KeyKind::Source) && self.moves_between(id, asking) {
                        return Some("a rule asks for a destination that was added before `dnat`");
                    }
                }
            }
        }
        None
    }

    /// The rules that add keys which others may ask for, and their sets.
    fn added_keys(&self) -> impl Iterator<Item = (RuleId, DynamicId)> + '_ {
        let ends = |rule: &Rule| matches!(rule.verdict, Some(Verdict::Deny | Verdict::Reject(_)));
        let adds = move |(id, rule): (RuleId, &Rule)| {
            Some((id, rule.effects.add.filter(|_| !ends(rule))?))
        };
        self.rules().filter_map(adds)
    }

    /// The sets for keys of which a rule asks, and whether for the destination's.
    fn asked_keys(&self, rule: RuleId) -> impl Iterator<Item = (DynamicId, bool)> + '_ {
        let cubes = rule.of(self.ir).map_or(&[][..], |rule| &rule.cubes);
        let atoms = cubes.iter().flat_map(|c| c.atoms.keys());
        atoms.filter_map(|atom| match atom {
            Atom::Dynamic { set, dest } => Some((*set, *dest)),
            Atom::Principal(..) => None,
        })
    }

    /// Whether what is added to a set is the other address than the one that is asked for.
    fn is_other_end(&self, set: DynamicId, dest: bool) -> bool {
        let kind = self.ir.dynamic.get(set).map(|s| s.key);
        kind == Some(if dest { KeyKind::Source } else { KeyKind::Dest })
    }

    fn rules(&self) -> impl Iterator<Item = (RuleId, &Rule)> + '_ {
        Stage::ALL.into_iter().flat_map(|stage| {
            let rules = self.ir.stage(stage).iter().enumerate();
            rules.map(move |(index, rule)| (RuleId { stage, index }, rule))
        })
    }

    /// What a rule asks that a rule of an earlier stage may have set, for packets that both may
    /// meet; `None` when there is no such rule.
    pub(super) fn across_stages(&self) -> Option<&'static str> {
        let marks = |rule: &Rule| {
            rule.effects.mark.is_some() || matches!(rule.verdict, Some(Verdict::Proxy(_)))
        };
        let ends = |rule: &Rule| matches!(rule.verdict, Some(Verdict::Deny | Verdict::Reject(_)));
        for (id, rule) in self.rules() {
            let asks = self.asks_of(rule);
            if !asks.mark && !asks.flow && asks.sets == 0 {
                continue;
            }
            let earlier = self.rules().filter(|(e, r)| e.stage < id.stage && !ends(r));
            for (earlier, before) in earlier {
                let marked = marks(before) && (asks.mark || asks.flow);
                let added = before.effects.add.map_or(0, |set| self.dynamic_bit(set)) & asks.sets;
                if (!marked && added == 0) || !self.may_meet(&[earlier, id], |_| true) {
                    continue;
                }
                return Some(if marked {
                    "a rule asks for a mark that an earlier stage may have set"
                } else {
                    "a rule asks for a key that an earlier stage may have added"
                });
            }
        }
        None
    }

    /// Whether steer may send a packet to another destination that two rules mean, one before steer's
    /// verdict and one behind it.
    pub(super) fn moves_between(&self, first: RuleId, second: RuleId) -> bool {
        let early = |id: RuleId| matches!(id.stage, Stage::Guard | Stage::Steer);
        let moves = |r: &Rule| matches!(r.verdict, Some(Verdict::Dnat(_)));
        early(first)
            && !early(second)
            && self.rules().any(|(id, rule)| {
                id >= first && moves(rule) && self.may_meet(&[first, id, second], |_| true)
            })
    }

    /// Whether a packet that is like that may meet all of some rules, by what no stage changes.
    fn may_meet(&self, rules: &[RuleId], like: impl Fn(&Cube) -> bool) -> bool {
        let mut shared = vec![Cube::any()];
        for id in rules {
            let cubes = id.of(self.ir).map_or(&[][..], |rule| &rule.cubes);
            let lasting: Vec<Cube> = cubes.iter().map(|c| lasting(c, id.stage)).collect();
            let pairs = shared
                .iter()
                .flat_map(|s| lasting.iter().filter_map(|l| s.intersection(l)));
            shared = pairs.collect();
            if shared.len() > MOST_CUBES {
                return true;
            }
        }
        shared.iter().any(like)
    }
}

/// What a cube of a stage asks of a packet that is the same in all stages.
fn lasting(cube: &Cube, stage: Stage) -> Cube {
    let mut out = cube.clone();
    out.egress = Cube::any().egress;
    out.fields.retain(|field, _| {
        ![META_MARK, CT_MARK, CT_STATE, CT_DIRECTION, IP_FRAGMENT].contains(field)
    });
    out.atoms
        .retain(|atom, _| matches!(atom, Atom::Principal(..)));
    if matches!(stage, Stage::Filter | Stage::Egress) {
        out.fields.remove(&DPORT);
        out.fields.remove(&IP_TTL);
        out.daddr = std::mem::replace(&mut out.original, Cube::any().original);
    }
    out
}

/// Whether a packet may go to where it comes from.
fn has_itself(cube: &Cube) -> bool {
    !cube.saddr.intersection(&cube.daddr).is_empty()
}
