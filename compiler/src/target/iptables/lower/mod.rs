//! The chains of a policy that the kernel's own jump to, one file for each stage.

mod egress;
mod filter;
mod guard;
mod sockets;
mod steer;

use std::sync::Arc;

use super::Build;
use super::tree::{Chain, Line, Table, Test, Then};
use crate::ir::{Rule, Stage};
use crate::target::Capability;
use crate::target::netfilter::sides::{End, Hook, Place, names_loopback};
use crate::target::netfilter::{Role, check};

/// Every chain of one family.
pub(super) fn chains(build: &mut Build) {
    for rule in check::stale_marks(build.ir) {
        build.unsupported(Capability::StaleMark, rule.span);
    }
    guard::chain(build);
    // Egress says whether steer must note what this host sends.
    egress::chain(build);
    steer::chains(build);
    filter::chains(build);
}

impl Build<'_> {
    /// Adds a chain that one of the kernel's own jumps to.
    fn base(&mut self, name: &str, builtin: &'static str, lines: Vec<Line>) {
        self.chains.entry(self.table).or_default().push(Chain {
            name: name.into(),
            builtin: Some(builtin),
            lines,
        });
    }

    /// The chain that lets neighbour discovery and packet-too-big pass, and how to get there; empty
    /// with `strict icmp`.
    fn unconditional_icmp(&mut self) -> Vec<Line> {
        if self.ir.strict_icmp {
            return vec![];
        }
        let pass = Self::pass(self.stage());
        if self.family == polc_bundle::Family::V4 {
            let test = Test::Text("-m icmp --icmp-type 3/4".to_owned());
            return vec![Line::new(vec![Test::protocol(1), test], pass)];
        }
        let kinds = [2, 133, 134, 135, 136];
        let line = |kind| Line::text(&format!("-m icmp6 --icmpv6-type {kind}"), pass.clone());
        let lines = kinds.map(|kind| Line {
            tests: [vec![Test::protocol(58)], line(kind).tests].concat(),
            ..line(kind)
        });
        let chain = self.chain("neighbours", lines.into());
        vec![Line::new(vec![Test::protocol(58)], Then::Jump(chain))]
    }

    /// The stage that the table which is being written belongs to, as far as what passes goes.
    fn stage(&self) -> Stage {
        if self.table == Table::Filter {
            Stage::Filter
        } else {
            Stage::Steer
        }
    }

    /// Refuses packets that fit no flow and cannot open one. Packet-too-big about packets that are
    /// not tracked is among these, and passes.
    fn invalid(&mut self) -> Line {
        let mut lines = self.unconditional_icmp();
        let then = if lines.is_empty() {
            Then::Drop
        } else {
            lines.push(Line::new(vec![], Then::Drop));
            Then::Goto(self.chain("invalid", lines))
        };
        Line::text("-m conntrack --ctstate INVALID", then)
    }

    /// What `strict tcp` refuses: a new flow that no SYN opens. `flows` are further conditions.
    pub(super) fn strict_tcp(&self, flows: &[Test]) -> Option<Line> {
        let tests = vec![
            Test::protocol(6),
            Test::Text("-m conntrack --ctstate NEW".to_owned()),
            Test::Text("-m tcp ! --tcp-flags FIN,SYN,RST,ACK SYN".to_owned()),
        ];
        let tests = [flows, &tests].concat();
        let strict = self.ir.strict_tcp;
        strict.then(|| Line::new(tests, Then::Drop))
    }

    /// Takes loopback traffic out of a chain: it passes, unless a rule names `lo`, in which case
    /// those rules judge it first.
    fn loopback<'a>(
        &mut self,
        hook: Hook,
        rules: impl Iterator<Item = (&'a Rule, Role)>,
    ) -> Vec<Line> {
        let Some(end) = hook.loopback() else {
            return vec![];
        };
        let place = Place {
            hook,
            loopback: true,
        };
        let mut inner = Vec::new();
        for (rule, duty) in rules {
            if names_loopback(rule, hook) {
                self.emit(&mut inner, rule, place, duty);
            }
        }
        let pass = Self::pass(self.stage());
        if inner.is_empty() {
            return vec![Line::new(vec![is_loopback(end)], pass)];
        }
        inner.push(Line::new(vec![], pass));
        let chain = self.chain("lo", inner);
        vec![Line::new(vec![is_loopback(end)], Then::Goto(chain))]
    }

    /// Writes the rules up to the first that takes everything, which is returned: what follows it
    /// decides nothing.
    fn judge<'a>(
        &mut self,
        out: &mut Vec<Line>,
        place: Place,
        rules: impl Iterator<Item = (&'a Rule, Role)>,
    ) {
        for (rule, duty) in rules {
            self.emit(out, rule, place, duty);
            if out.last().is_some_and(Line::is_final) {
                return;
            }
        }
    }

    /// The same, for traffic other than loopback's.
    fn judge_at(&mut self, out: &mut Vec<Line>, hook: Hook, rules: &[(&Rule, Role)]) {
        let place = Place {
            hook,
            loopback: false,
        };
        self.judge(out, place, rules.iter().copied());
    }

    /// The chain in which known flows pass and others wait to be judged, while a new policy is
    /// loaded.
    pub(super) fn hold(&mut self, table: Table, builtin: &str) -> Vec<Line> {
        self.table = table;
        let pass = Self::pass(self.stage());
        let loopback = match builtin {
            "PREROUTING" | "INPUT" => Some(End::In),
            "OUTPUT" => Some(End::Out),
            _ => None,
        };
        let mut lines: Vec<Line> = loopback
            .map(|end| Line::new(vec![is_loopback(end)], pass.clone()))
            .into_iter()
            .collect();
        for known in ["--ctstate ESTABLISHED,RELATED", "--ctstatus CONFIRMED"] {
            lines.push(Line::text(&format!("-m conntrack {known}"), pass.clone()));
        }
        lines.push(Line::new(vec![], Then::Drop));
        lines
    }
}

/// The packet is loopback traffic.
fn is_loopback(end: End) -> Test {
    let (negate, name) = (false, "lo".to_owned());
    match end {
        End::In => Test::In { negate, name },
        End::Out | End::Routed => Test::Out { negate, name },
    }
}

/// Every rule of a list, whole.
fn whole(rules: &[Rule]) -> Vec<(&Rule, Role)> {
    rules.iter().map(|r| (r, Role::Whole)).collect()
}

/// Ends a chain with `last` unless it ends already.
fn finish(lines: &mut Vec<Line>, last: Then) {
    if !lines.last().is_some_and(Line::is_final) {
        lines.push(Line::new(vec![], last));
    }
}

/// `-p` of each of a proxy's protocols before the tests.
fn for_protocols(numbers: &crate::packet::IntervalSet<u64>, line: &Line) -> Vec<Line> {
    let numbers = numbers.ranges().iter().flat_map(|(a, b)| *a..=*b);
    let with = |number| Line {
        tests: [vec![Test::protocol(number)], line.tests.clone()].concat(),
        ..line.clone()
    };
    numbers.map(with).collect()
}

/// A chain's name.
fn goto(chain: &Arc<str>) -> Then {
    Then::Goto(chain.clone())
}
