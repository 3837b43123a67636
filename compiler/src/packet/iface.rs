//! Sets of interface names, with patterns such as `wg*`.

use std::collections::BTreeSet;
use std::fmt;

/// An interface name, or every name with a prefix.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Pattern {
    /// Exactly this name.
    Name(String),
    /// Names that begin with this (`wg` for `wg*`; empty for `*`).
    Prefix(String),
}

/// The longest name the kernel takes: `IFNAMSIZ` (16) with its final zero.
const LONGEST: usize = 15;

impl Pattern {
    /// Why no kernel could have an interface of that name or pattern; `None` when one can.
    pub fn problem(text: &str) -> Option<&'static str> {
        let stem = text.strip_suffix('*').unwrap_or(text);
        let odd = |c: char| matches!(c, '/' | ':') || c.is_whitespace() || c.is_control();
        if stem.contains('*') {
            Some("a `*` can only stand at its end")
        } else if text.is_empty() || text == "." || text == ".." {
            Some("it is not a name")
        } else if text.chars().any(odd) {
            Some("it has a character that interface names cannot have")
        } else if text.contains('"') {
            Some("polc takes no names with quotes")
        } else if stem.len() > LONGEST {
            Some("the longest has 15 bytes")
        } else {
            None
        }
    }

    /// Reads `eth0` or `wg*`. Behind the longest possible name there is room for nothing more: such
    /// a pattern means that name.
    pub fn parse(text: &str) -> Self {
        match text.strip_suffix('*') {
            Some(prefix) if prefix.len() >= LONGEST => Self::Name(prefix.to_owned()),
            Some(prefix) => Self::Prefix(prefix.to_owned()),
            None => Self::Name(text.to_owned()),
        }
    }

    /// Whether an interface of this name is meant.
    pub fn matches(&self, name: &str) -> bool {
        match self {
            Self::Name(own) => own == name,
            Self::Prefix(prefix) => name.starts_with(prefix.as_str()),
        }
    }

    /// A name that is meant, and that no narrower one of `all` means; `None` when there is none.
    pub fn own_name(&self, all: &BTreeSet<Self>) -> Option<String> {
        let prefix = match self {
            Self::Name(name) => return Some(name.clone()),
            Self::Prefix(prefix) => prefix,
        };
        let narrower = |name: &str| {
            let mut others = all.iter().filter(|p| *p != self && self.covers(p));
            others.any(|p| p.matches(name))
        };
        let usual = if prefix.is_empty() { "other" } else { prefix };
        let short = (0..=all.len()).flat_map(|n| [format!("{usual}{n}"), format!("{usual}x{n}")]);
        // Narrower patterns may take all of these. Who says that there is no name leaves such interfaces out.
        let others = ('!'..='~').map(|c| format!("{prefix}{c}"));
        let long = others.clone();
        let long = long.flat_map(|stem| (0..=all.len()).map(move |n| format!("{stem}{n}")));
        let mut names = short.chain(long).chain(others).chain([prefix.clone()]);
        names.find(|name| !name.ends_with('*') && Self::problem(name).is_none() && !narrower(name))
    }

    /// Whether every name that `other` means is meant.
    pub fn covers(&self, other: &Self) -> bool {
        match other {
            Self::Name(name) => self.matches(name),
            Self::Prefix(long) => matches!(self, Self::Prefix(p) if long.starts_with(p.as_str())),
        }
    }

    /// The names that both mean: the narrower of the two, or nothing.
    fn meet(&self, other: &Self) -> Option<Self> {
        if self.covers(other) {
            Some(other.clone())
        } else if other.covers(self) {
            Some(self.clone())
        } else {
            None
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Prefix(prefix) => write!(f, "{prefix}*"),
        }
    }
}

/// Interfaces whose name matches one of `include` (any name when `None`) and none of `exclude`.
///
/// Kept normal: no pattern that another one covers, no exclusion that excludes nothing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IfaceSet {
    include: Option<BTreeSet<Pattern>>,
    exclude: BTreeSet<Pattern>,
}

impl IfaceSet {
    /// No interface.
    pub fn empty() -> Self {
        Self {
            include: Some(BTreeSet::new()),
            exclude: BTreeSet::new(),
        }
    }

    /// Every interface, `lo` too.
    pub fn full() -> Self {
        Self {
            include: None,
            exclude: BTreeSet::new(),
        }
    }

    /// The interfaces that one of the patterns means.
    pub fn of(patterns: impl IntoIterator<Item = Pattern>) -> Self {
        Self {
            include: Some(patterns.into_iter().collect()),
            exclude: BTreeSet::new(),
        }
        .normal()
    }

    /// The interfaces that none of the patterns means.
    pub fn not(patterns: impl IntoIterator<Item = Pattern>) -> Self {
        Self {
            include: None,
            exclude: patterns.into_iter().collect(),
        }
        .normal()
    }

    /// Every interface but `lo`.
    pub fn not_loopback() -> Self {
        Self::not([Pattern::Name("lo".to_owned())])
    }

    /// The patterns one of which must match; `None` when any name does.
    pub fn include(&self) -> Option<&BTreeSet<Pattern>> {
        self.include.as_ref()
    }

    /// The patterns none of which may match.
    pub fn exclude(&self) -> &BTreeSet<Pattern> {
        &self.exclude
    }

    /// Whether no interface is in it.
    pub fn is_empty(&self) -> bool {
        self.include.as_ref().is_some_and(BTreeSet::is_empty)
    }

    /// Whether every interface is in it.
    pub fn is_full(&self) -> bool {
        self.include.is_none() && self.exclude.is_empty()
    }

    /// Whether an interface of this name is in it.
    pub fn contains(&self, name: &str) -> bool {
        self.include
            .as_ref()
            .is_none_or(|i| i.iter().any(|p| p.matches(name)))
            && !self.exclude.iter().any(|p| p.matches(name))
    }

    /// Interfaces of both.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        let include = match (&self.include, &other.include) {
            (None, None) => None,
            (Some(one), None) | (None, Some(one)) => Some(one.clone()),
            (Some(a), Some(b)) => Some(
                a.iter()
                    .flat_map(|x| b.iter().filter_map(|y| x.meet(y)))
                    .collect(),
            ),
        };
        let exclude = self.exclude.union(&other.exclude).cloned().collect();
        Self { include, exclude }.normal()
    }

    /// Interfaces of either; exact when neither side excludes anything or one covers the other,
    /// else `None`.
    pub fn union(&self, other: &Self) -> Option<Self> {
        if other.is_subset(self) {
            return Some(self.clone());
        }
        if self.is_subset(other) {
            return Some(other.clone());
        }
        match (&self.include, &other.include) {
            (Some(a), Some(b)) if self.exclude.is_empty() && other.exclude.is_empty() => {
                Some(Self::of(a.union(b).cloned()))
            }
            _ => None,
        }
    }

    /// Interfaces of `self` that are not in `other`, as disjoint parts.
    pub fn difference(&self, other: &Self) -> Vec<Self> {
        let outside = match &other.include {
            Some(include) => self.intersection(&Self::not(include.iter().cloned())),
            None => Self::empty(),
        };
        let inside = match &other.include {
            Some(include) => self.intersection(&Self::of(include.iter().cloned())),
            None => self.clone(),
        };
        let excluded = inside.intersection(&Self::of(other.exclude.iter().cloned()));
        [outside, excluded]
            .into_iter()
            .filter(|part| !part.is_empty())
            .collect()
    }

    /// Whether every interface is in `other`.
    pub fn is_subset(&self, other: &Self) -> bool {
        self.difference(other).is_empty()
    }

    /// Whether the two share a name.
    pub fn intersects(&self, other: &Self) -> bool {
        !self.intersection(other).is_empty()
    }

    fn normal(mut self) -> Self {
        if self.exclude.contains(&Pattern::Prefix(String::new())) {
            return Self::empty();
        }
        if let Some(include) = &mut self.include {
            let wide = prefixes(include);
            let out = prefixes(&self.exclude);
            include.retain(|p| {
                !self.exclude.contains(p)
                    && !out.iter().any(|e| e.covers(p))
                    && !wide.iter().any(|q| q != p && q.covers(p))
            });
        }
        let wide = prefixes(&self.exclude);
        let include = &self.include;
        self.exclude.retain(|p| {
            let useful = include
                .as_ref()
                .is_none_or(|i| i.iter().any(|q| q.meet(p).is_some()));
            useful && !wide.iter().any(|q| q != p && q.covers(p))
        });
        self
    }
}

/// The patterns that mean more than one name: only they can cover others.
fn prefixes(patterns: &BTreeSet<Pattern>) -> Vec<Pattern> {
    let wide = |p: &&Pattern| matches!(p, Pattern::Prefix(_));
    patterns.iter().filter(wide).cloned().collect()
}

impl fmt::Display for IfaceSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |patterns: &BTreeSet<Pattern>| {
            patterns
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(", ")
        };
        match &self.include {
            Some(include) if include.is_empty() => return f.write_str("none"),
            Some(include) => f.write_str(&list(include))?,
            None if self.exclude.is_empty() => return f.write_str("any"),
            None => {}
        }
        if !self.exclude.is_empty() {
            let space = if self.include.is_some() { " " } else { "" };
            write!(f, "{space}not {}", list(&self.exclude))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NAMES: [&str; 7] = ["lo", "eth0", "eth1", "eth10", "wg0", "wg1", "br0"];

    fn pattern() -> impl Strategy<Value = Pattern> {
        prop_oneof![
            Just("lo"),
            Just("eth0"),
            Just("eth1"),
            Just("eth1*"),
            Just("eth*"),
            Just("wg*"),
            Just("wg0"),
            Just("*")
        ]
        .prop_map(Pattern::parse)
    }

    fn set() -> impl Strategy<Value = IfaceSet> {
        let some = || proptest::collection::vec(pattern(), 0..4);
        (proptest::option::of(some()), some()).prop_map(|(include, exclude)| {
            let base = include.map_or_else(IfaceSet::full, IfaceSet::of);
            base.intersection(&IfaceSet::not(exclude))
        })
    }

    #[test]
    fn a_name_of_its_own_is_found_where_there_is_one() {
        let own = |pattern: &str, others: &[&str]| {
            let mut all: BTreeSet<Pattern> = others.iter().map(|p| Pattern::parse(p)).collect();
            let pattern = Pattern::parse(pattern);
            all.insert(pattern.clone());
            pattern.own_name(&all)
        };
        let some = |name: &str| Some(name.to_owned());
        assert_eq!(own("eth*", &["eth0", "wg*"]), some("ethx0"));
        assert_eq!(own("*", &["other0"]), some("otherx0"));
        for (pattern, others) in [
            ("*", vec!["other*"]),
            ("*", vec!["other*", "!*", "0*", "a*"]),
            ("eth*", vec!["eth0*", "eth1*", "eth2*", "ethx*"]),
            ("fourteen-bytes*", vec!["fourteen-bytes0"]),
        ] {
            let name = own(pattern, &others).unwrap();
            assert!(Pattern::parse(pattern).matches(&name), "{name}");
            assert!(
                !others.iter().any(|o| Pattern::parse(o).matches(&name)),
                "{name}"
            );
        }
        // The longest name is one alone.
        assert_eq!(own("a-name-of-14-b*", &[]), some("a-name-of-14-b0"));
        let all: Vec<String> = ('!'..='~').map(|c| format!("{c}*")).collect();
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        assert_eq!(own("*", &all), None);
    }

    proptest! {
        #[test]
        fn operations_agree_with_membership(a in set(), b in set()) {
            let both = a.intersection(&b);
            let parts = a.difference(&b);
            for name in NAMES {
                prop_assert_eq!(both.contains(name), a.contains(name) && b.contains(name));
                let in_parts = parts.iter().filter(|p| p.contains(name)).count();
                prop_assert_eq!(in_parts, usize::from(a.contains(name) && !b.contains(name)));
                if let Some(either) = a.union(&b) {
                    prop_assert_eq!(either.contains(name), a.contains(name) || b.contains(name));
                }
                prop_assert!(!a.is_empty() || !a.contains(name));
            }
        }
    }

    #[test]
    fn a_set_reads_as_it_is_written() {
        assert_eq!(IfaceSet::not_loopback().to_string(), "not lo");
        assert_eq!(IfaceSet::full().to_string(), "any");
        let set = IfaceSet::of([Pattern::parse("wg*"), Pattern::parse("eth0")]);
        assert_eq!(set.to_string(), "eth0, wg*");
        assert!(IfaceSet::not([Pattern::parse("*")]).is_empty());
    }
}
