//! POL401

use polc_grammar::ast::{Clause, Sense};

use super::{Context, lint};
use crate::diagnostic::{Diagnostic, Edit, Fix};
use crate::ir::Rule;
use crate::source::Span;

lint! {
    /// A rule logs every packet or flow that it matches, however many there are.
    ///
    /// Whoever can send what the rule matches can fill the log and its disk, and bury in it what else
    /// happens. A flood then costs more for being logged than for being denied.
    ///
    /// A rate at the log (`log at 3/s`) or a `within` of the rule itself is a limit. `over` is none.
    ///
    /// ## Bad
    ///
    /// ```pol
    /// to host {
    ///   allow https
    ///   default deny log "in"
    /// }
    /// ```
    ///
    /// ## Good
    ///
    /// ```pol
    /// to host {
    ///   allow https
    ///   default deny log "in" at 3/s
    /// }
    /// ```
    ///
    /// ## Fix
    ///
    /// `at 10/s` is added behind the log. No verdict changes; entries beyond the rate are not written.
    pub(super) static LINT: "POL401" "log-without-limit" Warning, Default, Syntactic, fix;
    "A rule logs without a limit."
}

pub(super) fn check(cx: &Context, out: &mut Vec<Diagnostic>) {
    for (_, rule) in cx.ir.rules().filter(|(_, rule)| is_unlimited(rule)) {
        let log = clause(cx, rule.span);
        let diagnostic = LINT
            .report("this logs without a limit", log.unwrap_or(rule.span))
            .help("say how often it may: `log at 10/s`");
        let fix = log.filter(|log| cx.is_own(*log)).map(limit);
        out.push(match fix {
            Some(fix) => diagnostic.fix(fix),
            None => diagnostic,
        });
    }
}

fn is_unlimited(rule: &Rule) -> bool {
    let within = rule.limits.iter().any(|l| l.sense == Sense::Within);
    !within
        && rule
            .effects
            .log
            .as_ref()
            .is_some_and(|log| log.at.is_none())
}

/// The clause that makes the rule log: its own, or that of the nearest group around it.
fn clause(cx: &Context, rule: Span) -> Option<Span> {
    let around = cx.around(rule);
    let mut clauses = around.iter().flat_map(|node| &node.clauses);
    let log = clauses.find(|clause| matches!(clause.node, Clause::Log { .. }))?;
    Some(Span::new(rule.file, log.span))
}

fn limit(log: Span) -> Fix {
    Fix {
        safe: true,
        title: "log at most ten entries a second".to_owned(),
        edits: vec![Edit {
            span: Span {
                start: log.end,
                ..log
            },
            text: " at 10/s".to_owned(),
        }],
    }
}

#[cfg(test)]
mod tests {
    use crate::analyse::lint::testing::found;

    /// The clauses that are found, by their text, and whether each can be mended.
    fn logs(text: &str) -> Vec<(&str, bool)> {
        let found = found("POL401", text).into_iter();
        found
            .map(|d| {
                let place = d.place().expect("a place");
                let words = &text[place.start as usize..place.end as usize];
                (words, d.fix.is_some())
            })
            .collect()
    }

    #[test]
    fn a_rate_anywhere_is_a_limit() {
        for rule in [
            "allow ssh log at 3/s",
            "allow ssh within 3/s log",
            "within 3/s { allow ssh log }",
            "allow ssh",
        ] {
            let text = format!("to host {{ {rule} default deny }}");
            assert_eq!(logs(&text), [], "{rule}");
        }
    }

    #[test]
    fn a_group_that_logs_is_found_once() {
        let text = "to host log \"in\" { in eth1 { allow dns }  allow ssh  default deny }";
        assert_eq!(logs(text), [("log \"in\"", true)]);
        let over = "to host { deny ssh over 3/s log  default deny }";
        assert_eq!(logs(over), [("log", true)]);
    }

    #[test]
    fn a_log_from_outside_of_a_template_is_not_mended_in_it() {
        let text = "template t() { allow ssh } to host log { apply t() default deny }";
        let found = found("POL401", text);
        let fixes: Vec<bool> = found.iter().map(|d| d.fix.is_some()).collect();
        assert_eq!(fixes, [false, true]);
    }
}
