//! Words that are nearly keywords.

/// What people write who come from other tools.
const SYNONYMS: &[(&str, &str)] = &[
    ("accept", "allow"),
    ("permit", "allow"),
    ("pass", "allow"),
    ("drop", "deny"),
    ("block", "deny"),
    ("discard", "deny"),
    ("refuse", "reject"),
    ("if", "when"),
    ("where", "when"),
    ("src", "from"),
    ("saddr", "from"),
    ("dst", "to"),
    ("daddr", "to"),
    ("iif", "in"),
    ("iifname", "in"),
    ("oif", "out"),
    ("oifname", "out"),
    ("unless", "except"),
    ("limit", "within"),
    ("rdr", "redirect"),
    ("import", "use"),
    ("include", "use"),
    ("define", "set"),
    ("comment", "note"),
    ("counter", "count"),
    ("assert", "ensure"),
    ("else", "default"),
];

/// The candidate that `word` was probably meant to be.
pub(super) fn nearest<'c>(word: &str, candidates: &[&'c str]) -> Option<&'c str> {
    let lower = word.to_ascii_lowercase();
    if let Some((_, meant)) = SYNONYMS.iter().find(|(other, _)| *other == lower)
        && let Some(found) = candidates.iter().find(|candidate| *candidate == meant)
    {
        return Some(found);
    }
    let most = match lower.len() {
        0..=2 => 0,
        3..=5 => 1,
        _ => 2,
    };
    let near = candidates
        .iter()
        .map(|candidate| (distance(&lower, candidate), *candidate));
    near.filter(|(distance, candidate)| *distance <= most && *distance < candidate.len())
        .min()
        .map(|(_, candidate)| candidate)
}

/// How many letters must be put in, left out, changed, or swapped with their neighbour.
fn distance(left: &str, right: &str) -> usize {
    if left.len().abs_diff(right.len()) > 2 {
        return usize::MAX;
    }
    let right: Vec<u8> = right.bytes().collect();
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=right.len()).collect();
    let mut previous = 0;
    for (row, l) in left.bytes().enumerate() {
        let mut current = vec![row + 1];
        let mut left_of = row + 1;
        for (column, &r) in right.iter().enumerate() {
            let at =
                |cells: &[usize], index: usize| cells.get(index).copied().unwrap_or(usize::MAX);
            let mut cost = (at(&last, column) + usize::from(l != r))
                .min(at(&last, column + 1) + 1)
                .min(left_of + 1);
            if let Some(before) = column.checked_sub(1)
                && row > 0
                && right.get(before) == Some(&l)
                && previous == r
            {
                cost = cost.min(at(&before_last, before) + 1);
            }
            current.push(cost);
            left_of = cost;
        }
        before_last = std::mem::replace(&mut last, current);
        previous = l;
    }
    last.last().copied().unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_edits_and_swaps() {
        assert_eq!(distance("alow", "allow"), 1);
        assert_eq!(distance("defualt", "default"), 1);
        assert_eq!(distance("fom", "from"), 1);
        assert_eq!(distance("form", "from"), 1);
        assert_eq!(distance("egres", "egress"), 1);
        assert_eq!(distance("kitten", "sittin"), 2);
        assert_eq!(distance("ssh", "ssh"), 0);
    }

    #[test]
    fn proposes_only_what_is_near() {
        let words = ["allow", "deny", "from", "to", "default", "redirect"];
        assert_eq!(nearest("alow", &words), Some("allow"));
        assert_eq!(nearest("DENY", &words), Some("deny"));
        assert_eq!(nearest("drop", &words), Some("deny"));
        assert_eq!(nearest("redircet", &words), Some("redirect"));
        assert_eq!(nearest("tomcat", &words), None);
        assert_eq!(nearest("t", &words), None);
    }
}
