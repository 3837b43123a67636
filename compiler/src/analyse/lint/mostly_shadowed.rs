//! POL104

use num_bigint::BigUint;

use super::{Context, Lines, lint};
use crate::analyse::model::{Line, Source, View};
use crate::analyse::reach::{MOSTLY, RuleReach, Status, Taken, WHOLE};
use crate::diagnostic::Diagnostic;
use crate::ir::{Rule, Stage};
use crate::packet::Region;
use crate::packet::cover::{Budget, OutOfBudget, subtract};

lint! {
    /// Earlier rules that do something else take nine tenths or more of what a rule means.
    ///
    /// What is left of it may be just what was meant: a rule with many exceptions. It may also be an
    /// accident, and then the rule does next to nothing of what it says.
    ///
    /// ## Bad
    ///
    /// ```pol
    /// to host {
    ///   deny  from 198.51.100.0-198.51.100.250
    ///   allow https from 198.51.100.0/24
    ///   default deny
    /// }
    /// ```
    ///
    /// ## Good
    ///
    /// ```pol
    /// to host {
    ///   allow https from 198.51.100.251-198.51.100.255
    ///   default deny
    /// }
    /// ```
    pub(super) static LINT: "POL104" "mostly-shadowed" Warning, Default, Exact;
    "Earlier rules that do something else leave a rule next to nothing."
}

pub(super) fn check(cx: &Context, out: &mut Vec<Diagnostic>) {
    let mut known: Option<(Stage, Lines)> = None;
    for (reach, rule, opposite) in candidates(cx) {
        let stage = reach.id.stage;
        if known.as_ref().is_none_or(|(of, _)| *of != stage) {
            let lines = Lines::of(cx.model(), View::of(stage));
            known = lines.ok().map(|lines| (stage, lines));
        }
        let Some((_, lines)) = &known else { continue };
        let Ok(Some(share)) = share(cx, lines, reach, rule) else {
            continue;
        };
        let title = format!(
            "`{}` gets next to nothing: rules that do something else take {share} % of it",
            rule.name
        );
        let text = format!("`{}` takes most of it", opposite.name);
        let diagnostic = LINT.report(title, rule.span).related(opposite.span, text);
        out.push(diagnostic.help("say what is left of it, or put it before them"));
    }
}

/// The rules that are asked, but seldom, with the one that takes most of theirs and does something
/// else.
fn candidates<'c>(cx: &'c Context) -> impl Iterator<Item = (&'c RuleReach, &'c Rule, &'c Rule)> {
    let rules = cx.reach().rules.iter();
    let mostly = rules.filter(|reach| {
        let much = matches!(reach.taken, Taken::Exactly(share) if share >= MOSTLY);
        reach.status == Status::Reached && much
    });
    mostly.filter_map(|reach| {
        let rule = reach.id.of(cx.ir).filter(|rule| !rule.is_default)?;
        let Some(Source::Rule(opposite)) = reach.opposite else {
            return None;
        };
        Some((reach, rule, opposite.of(cx.ir)?))
    })
}

/// How much of a rule earlier rules mean that do something else, in percent; `None` when it is not
/// most of it.
fn share(
    cx: &Context,
    lines: &Lines,
    reach: &RuleReach,
    rule: &Rule,
) -> Result<Option<u32>, OutOfBudget> {
    let Some((at, line)) = lines.line(reach.id.index) else {
        return Ok(None);
    };
    let opposed = |line: usize| {
        let id = lines.lines.get(line).and_then(Line::rule);
        let other = id.and_then(|id| id.of(cx.ir));
        other.is_some_and(|other| other.verdict != rule.verdict)
    };
    let (mut all, mut left) = (BigUint::ZERO, BigUint::ZERO);
    let mut budget = Budget::default();
    for (n, region) in line.regions.iter().enumerate() {
        let before: Vec<&Region> = line.regions.iter().take(n).collect();
        for part in subtract(region, &before, &mut budget)? {
            let earlier = lines.earlier(at, &part).into_iter();
            let others = earlier.filter(|(line, _)| opposed(*line));
            let others: Vec<&Region> = others.map(|(_, region)| region).collect();
            all += volume(&part);
            left += subtract(&part, &others, &mut budget)?
                .iter()
                .map(volume)
                .sum::<BigUint>();
        }
    }
    if all == BigUint::ZERO {
        return Ok(None);
    }
    let taken = u32::try_from((&all - left) * WHOLE / all).unwrap_or(0);
    Ok((taken >= MOSTLY).then_some(taken / (WHOLE / 100)))
}

fn volume(region: &Region) -> BigUint {
    region.volume(0..region.dims().len())
}
