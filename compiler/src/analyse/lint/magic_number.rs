//! POL709

use std::collections::BTreeMap;

use polc_grammar::ast::{Item, Span as Place};

use super::literals::literals;
use super::{Context, lint};
use crate::diagnostic::Diagnostic;
use crate::source::Span;

lint! {
    /// The same address stands in the policy three times or more.
    ///
    /// When the machine moves, one of them is forgotten. A set gives it a name, which also says what
    /// it is. Addresses in tests are not counted.
    ///
    /// ## Bad
    ///
    /// ```pol
    /// policy mail owner postmaster
    ///
    /// to host {
    ///   allow https from 192.0.2.9
    ///   deny  smtp from 192.0.2.9
    ///   allow imaps from 192.0.2.9 within 5/s per source
    ///   default reject
    /// }
    /// ```
    ///
    /// ## Good
    ///
    /// ```pol
    /// policy mail owner postmaster
    ///
    /// set webmail = { 192.0.2.9 }
    ///
    /// to host {
    ///   allow https from @webmail
    ///   deny  smtp from @webmail
    ///   allow imaps from @webmail within 5/s per source
    ///   default reject
    /// }
    /// ```
    pub(super) static LINT: "POL709" "magic-number" Note, Strict, Syntactic;
    "The same address is written again and again."
}

/// How often an address can stand without a name.
const OFTEN: usize = 3;

pub(super) fn check(cx: &Context, out: &mut Vec<Diagnostic>) {
    let file = cx.policy.file;
    let syntax = cx.syntax(file);
    let tests = syntax.items.iter();
    let tests: Vec<Place> = tests
        .filter(|item| matches!(item.node, Item::Test(_)))
        .map(|item| item.span)
        .collect();
    let tested = |at: u32| tests.iter().any(|t| t.start <= at && at < t.end);
    let mut places: BTreeMap<_, Vec<Span>> = BTreeMap::new();
    for literal in literals(cx.text(file)) {
        if !literal.addr.is_unspecified() && !tested(literal.span.start) {
            let all = places.entry((literal.addr, literal.len)).or_default();
            all.push(Span::new(file, literal.span));
        }
    }
    for spans in places.values().filter(|spans| spans.len() >= OFTEN) {
        let Some((first, rest)) = spans.split_first() else {
            continue;
        };
        let title = format!("`{}` stands here {} times", cx.text_of(*first), spans.len());
        let report = LINT
            .report(title, *first)
            .help("give it a name: `set NAME = { … }`");
        let again = |report: Diagnostic, span: &Span| report.related(*span, "again");
        out.push(rest.iter().fold(report, again));
    }
}
