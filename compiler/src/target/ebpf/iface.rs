//! The interfaces that rules tell apart.

use std::collections::BTreeSet;

use crate::ir::{Rule, Side};
use crate::packet::{IfaceSet, IntervalSet, Pattern};

/// Classes of interfaces: those that a pattern means and no earlier one does. They have numbers from
/// 1 on.
#[derive(Clone, Debug)]
pub(super) struct Classes {
    /// The patterns, narrow ones first, each with a name that belongs to its class; none where
    /// narrower ones leave no name.
    classes: Vec<(Pattern, Option<String>)>,
}

impl Classes {
    /// The classes that the cubes of some rules tell apart by some of their sides, and one for a pattern
    /// besides.
    pub(super) fn of<'r>(
        rules: impl IntoIterator<Item = &'r Rule>,
        sides: &[fn(&crate::ir::Cube) -> &Side],
        also: Option<Pattern>,
    ) -> Self {
        let mut patterns = BTreeSet::from([Pattern::Prefix(String::new())]);
        patterns.extend(also);
        for cube in rules.into_iter().flat_map(|rule| &rule.cubes) {
            for side in sides {
                let ifaces = &side(cube).ifaces;
                patterns.extend(ifaces.include().into_iter().flatten().cloned());
                patterns.extend(ifaces.exclude().iter().cloned());
            }
        }
        let mut ordered: Vec<Pattern> = patterns.iter().cloned().collect();
        ordered.sort_by_key(|pattern| match pattern {
            Pattern::Name(_) => 0,
            Pattern::Prefix(prefix) => usize::MAX - prefix.len(),
        });
        let named = |pattern: Pattern| {
            let name = pattern.own_name(&patterns);
            (pattern, name)
        };
        let classes = ordered.into_iter().map(named).collect();
        Self { classes }
    }

    /// The number, the pattern and a name of each class.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, &Pattern, Option<&str>)> {
        let numbered = (1..).zip(&self.classes);
        numbered.map(|(number, (pattern, name))| (number, pattern, name.as_deref()))
    }

    /// The numbers of the classes in a set.
    pub(super) fn numbers(&self, ifaces: &IfaceSet) -> IntervalSet<u64> {
        let inside = |(number, _, name): (u64, _, Option<&str>)| {
            name.is_some_and(|name| ifaces.contains(name))
                .then_some((number, number))
        };
        self.iter().filter_map(inside).collect()
    }
}
