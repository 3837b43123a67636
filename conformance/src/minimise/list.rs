//! Sequences.

/// The smallest part of `items` found that still fails, in their order: without any one of its
/// items it does not. `items` fail; they are not asked about as a whole.
///
/// Halves are left out first, then quarters, down to single items. One item among n that fails
/// alone is found with about 2 log₂ n questions; n that are all needed take about 3 n.
pub fn list<T: Clone>(items: &[T], mut fails: impl FnMut(&[T]) -> bool) -> Vec<T> {
    let mut kept = items.to_vec();
    let mut size = kept.len().div_ceil(2);
    while size > 1 {
        let mut at = 0;
        while at < kept.len() {
            let rest = without(&kept, at, size);
            if fails(&rest) {
                kept = rest;
            } else {
                at += size;
            }
        }
        size = size.min(kept.len()).div_ceil(2);
    }
    // Round and round, until each of them has been tried since the last one left.
    let (mut at, mut needed) = (0, 0);
    while needed < kept.len() {
        at %= kept.len();
        let rest = without(&kept, at, 1);
        if fails(&rest) {
            kept = rest;
            needed = 0;
        } else {
            at += 1;
            needed += 1;
        }
    }
    kept
}

/// `items` without the `size` of them that begin with the one at `at`.
fn without<T: Clone>(items: &[T], at: usize, size: usize) -> Vec<T> {
    let left = items.iter().take(at);
    let right = items.iter().skip(at.saturating_add(size));
    left.chain(right).cloned().collect()
}

#[cfg(test)]
mod tests {
    use fastrand::Rng;

    use super::*;

    /// The result, and how many questions it took.
    fn counted<T: Clone>(items: &[T], fails: impl Fn(&[T]) -> bool) -> (Vec<T>, usize) {
        let mut calls = 0;
        let out = list(items, |part| {
            calls += 1;
            fails(part)
        });
        (out, calls)
    }

    #[test]
    fn one_item_is_found_in_logarithmic_time() {
        let items: Vec<u32> = (0..1024).collect();
        for culprit in [0, 1, 500, 511, 512, 1023] {
            let (out, calls) = counted(&items, |part| part.contains(&culprit));
            assert_eq!(out, [culprit]);
            assert!(calls <= 21, "{culprit}: {calls} calls");
        }
    }

    #[test]
    fn items_far_apart_keep_their_order() {
        let items: Vec<u32> = (0..1000).rev().collect();
        let needed = [997, 400, 3];
        let ordered = |part: &[u32]| {
            let found: Vec<u32> = part
                .iter()
                .copied()
                .filter(|n| needed.contains(n))
                .collect();
            found == needed
        };
        let (out, calls) = counted(&items, ordered);
        assert_eq!(out, needed);
        assert!(calls <= 60, "{calls} calls");
    }

    #[test]
    fn what_is_needed_in_full_costs_a_few_questions_for_each_item() {
        let items: Vec<u32> = (0..64).collect();
        let (out, calls) = counted(&items, |part| part.len() == 64);
        assert_eq!(out, items);
        assert!(calls <= 64 * 2, "{calls} calls");
        assert!(counted(&items, |_| true).0.is_empty());
        assert!(counted(&[], |_: &[u32]| true).0.is_empty());
    }

    /// Also where leaving something out can make the rest fail no more, and leaving out more makes
    /// it fail again.
    #[test]
    fn no_item_of_the_result_can_be_left_out() {
        let mut rng = Rng::with_seed(7);
        for _ in 0..500 {
            let items: Vec<u32> = (0..rng.u32(1..40)).collect();
            let some = |rng: &mut Rng| -> Vec<u32> {
                items.iter().copied().filter(|_| rng.u8(..5) == 0).collect()
            };
            let ways = [some(&mut rng), some(&mut rng), some(&mut rng)];
            let odd = rng.bool();
            let fails = |part: &[u32]| {
                part.len() == items.len()
                    || (!odd || part.len() % 2 == 1)
                        && ways.iter().any(|way| way.iter().all(|n| part.contains(n)))
            };
            let (out, _) = counted(&items, fails);
            assert!(fails(&out) && out.is_sorted());
            for at in 0..out.len() {
                assert!(!fails(&without(&out, at, 1)), "{out:?} without {at}");
            }
        }
    }
}
