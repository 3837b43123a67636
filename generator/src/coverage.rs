//! Which words of the language texts use.

use std::collections::BTreeMap;
use std::fmt;

use crate::policy::fields;

/// All words but fields.
const WORDS: &[&str] = &[
    // Verbs.
    "allow",
    "deny",
    "reject",
    "match",
    "notrack",
    "direct",
    "redirect",
    "dnat",
    "proxy",
    "route",
    "masquerade",
    "snat",
    // Definitions, blocks and options.
    "set",
    "dynamic",
    "service",
    "zone",
    "net",
    "bucket",
    "template",
    "apply",
    "guard",
    "steer",
    "egress",
    "stateless",
    "strict",
    "default",
    "bypass",
    "balance",
    "per",
    "flows",
    "bytes",
    "packets",
    "full",
    // Clauses.
    "from",
    "to",
    "original",
    "in",
    "out",
    "by",
    "uid",
    "gid",
    "user",
    "group",
    "cgroup",
    "when",
    "except",
    "only",
    "within",
    "over",
    "via",
    "with",
    "and",
    "or",
    "not",
    "has",
    "log",
    "count",
    "mark",
    "add",
    "as",
    "note",
    "owner",
    "ticket",
    "expires",
    "review",
];

/// How often texts use each verb, definition, clause and field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coverage(BTreeMap<&'static str, usize>);

impl Default for Coverage {
    fn default() -> Self {
        let words = WORDS.iter().copied().chain(fields());
        Self(words.map(|word| (word, 0)).collect())
    }
}

impl Coverage {
    /// Counts the words of a policy.
    pub fn add(&mut self, text: &str) {
        let inside = |c: char| !(c.is_ascii_alphanumeric() || "._-".contains(c));
        for word in text.split(inside) {
            if let Some(count) = self.0.get_mut(word) {
                *count += 1;
            }
        }
    }

    /// How often a word was used; `None` when it is not counted.
    pub fn of(&self, word: &str) -> Option<usize> {
        self.0.get(word).copied()
    }

    /// The words that nothing used.
    pub fn missing(&self) -> Vec<&'static str> {
        let unused = self.0.iter().filter(|(_, count)| **count == 0);
        unused.map(|(word, _)| *word).collect()
    }
}

/// One word a line, with its count.
impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (word, count) in &self.0 {
            writeln!(f, "{word:<14}{count:>8}")?;
        }
        Ok(())
    }
}
