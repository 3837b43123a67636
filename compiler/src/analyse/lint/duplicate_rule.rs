//! POL107

use std::collections::BTreeMap;

use polc_grammar::ast::{Qualifier, TestStep};

use super::{Context, lint};
use crate::diagnostic::Diagnostic;
use crate::ir::{Atom, BucketId, Key, Rate, Rule};
use crate::packet::AddrSet;

lint! {
    /// Two rules of a stage match exactly the same packets and do exactly the same. The second one is
    /// never asked, or does once more what the first has done.
    ///
    /// One of them was pasted, or was meant to say something else. Who changes the first one later
    /// leaves the second one in force.
    ///
    /// Names and metadata do not count, nor do the words: `tcp/22` and `ssh` are the same.
    ///
    /// ## Bad
    ///
    /// ```pol
    /// to host {
    ///   allow http
    ///   allow https
    ///   allow tcp/80 as site
    ///   default deny
    /// }
    /// ```
    ///
    /// ## Good
    ///
    /// ```pol
    /// to host {
    ///   allow http as site
    ///   allow https
    ///   default deny
    /// }
    /// ```
    ///
    /// ## Fix
    ///
    /// The second rule is deleted, where that changes nothing: it has a verdict and no rate, stands in
    /// no template, and no test counts on its name.
    pub(super) static LINT: "POL107" "duplicate-rule" Warning, Default, Syntactic, fix;
    "Two rules match the same packets and do the same."
}

pub(super) fn check(cx: &Context, out: &mut Vec<Diagnostic>) {
    // Rules that are the same agree in this, which is cheap to compare.
    let mut alike: BTreeMap<_, Vec<&Rule>> = BTreeMap::new();
    let rules = cx
        .ir
        .rules()
        .filter(|(_, r)| !r.is_default && !asks_dynamic(r));
    for (stage, rule) in rules {
        let first = rule.cubes.first();
        let addresses = |set: &AddrSet| (set.v4.clone(), set.v6.clone());
        let kind = first.map(|c| (c.proto.clone(), addresses(&c.saddr), addresses(&c.daddr)));
        let ports = first.map(|c| c.fields.values().cloned().collect::<Vec<_>>());
        let earlier = alike
            .entry((stage, rule.cubes.len(), kind, ports))
            .or_default();
        match earlier.iter().find(|first| same(cx, first, rule)) {
            // Two applications of one template: nothing was written twice.
            Some(first) if first.span == rule.span => {}
            Some(first) => out.push(report(cx, first, rule)),
            None => earlier.push(rule),
        }
    }
}

fn report(cx: &Context, first: &Rule, second: &Rule) -> Diagnostic {
    let title = format!("`{}` is the same rule as `{}`", second.name, first.name);
    let diagnostic = LINT
        .report(title, second.span)
        .related(first.span, "the first one")
        .help("delete one of them, or say what tells them apart");
    let silent = second.verdict.is_some() && second.limits.is_empty();
    let untold = !cx.is_shared(second.span) && !is_tested(cx, second);
    let fix = (silent && untold && cx.is_own(second.span))
        .then(|| cx.delete(second.span, "delete the second rule"));
    match fix.flatten() {
        Some(fix) => diagnostic.fix(fix),
        None => diagnostic,
    }
}

/// Whether the answer may have changed since an earlier rule asked: rules fill such sets.
fn asks_dynamic(rule: &Rule) -> bool {
    let mut atoms = rule.cubes.iter().flat_map(|cube| cube.atoms.keys());
    atoms.any(|atom| matches!(atom, Atom::Dynamic { .. }))
}

/// Whether two rules differ in nothing but names, metadata and where they stand.
pub(super) fn same(cx: &Context, a: &Rule, b: &Rule) -> bool {
    let limits = |rule: &Rule| -> Vec<_> {
        let limits = rule.limits.iter();
        limits.map(|l| (l.sense, rate(cx, l.bucket))).collect()
    };
    let log = |rule: &Rule| {
        let log = rule.effects.log.as_ref();
        log.map(|log| (log.text.clone(), log.at.map(|at| rate(cx, at))))
    };
    let others = |rule: &Rule| (rule.effects.count, rule.effects.mark, rule.effects.add);
    a.verdict == b.verdict
        && a.admit == b.admit
        && limits(a) == limits(b)
        && log(a) == log(b)
        && others(a) == others(b)
        && a.cubes == b.cubes
}

/// A shared bucket's number, or the rate of a rule's own: two of those are the same when they are
/// written the same.
fn rate(cx: &Context, bucket: BucketId) -> Result<BucketId, Option<(Rate, Option<Key>)>> {
    if bucket < cx.policy.buckets.len() {
        return Ok(bucket);
    }
    Err(cx.ir.buckets.get(bucket).map(|b| (b.rate, b.key)))
}

/// Whether a test names the rule, or one of its block by number: numbers would shift.
pub(super) fn is_tested(cx: &Context, rule: &Rule) -> bool {
    let block = cx.ir.blocks.get(rule.block).map_or("", |b| &b.label);
    let numbered = format!("{block}#");
    let names = cx.policy.tests.iter().flat_map(|t| &t.test.steps);
    names
        .flat_map(|step| match &step.node {
            TestStep::Expect { qualifiers, .. } | TestStep::Send { qualifiers, .. } => qualifiers,
        })
        .any(|qualifier| match &qualifier.node {
            Qualifier::Rule(name) => *name.node == *rule.name || name.node.starts_with(&numbered),
            _ => false,
        })
}

#[cfg(test)]
mod tests {
    use crate::analyse::lint::testing::found;

    /// What is found, and whether it can be mended.
    fn duplicates(text: &str) -> Vec<(String, bool)> {
        let found = found("POL107", text);
        let found = found.into_iter();
        found.map(|d| (d.title, d.fix.is_some())).collect()
    }

    fn one(second: &str, fix: bool) -> Vec<(String, bool)> {
        vec![(format!("`{second}` is the same rule as `to-host#1`"), fix)]
    }

    #[test]
    fn what_is_written_differently_can_be_the_same() {
        let text = "to host { allow tcp/{22, 80}  allow http, ssh note \"x\"  default deny }";
        assert_eq!(duplicates(text), one("to-host#2", true));
        let group = "to host { in eth1 { allow ssh as b }  allow ssh in eth1  default deny }";
        assert_eq!(duplicates(group).len(), 1);
    }

    #[test]
    fn what_differs_in_anything_is_not_the_same() {
        for second in [
            "deny ssh",
            "allow ssh log",
            "allow ssh count",
            "allow ssh only v4",
            "allow ssh within 3/s",
        ] {
            let text = format!("to host {{ allow ssh  {second}  default deny }}");
            assert_eq!(duplicates(&text), [], "{second}");
        }
    }

    #[test]
    fn rates_are_compared_by_what_they_say() {
        let text = |first, second| {
            format!(
                "bucket a = 3/s bucket b = 3/s to host {{ allow ssh within {first}
                 allow ssh within {second} default deny }}"
            )
        };
        // Two own buckets let twice as many pass: nothing is deleted.
        assert_eq!(duplicates(&text("3/s", "3/s")), one("to-host#2", false));
        assert_eq!(duplicates(&text("a", "a")), one("to-host#2", false));
        assert_eq!(duplicates(&text("a", "b")), []);
        assert_eq!(duplicates(&text("3/s", "4/s")), []);
    }

    #[test]
    fn a_set_may_have_been_filled_in_between() {
        let text = "set s = {} dynamic guard on eth0 { deny from @s  match udp add @s
                    deny from @s  default allow }";
        assert_eq!(duplicates(text), []);
    }

    #[test]
    fn a_template_applied_twice_is_no_mistake() {
        let text = "template t() { allow ssh } to host { apply t() apply t() default deny }";
        assert_eq!(duplicates(text), []);
    }

    #[test]
    fn rules_that_tests_count_on_are_not_deleted() {
        let text = |name| {
            format!(
                "to host {{ allow ssh  allow ssh as b  allow dns  default deny }}
                 test \"t\" {{ allow udp 192.0.2.1:1 -> host:53 rule {name} }}"
            )
        };
        assert_eq!(duplicates(&text("\"to-host#3\"")), one("b", false));
        assert_eq!(duplicates(&text("b")), one("b", false));
    }
}
