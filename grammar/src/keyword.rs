//! The reserved words by what they start. `policy.pest` lists the same words.

/// Words that start a rule.
pub(crate) const VERBS: &[&str] = &[
    "allow",
    "deny",
    "reject",
    "match",
    "direct",
    "redirect",
    "dnat",
    "snat",
    "masquerade",
    "proxy",
    "route",
    "notrack",
];

/// Words that start a clause.
pub(crate) const CLAUSES: &[&str] = &[
    "from", "to", "in", "out", "by", "within", "over", "when", "except", "only", "via", "with",
    "mark", "add", "log", "count", "and", "as", "note", "owner", "ticket", "expires", "review",
];

/// Words that start metadata.
pub(crate) const META: &[&str] = &["note", "owner", "ticket", "expires", "review"];

/// Words that start an item and nothing else; `proxy` and those of [`SHARED`] are others.
pub(crate) const ITEMS: &[&str] = &[
    "policy",
    "use",
    "param",
    "set",
    "service",
    "zone",
    "bucket",
    "template",
    "guard",
    "steer",
    "egress",
    "stateless",
    "strict",
    "ensure",
    "never",
    "protect",
    "test",
    "raw",
];

/// Words that start a statement of a block and an item too.
pub(crate) const SHARED: &[&str] = &["default", "apply"];

/// Words that start a line of a proxy's body.
pub(crate) const OPTIONS: &[&str] = &["listen", "mark", "table", "bypass", "down"];

/// Words that start a claim.
pub(crate) const CLAIMS: &[&str] = &["ensure", "never", "protect"];

/// Kinds of principals.
pub(crate) const PRINCIPALS: &[&str] = &["user", "group", "uid", "gid", "cgroup"];

/// Whether `word` starts a statement or a clause, and so is no name.
pub(crate) fn is_reserved(word: &str) -> bool {
    [VERBS, CLAUSES, ITEMS, SHARED]
        .iter()
        .any(|words| words.contains(&word))
}
