//! Which rules two policies have in common: a longest common subsequence of each stage, as long as
//! the lists do not differ too much to look for one.

use std::collections::{BTreeMap, BTreeSet};

use rayon::prelude::*;

use crate::analyse::model::{alike, same_set};
use crate::ir::{Atom, BucketId, Cube, Effects, Ir, Rule, Stage, Verdict};

/// Past so many edits of a list, nothing between its first and its last edit counts as common.
const MOST_EDITS: usize = 1500;

/// A place in the two lists of a stage, as one list: what is before another rule in either policy
/// is before it here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Step {
    /// The index of the first policy's rule, and of the second's.
    pub(super) rules: [Option<usize>; 2],
}

impl Step {
    pub(super) fn is_common(self) -> bool {
        matches!(self.rules, [Some(_), Some(_)])
    }
}

/// How two policies compare, rule by rule.
pub(super) struct Alignment<'a> {
    irs: [&'a Ir; 2],
    /// The rules of each stage.
    pub(super) steps: BTreeMap<Stage, Vec<Step>>,
    /// Which buckets of the first policy those of the second are, as far as rules tell that both
    /// have.
    pub(super) alike: BTreeMap<BucketId, BucketId>,
}

impl<'a> Alignment<'a> {
    pub(super) fn of(a: &'a Ir, b: &'a Ir) -> Self {
        let mut out = Self {
            irs: [a, b],
            steps: BTreeMap::new(),
            alike: BTreeMap::new(),
        };
        for stage in Stage::ALL {
            let (left, right) = (a.stage(stage), b.stage(stage));
            // Most edits leave the rules before them where they are.
            let pairs = left.par_iter().zip(right);
            let same: Vec<bool> = pairs.map(|(x, y)| out.equal(x, y)).collect();
            let equal = |i: usize, j: usize| match same.get(i) {
                Some(same) if i == j => *same,
                _ => {
                    let rules = (left.get(i), right.get(j));
                    matches!(rules, (Some(x), Some(y)) if out.equal(x, y))
                }
            };
            let mut common = common(left.len(), right.len(), &equal);
            pull_forward(&mut common, &equal);
            out.steps
                .insert(stage, steps(left.len(), right.len(), &common));
        }
        out.pair_buckets();
        out
    }

    /// Finds out which buckets are the same, and parts the rules whose buckets are not.
    fn pair_buckets(&mut self) {
        let [from, to] = self.irs;
        if from.buckets.is_empty() || to.buckets.is_empty() {
            return;
        }
        let rules = self.common_rules();
        let asked: Vec<(BucketId, BucketId)> = rules
            .flat_map(|(_, x, y)| x.buckets().zip(y.buckets()))
            .collect();
        let named_alike = |(i, j): (BucketId, BucketId)| {
            let (Some(x), Some(y)) = (from.buckets.get(i), to.buckets.get(j)) else {
                return false;
            };
            x.name == y.name
        };
        let (mut taken, mut alike) = (BTreeSet::new(), BTreeMap::new());
        // What a rule calls its own bucket goes with its number: the rule tells more than the name. But a
        // bucket that keeps its name at one of its rules is no other bucket for the rest of them.
        for keeps in [true, false] {
            for (i, j) in asked.iter().copied() {
                if named_alike((i, j)) == keeps && !taken.contains(&i) && !alike.contains_key(&j) {
                    taken.insert(i);
                    alike.insert(j, i);
                }
            }
        }
        let agree = |x: &Rule, y: &Rule| {
            let mut asked = x.buckets().zip(y.buckets());
            asked.all(|(i, j)| alike.get(&j) == Some(&i))
        };
        for (stage, steps) in &mut self.steps {
            let mut out = Vec::with_capacity(steps.len());
            for step in steps.iter().copied() {
                let [i, j] = step.rules;
                let pair = (
                    i.and_then(|i| from.stage(*stage).get(i)),
                    j.and_then(|j| to.stage(*stage).get(j)),
                );
                match pair {
                    (Some(x), Some(y)) if !agree(x, y) => {
                        out.push(Step { rules: [i, None] });
                        out.push(Step { rules: [None, j] });
                    }
                    _ => out.push(step),
                }
            }
            *steps = out;
        }
        self.alike = alike;
    }

    /// The rules that both have.
    pub(super) fn common_rules(&self) -> impl Iterator<Item = (Stage, &'a Rule, &'a Rule)> + '_ {
        let stages = Stage::ALL.into_iter();
        stages.flat_map(|stage| self.common_at(stage).map(move |(_, x, y)| (stage, x, y)))
    }

    /// The rules of a stage that both have, with their indices in the second policy.
    pub(super) fn common_at(
        &self,
        stage: Stage,
    ) -> impl Iterator<Item = (usize, &'a Rule, &'a Rule)> + '_ {
        let [from, to] = self.irs;
        let steps = self.steps.get(&stage).map_or(&[][..], Vec::as_slice);
        steps.iter().filter_map(move |step| match step.rules {
            [Some(i), Some(j)] => Some((j, from.stage(stage).get(i)?, to.stage(stage).get(j)?)),
            _ => None,
        })
    }

    /// Whether two rules do the same to the same packets. Names, metadata and counters do not count,
    /// and buckets need not have the same name.
    fn equal(&self, x: &Rule, y: &Rule) -> bool {
        let [from, to] = self.irs;
        let limits = || {
            x.limits
                .iter()
                .zip(&y.limits)
                .all(|(l, m)| l.sense == m.sense && alike_at(from, to, l.bucket, m.bucket))
        };
        x.admit == y.admit
            && x.limits.len() == y.limits.len()
            && x.cubes.len() == y.cubes.len()
            && self.same_verdict(x.verdict.as_ref(), y.verdict.as_ref())
            && x.cubes
                .iter()
                .zip(&y.cubes)
                .all(|(c, d)| self.same_cube(c, d))
            && limits()
            && self.same_effects(&x.effects, &y.effects)
    }

    fn same_effects(&self, x: &Effects, y: &Effects) -> bool {
        let [from, to] = self.irs;
        let logs = match (&x.log, &y.log) {
            (None, None) => true,
            (Some(log), Some(other)) => {
                log.text == other.text
                    && match (log.at, other.at) {
                        (None, None) => true,
                        (Some(i), Some(j)) => alike_at(from, to, i, j),
                        _ => false,
                    }
            }
            _ => false,
        };
        let adds = match (x.add, y.add) {
            (None, None) => true,
            (Some(i), Some(j)) => self.same_set(i, j),
            _ => false,
        };
        x.mark == y.mark && logs && adds
    }

    fn same_set(&self, i: usize, j: usize) -> bool {
        let [from, to] = self.irs;
        matches!((from.dynamic.get(i), to.dynamic.get(j)), (Some(x), Some(y)) if same_set(x, y))
    }

    fn same_verdict(&self, x: Option<&Verdict>, y: Option<&Verdict>) -> bool {
        let [from, to] = self.irs;
        match (x, y) {
            (Some(Verdict::Proxy(i)), Some(Verdict::Proxy(j))) => {
                let (Some(x), Some(y)) = (from.proxies.get(*i), to.proxies.get(*j)) else {
                    return false;
                };
                (x.tcp, x.udp, x.v4, x.v6) == (y.tcp, y.udp, y.v4, y.v6)
                    && (x.mark, x.table, x.down) == (y.mark, y.table, y.down)
                    && x.bypass.len() == y.bypass.len()
                    && x.bypass
                        .iter()
                        .zip(&y.bypass)
                        .all(|(c, d)| self.same_cube(c, d))
            }
            _ => x == y,
        }
    }

    fn same_cube(&self, x: &Cube, y: &Cube) -> bool {
        let atoms = || {
            x.atoms.iter().zip(&y.atoms).all(|((p, yes), (q, also))| {
                let same = match (p, q) {
                    (
                        Atom::Dynamic { set: old, dest },
                        Atom::Dynamic {
                            set: new,
                            dest: also,
                        },
                    ) => dest == also && self.same_set(*old, *new),
                    _ => p == q,
                };
                same && yes == also
            })
        };
        x.families == y.families
            && x.saddr == y.saddr
            && x.daddr == y.daddr
            && x.proto == y.proto
            && x.fields == y.fields
            && x.ingress == y.ingress
            && x.egress == y.egress
            && x.original == y.original
            && x.atoms.len() == y.atoms.len()
            && atoms()
    }
}

fn alike_at(from: &Ir, to: &Ir, i: BucketId, j: BucketId) -> bool {
    matches!((from.buckets.get(i), to.buckets.get(j)), (Some(x), Some(y)) if alike(x, y))
}

/// Both lists as one.
fn steps(left: usize, right: usize, common: &[(usize, usize)]) -> Vec<Step> {
    let mut out = Vec::with_capacity(left.max(right));
    let (mut i, mut j) = (0, 0);
    for (x, y) in common.iter().copied().chain([(left, right)]) {
        out.extend((i..x).map(|i| Step {
            rules: [Some(i), None],
        }));
        out.extend((j..y).map(|j| Step {
            rules: [None, Some(j)],
        }));
        if x < left && y < right {
            out.push(Step {
                rules: [Some(x), Some(y)],
            });
        }
        (i, j) = (x + 1, y + 1);
    }
    out
}

/// A common subsequence of two lists: the longest when that takes few edits.
fn common(left: usize, right: usize, equal: &impl Fn(usize, usize) -> bool) -> Vec<(usize, usize)> {
    let shorter = left.min(right);
    let head = (0..shorter).take_while(|i| equal(*i, *i)).count();
    let rest = shorter - head;
    let tail = (1..=rest)
        .take_while(|n| equal(left - n, right - n))
        .count();
    let mut out: Vec<(usize, usize)> = (0..head).map(|i| (i, i)).collect();
    let (n, m) = (left - head - tail, right - head - tail);
    let inner = shortest_edit(n, m, &|i, j| equal(head + i, head + j));
    out.extend(inner.into_iter().map(|(i, j)| (head + i, head + j)));
    out.extend((1..=tail).rev().map(|k| (left - k, right - k)));
    out
}

/// Pairs the first of several equal neighbours: the others have nothing left to decide, and a rule that
/// is written twice keeps its name and its bucket at the first place.
fn pull_forward(common: &mut [(usize, usize)], equal: &impl Fn(usize, usize) -> bool) {
    let (mut least_i, mut least_j) = (0, 0);
    for (i, j) in common {
        while *i > least_i && equal(*i - 1, *j) {
            *i -= 1;
        }
        while *j > least_j && equal(*i, *j - 1) {
            *j -= 1;
        }
        (least_i, least_j) = (*i + 1, *j + 1);
    }
}

/// The pairs of a shortest edit script (E. Myers, 1986); none when it is too long.
fn shortest_edit(n: usize, m: usize, equal: &impl Fn(usize, usize) -> bool) -> Vec<(usize, usize)> {
    let most = (n + m).min(MOST_EDITS);
    // How far each diagonal is known to go, after each number of edits.
    let mut history: Vec<Vec<usize>> = Vec::new();
    let mut far = vec![0usize; 2 * most + 3];
    let slot = |k: isize| usize::try_from(k + most.cast_signed() + 1).unwrap_or_default();
    for d in 0..=most.cast_signed() {
        history.push(far.clone());
        for k in (-d..=d).step_by(2) {
            let get = |k: isize| far.get(slot(k)).copied().unwrap_or_default();
            let down = k == -d || k != d && get(k - 1) < get(k + 1);
            let mut x = if down { get(k + 1) } else { get(k - 1) + 1 };
            let Some(mut y) = x.checked_add_signed(-k) else {
                continue;
            };
            while x < n && y < m && equal(x, y) {
                (x, y) = (x + 1, y + 1);
            }
            if let Some(own) = far.get_mut(slot(k)) {
                *own = x;
            }
            if x >= n && y >= m {
                return trace(&history, n, m, most);
            }
        }
    }
    Vec::new()
}

/// Follows the edits back from the end.
#[expect(clippy::many_single_char_names, reason = "the names of the paper")]
fn trace(history: &[Vec<usize>], n: usize, m: usize, most: usize) -> Vec<(usize, usize)> {
    let slot = |k: isize| usize::try_from(k + most.cast_signed() + 1).unwrap_or_default();
    let (mut x, mut y) = (n.cast_signed(), m.cast_signed());
    let mut out = Vec::new();
    for (d, far) in history.iter().enumerate().rev() {
        let d = d.cast_signed();
        let k = x - y;
        let get = |k: isize| far.get(slot(k)).copied().unwrap_or_default().cast_signed();
        let down = k == -d || k != d && get(k - 1) < get(k + 1);
        let before = if down { k + 1 } else { k - 1 };
        let (px, py) = (get(before), get(before) - before);
        let (sx, sy) = if d == 0 {
            (0, 0)
        } else if down {
            (px, py + 1)
        } else {
            (px + 1, py)
        };
        while x > sx && y > sy {
            (x, y) = (x - 1, y - 1);
            out.push((x.unsigned_abs(), y.unsigned_abs()));
        }
        (x, y) = (px, py);
    }
    out.reverse();
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::common;

    /// The length of a longest common subsequence, by the book.
    fn longest(a: &[u8], b: &[u8]) -> usize {
        let mut row = vec![0; b.len() + 1];
        for x in a {
            let mut corner = 0;
            for (j, y) in b.iter().enumerate() {
                let above = row[j + 1];
                row[j + 1] = if x == y {
                    corner + 1
                } else {
                    above.max(row[j])
                };
                corner = above;
            }
        }
        row[b.len()]
    }

    proptest! {
        #[test]
        fn a_longest_common_subsequence_is_found(
            a in prop::collection::vec(0u8..4, 0..24),
            b in prop::collection::vec(0u8..4, 0..24),
        ) {
            let found = common(a.len(), b.len(), &|i, j| a[i] == b[j]);
            prop_assert!(found.iter().all(|(i, j)| a[*i] == b[*j]));
            prop_assert!(found.windows(2).all(|w| w[0].0 < w[1].0 && w[0].1 < w[1].1));
            prop_assert_eq!(found.len(), longest(&a, &b));
        }
    }
}
