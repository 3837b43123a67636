//! Interface names as numbers.
//!
//! Names and patterns such as `wg*` either contain one another or have nothing in common. So each
//! pattern, without those inside of it, is a class of names that no policy tells apart, and what no
//! pattern means is one more.

use std::collections::BTreeSet;

use crate::ir::Side;
use crate::packet::{IfaceSet, IntervalSet, Pattern, Values};

/// The number of this machine, which is no interface.
pub(crate) const HOST: u128 = 0;

/// Classes of interface names that policies do not tell apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Classes {
    /// A name of each class; the class with index `n` has the number `n + 1`.
    names: Vec<String>,
    /// What each class is called.
    labels: Vec<String>,
}

impl Classes {
    /// The classes of the names that some patterns mean.
    pub(super) fn of<'a>(patterns: impl Iterator<Item = &'a Pattern>) -> Self {
        let mut patterns: BTreeSet<Pattern> = patterns.cloned().collect();
        patterns.insert(Pattern::Name("lo".to_owned()));
        patterns.remove(&Pattern::Prefix(String::new()));
        let mut classes = Self {
            names: Vec::new(),
            labels: Vec::new(),
        };
        for pattern in &patterns {
            if let Some(name) = pattern.own_name(&patterns) {
                classes.names.push(name);
                classes.labels.push(pattern.to_string());
            }
        }
        let rest = Pattern::Prefix(String::new());
        if let Some(name) = rest.own_name(&patterns) {
            classes.names.push(name);
            classes.labels.push("another interface".to_owned());
        }
        classes
    }

    /// The number of the loopback interface.
    pub(crate) fn loopback(&self) -> u128 {
        self.number("lo").unwrap_or(HOST)
    }

    /// The largest number in use.
    pub(super) fn largest(&self) -> u128 {
        self.names.len() as u128
    }

    /// This machine and every class.
    pub(super) fn every(&self) -> Values {
        Values::Range(HOST, self.largest())
    }

    /// Every class.
    pub(super) fn interfaces(&self) -> Values {
        Values::Range(HOST + 1, self.largest())
    }

    /// The numbers of a side; `None` when it is empty.
    pub(crate) fn values(&self, side: &Side) -> Option<Values> {
        let host = side.host.then_some((HOST, HOST));
        let ifaces = self.numbers(&side.ifaces).map(|n| (n, n));
        Values::of(
            &host
                .into_iter()
                .chain(ifaces)
                .collect::<IntervalSet<u128>>(),
        )
    }

    fn numbers<'a>(&'a self, set: &'a IfaceSet) -> impl Iterator<Item = u128> + 'a {
        let numbered = (1..).zip(&self.names);
        numbered
            .filter(|(_, name)| set.contains(name))
            .map(|(n, _)| n)
    }

    /// The number of the class that a name belongs to.
    fn number(&self, name: &str) -> Option<u128> {
        let position = self.names.iter().position(|n| n == name)?;
        Some(position as u128 + 1)
    }

    /// A name of the class with this number; `None` for this machine.
    pub fn name(&self, number: u128) -> Option<&str> {
        let index = usize::try_from(number.checked_sub(1)?).ok()?;
        self.names.get(index).map(String::as_str)
    }

    /// What the class with this number is called.
    pub fn label(&self, number: u128) -> &str {
        let index = number.checked_sub(1).and_then(|n| usize::try_from(n).ok());
        index
            .and_then(|n| self.labels.get(n))
            .map_or("host", String::as_str)
    }
}
