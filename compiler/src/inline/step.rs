//! Running one step of a test.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;

use polc_grammar::ast::{Flow, Qualifier, Spanned, TestStep, Verb};

use super::expect::{Expectation, deciding, describe, has_outcome, outcome_text};
use super::judge::{Chosen, MOST_FLOWS};
use super::{Bench, Case, Failure, Judged, Problem, StepResult, coverage};
use crate::source::Span;

/// How many choices of interfaces a failure lists.
const MOST_LISTED: usize = 8;

/// What came of a step: what is wrong, and everything that was judged.
type Outcome = (Option<Failure>, Vec<Judged>);

impl Bench<'_> {
    pub(super) fn step(&self, step: &TestStep, span: Span) -> StepResult {
        let (expected, result) = match step {
            TestStep::Expect {
                outcome,
                flow,
                qualifiers,
            } => match Expectation::of(outcome.node, qualifiers) {
                Ok(expectation) => (
                    expectation.text(),
                    self.expect(&expectation, flow, qualifiers, span),
                ),
                Err(problem) => (format!("`{}`", outcome.node.word()), Err(problem)),
            },
            TestStep::Send {
                count,
                within,
                flow,
                qualifiers,
                outcomes,
            } => {
                let counts: Vec<(Verb, u64)> = outcomes.iter().map(|(v, n)| (v.node, *n)).collect();
                let sent = (*count, *within);
                (
                    counts_text(&counts),
                    self.sent(sent, flow, qualifiers, &counts, span),
                )
            }
        };
        let (failure, judged) = result.unwrap_or_else(|problem| {
            let failure = Failure {
                span: Span::new(span.file, problem.span),
                got: problem.message,
                by: None,
                judged: None,
                help: problem.help,
            };
            (Some(failure), Vec::new())
        });
        StepResult {
            span,
            expected,
            failure,
            reached: coverage::reached(judged.iter().map(|j| &j.decision)),
        }
    }

    fn expect(
        &self,
        expectation: &Expectation<'_>,
        flow: &Flow,
        qualifiers: &[Spanned<Qualifier>],
        span: Span,
    ) -> Result<Outcome, Problem> {
        let cases = self.cases(flow, qualifiers)?;
        let judged: Vec<Judged> = cases.iter().flat_map(|c| self.judge(c)).collect();
        let holds = |j: &Judged| expectation.holds(self.ir, j);
        let failure = judged.iter().find(|j| !holds(j)).map(|wrong| Failure {
            span,
            got: self.got(wrong),
            by: deciding(&wrong.decision),
            judged: Some(wrong.clone()),
            help: self.depends(&judged, holds),
        });
        Ok((failure, judged))
    }

    fn got(&self, judged: &Judged) -> String {
        let got = describe(self.ir, &judged.packet, &judged.decision);
        if judged.asked {
            got
        } else {
            format!("the flow that it answers is not admitted: {got}")
        }
    }

    /// What to say when some choices of interfaces come out right and others do not.
    fn depends(&self, judged: &[Judged], holds: impl Fn(&Judged) -> bool) -> Option<String> {
        if !judged.iter().any(&holds) {
            return None;
        }
        let answers: BTreeMap<&Chosen, bool> =
            judged.iter().map(|j| (&j.chosen, holds(j))).collect();
        let input = matters(&answers, |c| &mut c.input);
        let output = matters(&answers, |c| &mut c.output);
        let mut lines = Vec::new();
        let mut seen = BTreeSet::new();
        for one in judged {
            let mut place = Vec::new();
            let chosen = &one.chosen;
            place.extend(
                chosen
                    .input
                    .iter()
                    .filter(|_| input)
                    .map(|n| format!("in {n}")),
            );
            place.extend(
                chosen
                    .output
                    .iter()
                    .filter(|_| output)
                    .map(|n| format!("out {n}")),
            );
            place.extend(chosen.detour.iter().map(|n| format!("steered out {n}")));
            let place = place.join(" ");
            if seen.insert(place.clone()) {
                let outcome = outcome_text(self.ir, &one.packet, &one.decision);
                lines.push(format!("`{outcome}` {place}"));
            }
        }
        let more = lines.len().saturating_sub(MOST_LISTED);
        lines.truncate(MOST_LISTED);
        if more > 0 {
            lines.push(format!("{more} more"));
        }
        let say = match (input, output) {
            (true, true) => "say `in …` and `out …`",
            (true, false) => "say `in …`",
            (false, true) => "say `out …`",
            (false, false) => "give the zone of the target a `net`",
        };
        let list = lines.join(", ");
        Some(format!("it depends on the interface: {list}; {say}"))
    }

    fn sent(
        &self,
        (count, within): (u64, u64),
        flow: &Flow,
        qualifiers: &[Spanned<Qualifier>],
        expected: &[(Verb, u64)],
        span: Span,
    ) -> Result<Outcome, Problem> {
        let cases = self.cases(flow, qualifiers)?;
        let count = sendable(count, flow, &cases)?;
        let mut all = Vec::new();
        for case in &cases {
            let mut pick = 0;
            loop {
                let (judged, ways) = self.send(case, (count, within), pick);
                let got = count_outcomes(&judged, expected);
                let failure = (got != expected).then(|| Failure {
                    span,
                    got: self.counts_got(&judged, &got),
                    by: None,
                    judged: surplus(&judged, expected, &got).cloned(),
                    help: chosen_text(case),
                });
                all.extend(judged);
                if failure.is_some() {
                    return Ok((failure, all));
                }
                pick += 1;
                if pick >= ways {
                    break;
                }
            }
        }
        Ok((None, all))
    }

    /// The counts, and the other outcomes that there were.
    fn counts_got(&self, judged: &[Judged], got: &[(Verb, u64)]) -> String {
        let mut text = counts_text(got);
        let mut others: BTreeMap<String, u64> = BTreeMap::new();
        for one in judged {
            if !got.iter().any(|(v, _)| has_outcome(&one.decision, *v)) {
                let outcome = outcome_text(self.ir, &one.packet, &one.decision);
                *others.entry(outcome).or_default() += 1;
            }
        }
        for (outcome, number) in others {
            // Writing to a `String` cannot fail.
            let _ = write!(text, ", `{outcome}` {number}");
        }
        text
    }
}

/// How many have each of the outcomes that are expected of some.
fn count_outcomes(judged: &[Judged], expected: &[(Verb, u64)]) -> Vec<(Verb, u64)> {
    let number = |verb| {
        let with = judged.iter().filter(|j| has_outcome(&j.decision, verb));
        u64::try_from(with.count()).unwrap_or(u64::MAX)
    };
    expected.iter().map(|(v, _)| (*v, number(*v))).collect()
}

/// The number of flows, when it can be sent.
fn sendable(count: u64, flow: &Flow, cases: &[Case]) -> Result<u16, Problem> {
    let ports = |c: &Case| c.packet.field(crate::field::SPORT).is_some();
    if flow.reply || !cases.iter().all(ports) {
        let message = "`send` opens flows of a protocol with ports";
        return Err(Problem::at(flow.proto.span, message));
    }
    u16::try_from(count)
        .ok()
        .filter(|n| *n <= MOST_FLOWS)
        .ok_or_else(|| {
            let message = format!("`send` opens at most {MOST_FLOWS} flows, one per port");
            Problem::at(flow.proto.span, message)
        })
}

/// Whether two choices that differ only there come out differently.
fn matters(
    answers: &BTreeMap<&Chosen, bool>,
    part: impl Fn(&mut Chosen) -> &mut Option<Arc<str>>,
) -> bool {
    let mut without: BTreeMap<Chosen, bool> = BTreeMap::new();
    answers.iter().any(|(chosen, holds)| {
        let mut rest = (*chosen).clone();
        *part(&mut rest) = None;
        *without.entry(rest).or_insert(*holds) != *holds
    })
}

/// The first flow of an outcome of which there are too many, or of none that is expected.
fn surplus<'j>(
    judged: &'j [Judged],
    expected: &[(Verb, u64)],
    got: &[(Verb, u64)],
) -> Option<&'j Judged> {
    let many = expected.iter().zip(got).find(|((_, e), (_, g))| g > e);
    match many {
        Some(((verb, number), _)) => {
            let skip = usize::try_from(*number).unwrap_or(usize::MAX);
            let with = judged.iter().filter(|j| has_outcome(&j.decision, *verb));
            with.clone().nth(skip)
        }
        None => judged
            .iter()
            .find(|j| !expected.iter().any(|(v, _)| has_outcome(&j.decision, *v))),
    }
}

fn counts_text(counts: &[(Verb, u64)]) -> String {
    let parts = counts.iter().map(|(v, n)| format!("`{}` {n}", v.word()));
    parts.collect::<Vec<_>>().join(", ")
}

/// The interfaces of a case that were chosen for it.
fn chosen_text(case: &Case) -> Option<String> {
    let input = case.chosen_in.iter().map(|n| ("in", n));
    let output = case.chosen_out.iter().map(|n| ("out", n));
    let chosen = || input.clone().chain(output.clone());
    let places: Vec<String> = chosen()
        .map(|(word, name)| format!("{word} {name}"))
        .collect();
    let say: Vec<String> = chosen().map(|(word, _)| format!("`{word} …`")).collect();
    let (places, say) = (places.join(" "), say.join(" and "));
    (!places.is_empty()).then(|| format!("judged {places}: say {say} if another one is meant"))
}
