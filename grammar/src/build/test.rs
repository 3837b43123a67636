//! Tests.

use super::{Builder, has};
use crate::ast::{Flow, Qualifier, Spanned, Test, TestStep};
use crate::grammar::{Pair, Rule};

impl Builder<'_> {
    /// `test "…" { … }`
    pub(super) fn test(&mut self, pair: &Pair<'_>) -> Option<Test> {
        let title = self.child(pair, Rule::string)?;
        let title = self.string(&title);
        let steps = pair
            .clone()
            .into_inner()
            .filter(|part| part.as_rule() == Rule::step)
            .filter_map(|part| self.step(&part))
            .collect();
        Some(Test {
            title: title?,
            steps,
        })
    }

    /// A line of a test.
    pub(crate) fn step(&mut self, pair: &Pair<'_>) -> Option<Spanned<TestStep>> {
        self.spanned(pair, |this, pair| {
            let kind = this.only(pair)?;
            match kind.as_rule() {
                Rule::expect => this.expect(&kind),
                Rule::send => this.send(&kind),
                _ => this.unknown(&kind),
            }
        })
    }

    fn expect(&mut self, pair: &Pair<'_>) -> Option<TestStep> {
        let outcome = self.verb(pair)?;
        let flow = self.flow(pair)?;
        let mut qualifiers = Vec::new();
        for part in pair.clone().into_inner() {
            match part.as_rule() {
                Rule::verb | Rule::flow => {}
                Rule::qualifier => qualifiers.push(self.spanned(&part, Self::qualifier)?),
                Rule::went_to => {
                    let went_to = self.spanned(&part, |this, part| {
                        let target = this.child(part, Rule::target)?;
                        this.target(&target).map(Qualifier::Target)
                    });
                    qualifiers.push(went_to?);
                }
                _ => return self.unknown(&part),
            }
        }
        Some(TestStep::Expect {
            outcome,
            flow,
            qualifiers,
        })
    }

    fn send(&mut self, pair: &Pair<'_>) -> Option<TestStep> {
        let count = self.child(pair, Rule::number)?;
        let within = self.child(pair, Rule::duration)?;
        Some(TestStep::Send {
            count: self.number(&count)?,
            within: self.duration(&within)?,
            flow: self.flow(pair)?,
            qualifiers: self.each(pair, Rule::qualifier, |this, part| {
                this.spanned(part, Self::qualifier)
            })?,
            outcomes: self.each(pair, Rule::outcome, |this, part| {
                let verb = this.verb(part)?;
                let count = this.child(part, Rule::number)?;
                Some((verb, this.number(&count)?))
            })?,
        })
    }

    fn flow(&mut self, pair: &Pair<'_>) -> Option<Flow> {
        let pair = self.child(pair, Rule::flow)?;
        let proto = self.child(&pair, Rule::flow_proto)?;
        let mut ends = self
            .each(&pair, Rule::endpoint, Self::endpoint)?
            .into_iter();
        let (Some(source), Some(dest)) = (ends.next(), ends.next()) else {
            return self.unknown(&pair);
        };
        let reply = has(&pair, Rule::kw_reply);
        Some(Flow {
            proto: self.name(&proto),
            reply,
            source,
            dest,
        })
    }

    fn qualifier(&mut self, pair: &Pair<'_>) -> Option<Qualifier> {
        let kind = self.only(pair)?;
        let Some(leaf) = kind.clone().into_inner().next_back() else {
            return self.unknown(&kind);
        };
        match kind.as_rule() {
            Rule::q_in => self.word(&leaf).map(Qualifier::In),
            Rule::q_out => self.word(&leaf).map(Qualifier::Out),
            Rule::q_by => self.principal(&leaf).map(Qualifier::By),
            Rule::q_flags => Some(Qualifier::Flags(self.name(&leaf))),
            Rule::q_via => Some(Qualifier::Via(self.name(&leaf))),
            Rule::q_rule => self.word(&leaf).map(Qualifier::Rule),
            _ => self.unknown(&kind),
        }
    }
}
