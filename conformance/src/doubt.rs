//! What cannot be compared.

use polc_compiler::interpret::Steered;
use polc_compiler::ir::{Balance, Verdict};

use crate::backend::Backend;
use crate::compare::seen_ends;
use crate::duel::Duel;
use crate::predict::{Fate, Judged, is_flowless, is_stateless};
use crate::seen::Seen;
use crate::table::Way;
use crate::traffic::Attempt;

impl Duel<'_> {
    /// Whether it is not known to which target a packet of no flow goes, or whether there is a port for it.
    pub(crate) fn is_beyond_telling(
        &self,
        attempt: &Attempt,
        judged: &Judged,
        fate: &Fate,
    ) -> bool {
        let crowded = match fate {
            Fate::Passed(_, expected) => {
                judged.opened && self.table.is_crowded(&attempt.shot, expected)
            }
            _ => false,
        };
        crowded || self.takes_unknown_turn(judged)
    }

    /// Forgets what a packet that is not compared may have looked like.
    pub(crate) fn leave_out(
        &mut self,
        attempt: &Attempt,
        judged: &Judged,
        fate: &Fate,
        seen: &Seen<'_>,
    ) {
        let shot = &attempt.shot;
        self.table.confuse(shot.pair());
        if let Fate::Passed(exit, expected) = fate {
            let flow = self.oracle.flow(attempt, judged, (*exit, expected));
            for pair in flow.pairs() {
                self.table.confuse(pair);
            }
        }
        // It may have got another target, or another port.
        for (source, dest) in seen.passed.iter().filter_map(|seen| seen_ends(shot, seen)) {
            let left = shot.between(source, dest);
            self.table.confuse(left.pair());
            self.table.give(shot, &left);
        }
    }

    /// Whether its pieces part: with eBPF those behind the first have no marks of steer's, and so go where their own
    /// destination leads.
    pub(crate) fn strays(&self, attempt: &Attempt, judged: &Judged) -> bool {
        let marked = matches!(
            judged.decision.steered,
            Some(Steered::Proxy(_) | Steered::Route { .. })
        );
        self.backend == Backend::Ebpf && attempt.shot.cut.is_some() && marked
    }

    /// Whether a packet that does not pass may not even have met who denies it: with eBPF, what `dnat` or `redirect` sends
    /// from one end to one end is dropped before.
    pub(crate) fn is_lost(&self, attempt: &Attempt, judged: &Judged, fate: &Fate) -> bool {
        let shot = &attempt.shot;
        let steered = self.oracle.steered(attempt, &judged.decision);
        let inner = shot.between(shot.source, steered);
        self.backend == Backend::Ebpf
            && !matches!(fate, Fate::Passed(..))
            && attempt.part.is_none()
            && steered != shot.dest
            && self.table.has_left(inner.pair())
    }

    /// Whether the answer to a refused packet may be refused itself: it belongs to no flow where packets are judged one
    /// by one, and with eBPF that to a packet of this host's own comes in by the interface, where guard is.
    pub(crate) fn may_lose_answer(&self, attempt: &Attempt, judged: &Judged) -> bool {
        let ir = self.oracle.ir;
        let own = matches!(attempt.way, Way::Out(..));
        let ebpf = self.backend == Backend::Ebpf;
        let meets_guard = ebpf && own && !ir.guard.is_empty();
        // What an end says to itself has no direction.
        let steered = self.oracle.steered(attempt, &judged.decision);
        let returned = ebpf && steered == attempt.shot.source;
        is_stateless(ir) || judged.decision.notrack || meets_guard || returned
    }

    /// Whether a flow begins for which it matters how many began before, and that is not known: after a packet
    /// about which nothing was; and with eBPF packets without flow take turns, too.
    fn takes_unknown_turn(&self, judged: &Judged) -> bool {
        let ir = self.oracle.ir;
        let by = [judged.decision.steered_by, judged.decision.sourced_by];
        let rules = by.into_iter().flatten().filter_map(|id| id.of(ir));
        let mut verdicts = rules.filter_map(|rule| rule.verdict.as_ref());
        let takes_turns = verdicts.any(|verdict| match verdict {
            Verdict::Dnat(nat) | Verdict::Snat(nat) => nat.balance == Some(Balance::RoundRobin),
            _ => false,
        });
        let known = self.totals.unclear == 0 && !(self.backend == Backend::Ebpf && is_flowless(ir));
        judged.opened && takes_turns && !known
    }
}
