//! Places of a text that can be left out, and the text without them.

use polc_grammar::ast::Span;

/// The place from one offset to another.
pub(super) fn between(start: u32, end: u32) -> Span {
    Span { start, end }
}

/// Parts of a text that can be left out.
#[derive(Debug)]
pub(super) enum Parts {
    /// Each by itself: all of a part's places go together.
    Free(Vec<Vec<Span>>),
    /// The members of a list, with what separates them. The first one stays where no other does.
    List(Vec<Span>),
}

/// A part: of which group, and which of it.
pub(super) type Part = (usize, usize);

/// Every part of some groups, in order.
pub(super) fn all(groups: &[Parts]) -> Vec<Part> {
    let of = |(group, parts): (usize, &Parts)| {
        let count = match parts {
            Parts::Free(parts) => parts.len(),
            Parts::List(members) => members.len(),
        };
        (0..count).map(move |at| (group, at))
    };
    groups.iter().enumerate().flat_map(of).collect()
}

/// The text without the parts that are not in `kept`.
pub(super) fn only(text: &str, groups: &[Parts], kept: &[Part]) -> String {
    let mut gone: Vec<Span> = Vec::new();
    for (group, parts) in groups.iter().enumerate() {
        let stays = |at: usize| kept.contains(&(group, at));
        match parts {
            Parts::Free(parts) => {
                let parts = parts.iter().enumerate();
                let cut = parts.filter(|(at, _)| !stays(*at));
                gone.extend(cut.flat_map(|(_, places)| places));
            }
            Parts::List(members) => shorten(members, stays, &mut gone),
        }
    }
    without(text, gone)
}

/// Leaves members out of a list: those before the first that stays with the separator behind each,
/// the others with the one before.
fn shorten(members: &[Span], stays: impl Fn(usize) -> bool, gone: &mut Vec<Span>) {
    let first = (0..members.len()).find(|at| stays(*at)).unwrap_or(0);
    let pairs = members.iter().zip(members.iter().skip(1));
    for (at, (left, right)) in pairs.enumerate() {
        if at < first {
            gone.push(between(left.start, right.start));
        } else if !stays(at + 1) {
            gone.push(between(left.end, right.end));
        }
    }
}

fn without(text: &str, mut gone: Vec<Span>) -> String {
    gone.sort_unstable();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    for place in gone.iter().map(|place| place.range()) {
        out.push_str(text.get(at..place.start).unwrap_or_default());
        at = at.max(place.end);
    }
    out.push_str(text.get(at..).unwrap_or_default());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span((start, end): (usize, usize)) -> Span {
        Span::new(start, end)
    }

    fn spans(all: &[(usize, usize)]) -> Vec<Span> {
        all.iter().copied().map(span).collect()
    }

    #[test]
    fn a_list_keeps_its_separators() {
        let text = "allow a, b,c , d from x";
        let groups = [Parts::List(
            [(6, 7), (9, 10), (11, 12), (15, 16)].map(span).to_vec(),
        )];
        let of = |kept: &[usize]| {
            let kept: Vec<Part> = kept.iter().map(|at| (0, *at)).collect();
            only(text, &groups, &kept)
        };
        assert_eq!(of(&[0, 1, 2, 3]), text);
        assert_eq!(of(&[0, 3]), "allow a , d from x");
        assert_eq!(of(&[1, 3]), "allow b , d from x");
        assert_eq!(of(&[1]), "allow b from x");
        assert_eq!(of(&[3]), "allow d from x");
        assert_eq!(of(&[]), "allow a from x");
    }

    #[test]
    fn places_inside_others_go_with_them() {
        let groups = [Parts::Free(
            [&[(0, 6), (9, 10)][..], &[(2, 4)], &[(7, 8)]]
                .map(spans)
                .to_vec(),
        )];
        assert_eq!(only("0123456789", &groups, &[(0, 2)]), "678");
        assert_eq!(all(&groups), [(0, 0), (0, 1), (0, 2)]);
    }
}
