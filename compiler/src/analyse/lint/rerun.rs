//! Examples are put to the interpreter before anybody sees them.

use super::Context;
use crate::analyse::model::Witness;
use crate::diagnostic::{Code, Diagnostic};
use crate::interpret::{Answer, Decision, RuleId, State, Step, judge};
use crate::ir::Stage;
use crate::packet::Region;

impl Context<'_> {
    /// An example of packets that a rule is said to decide, in words; `None` when the interpreter
    /// says that it does not, which is a defect of polc and reported as one.
    pub(super) fn shown(&self, id: RuleId, region: &Region) -> Option<String> {
        let witness = self.model().example(region);
        let decision = self.judged(id, &witness);
        let example = self.in_words(region);
        if decides(&decision, id) {
            return Some(example);
        }
        self.disagree(id, &format!("decides `{example}`"));
        None
    }

    /// Whether the interpreter, too, says that a rule does not decide an example of packets; that it
    /// does is a defect of polc and reported as one.
    pub(super) fn is_hidden(&self, id: RuleId, region: &Region) -> bool {
        let decision = self.judged(id, &self.model().example(region));
        let decides = decides(&decision, id);
        if decides {
            self.disagree(id, &format!("does not decide `{}`", self.in_words(region)));
        }
        !decides
    }

    fn disagree(&self, id: RuleId, what: &str) {
        if let Some(rule) = id.of(self.ir) {
            let title = format!(
                "the analysis says that `{}` {what}, and the interpreter says otherwise",
                rule.name
            );
            let defect = Diagnostic::error(Code::Internal, title, rule.span)
                .help("this is a defect of polc: please report it with the policy");
            self.add_defect(defect);
        }
    }

    /// What the interpreter says of a packet. Only what guard hands on is told by nothing but the
    /// trace, which takes long.
    fn judged(&self, id: RuleId, witness: &Witness) -> Decision {
        let mut state = State::oracle(witness.within.clone(), witness.members.clone());
        state.trace = id.stage == Stage::Guard;
        state.sieve = Some(self.sieve());
        state.choose_target(witness.choices.iter().max().copied());
        judge(self.ir, &witness.packet, &mut state, 0)
    }
}

/// Whether a rule has decided something.
fn decides(decision: &Decision, id: RuleId) -> bool {
    let by = [decision.by, decision.steered_by, decision.sourced_by];
    let step =
        |step: &Step| matches!(step, Step::Rule { rule, answer: Answer::Decides } if *rule == id);
    by.contains(&Some(id)) || decision.trace.steps.iter().any(step)
}
