//! Choices among targets that a policy leaves to chance.

use polc_compiler::interpret::{Decision, RuleId};
use polc_compiler::ir::{Balance, Ir, Nat, Rule, Stage, Verdict};

use crate::backend::Backend;
use crate::predict::{Fate, Judged, Oracle};
use crate::table::Table;
use crate::traffic::Attempt;

impl Oracle<'_> {
    /// Lets the choice that is left to chance fall as it did for a packet: on the first target with which it
    /// `fits` what was seen. `port` is as for [`Oracle::judge`]. `false` if it fits with several, which differ in the
    /// rules that it meets, or did not pass, and its flow could be taken for another one with a target.
    pub(crate) fn follow(
        &mut self,
        (attempt, port): (&Attempt, Option<u16>),
        (table, backend): (&Table, Backend),
        fits: impl Fn(&Judged, &Fate) -> bool,
    ) -> bool {
        self.state.choose_target(None);
        if attempt.part.is_some() || !self.gambles {
            return true;
        }
        let (judged, _) = self.preview((attempt, port), table);
        let Some(many) = self.targets(attempt, &judged.decision) else {
            return true;
        };
        let mut fitting = Vec::new();
        let mut taken = false;
        for index in 0..many {
            self.state.choose_target(Some(index));
            let (judged, fate) = self.preview((attempt, port), table);
            if let Fate::Passed(exit, expected) = &fate {
                let flow = self.flow(attempt, &judged, (*exit, expected));
                taken |= table.collides(&flow, backend);
            }
            if fits(&judged, &fate) {
                fitting.push((index, judged.decision.held, fate));
            }
        }
        let first = fitting.first().map_or(0, |(index, ..)| *index);
        self.state.choose_target(Some(first));
        let same = |two: &[(usize, Vec<RuleId>, Fate)]| match two {
            [(_, held, fate), (_, other_held, other_fate)] => {
                held == other_held && fate == other_fate
            }
            _ => true,
        };
        // Was its flow taken for another, it was dropped without a rule.
        let passed = fitting
            .iter()
            .any(|(.., fate)| matches!(fate, Fate::Passed(..)));
        fitting.windows(2).all(same) && (passed || !taken)
    }

    /// What would become of a packet of no flow.
    fn preview(
        &mut self,
        (attempt, port): (&Attempt, Option<u16>),
        table: &Table,
    ) -> (Judged, Fate) {
        let before = self.state.without_flows();
        let state = std::mem::replace(&mut self.state, before);
        let judged = self.judge(attempt, table, port);
        let fate = self.fate(attempt, &judged, port, table);
        self.state = state;
        (judged, fate)
    }

    /// How many targets a packet may have got at random; none if it met no such rule.
    fn targets(&self, attempt: &Attempt, decision: &Decision) -> Option<usize> {
        let rules = [decision.steered_by, decision.sourced_by];
        let rules = rules.into_iter().flatten();
        let nats = rules.filter_map(|id| id.of(self.ir).and_then(nat));
        let mut random = nats.filter(|nat| nat.balance == Some(Balance::Random));
        let v6 = attempt.shot.is_v6();
        random.find_map(|nat| Some(if v6 { nat.v6.len() } else { nat.v4.len() }).filter(|n| *n > 1))
    }
}

/// Whether a policy leaves some choice to chance.
pub(crate) fn gambles(ir: &Ir) -> bool {
    let mut nats = ir.rules().filter_map(|(_, rule)| nat(rule));
    nats.any(|nat| nat.balance == Some(Balance::Random))
}

/// Whether more than what is seen of a packet may depend on such a choice: which target egress chooses, or, as
/// `remembers` says of rules, what others find later.
pub(crate) fn is_blind(ir: &Ir, remembers: impl Fn(&Rule) -> bool) -> bool {
    let has =
        |stage, wanted: &dyn Fn(&Nat) -> bool| ir.stage(stage).iter().filter_map(nat).any(wanted);
    let random = |nat: &Nat| nat.balance == Some(Balance::Random);
    let several = |nat: &Nat| nat.balance.is_some();
    let both = has(Stage::Steer, &random) && has(Stage::Egress, &several)
        || has(Stage::Steer, &several) && has(Stage::Egress, &random);
    let mut later = ir.filter.iter().chain(&ir.egress);
    both || has(Stage::Steer, &random) && later.any(remembers)
}

fn nat(rule: &Rule) -> Option<&Nat> {
    match rule.verdict.as_ref()? {
        Verdict::Dnat(nat) | Verdict::Snat(nat) => Some(nat),
        _ => None,
    }
}
