//! Examples are put to the interpreter before anybody sees them.

use super::Context;
use crate::analyse::model::Witness;
use crate::diagnostic::{Code, Diagnostic};
use crate::interpret::{Answer, Decision, RuleId, State, Step, judge};
use crate::packet::Region;

impl Context<'_> {
    /// An example of packets that a rule is said to decide, in words; `None` when the interpreter
    /// says that it does not, which is a defect of polc and reported as one.
    pub(super) fn shown(&self, id: RuleId, region: &Region) -> Option<String> {
        let witness = self.model().example(region);
        let decision = self.judged(&witness);
        let decides = |step: &Step| matches!(step, Step::Rule { rule, answer: Answer::Decides } if *rule == id);
        let example = self.in_words(region);
        if decision.trace.steps.iter().any(decides) {
            return Some(example);
        }
        if let Some(rule) = id.of(self.ir) {
            let title = format!(
                "the analysis says that `{}` decides `{example}`, and the interpreter that it does \
                 not",
                rule.name
            );
            let defect = Diagnostic::error(Code::Internal, title, rule.span)
                .help("this is a defect of polc: please report it with the policy");
            self.defects.borrow_mut().push(defect);
        }
        None
    }

    /// What the interpreter says of a packet.
    pub(super) fn judged(&self, witness: &Witness) -> Decision {
        let mut state = State::oracle(witness.within.clone(), witness.members.clone());
        state.trace = true;
        state.choose_target(witness.choices.iter().max().copied());
        judge(self.ir, &witness.packet, &mut state, 0)
    }
}
