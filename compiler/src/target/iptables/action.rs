//! From a rule's rates, effects and verdict to kernel rules.
//!
//! A kernel rule has one target, so a rule with effects needs several. Those are its body: a chain,
//! reached from each alternative of its conditions, by `-g` when it always decides and by `-j` when
//! it may not. A body of one line is written behind the conditions. A rule that must fire once although
//! several alternatives may hold for one packet is reached through a chain of its alternatives,
//! each of which leaves it by `-g`: no mark is needed to remember that it has fired.

use std::sync::Arc;

use super::Build;
use super::matches::{Alt, Alts, is_of};
use super::names::{self, comment};
use super::tree::{Chain, Comment, Line, Test, Then};
use crate::ir::{Limit, Log, Mark, Rule, Sense, Stage, Verdict};
use crate::target::netfilter::Role;
use crate::target::netfilter::check::asks_syn;
use crate::target::netfilter::label::ADMITTED;
use crate::target::netfilter::sides::{Hook, Place};
use crate::target::netfilter::text::quotable;

/// The longest log prefix, in bytes.
const PREFIX: usize = 63;

/// The lines that follow when a rule's conditions hold.
struct Body {
    lines: Vec<Line>,
    /// Whether they always decide.
    ends: bool,
}

impl Build<'_> {
    /// Writes `rule` into a chain at `place`.
    pub(super) fn emit(&mut self, out: &mut Vec<Line>, rule: &Rule, place: Place, duty: Role) {
        let alts = match duty {
            Role::Nat { label: Some(_) } if !self.is_reached(rule) => return,
            Role::Nat { label: Some(label) } => labelled(label),
            _ => self.alternatives(rule, place),
        };
        if alts.list.is_empty() {
            return;
        }
        if let Some(body) = self.body_of(rule, place, duty) {
            self.attach(out, rule, alts, body);
        }
    }

    /// Whether packets of the family that is being written can meet a rule.
    fn is_reached(&self, rule: &Rule) -> bool {
        rule.cubes.iter().any(|cube| is_of(cube, self.family))
    }

    fn attach(&mut self, out: &mut Vec<Line>, rule: &Rule, mut alts: Alts, mut body: Body) {
        let once = body.ends || alts.exclusive;
        let own = alts.list.len() > 1 && body.lines.iter().any(Line::has_own);
        let last = if body.lines.len() == 1 && once && !own {
            body.lines.pop().unwrap_or_default()
        } else {
            let chain = self.chain(&rule.name, body.lines);
            let then = if body.ends || !once {
                Then::Goto(chain)
            } else {
                Then::Jump(chain)
            };
            Line::new(vec![], then)
        };
        let named = comment(&rule.name);
        let part = |line: Line| Line {
            comment: line.comment.clone().or_else(|| {
                Some(Comment {
                    rule: named.clone(),
                    counts: false,
                })
            }),
            block: Some(rule.block),
            ..line
        };
        if once {
            for Alt { tests, excludes } in alts.list {
                if excludes.is_empty() {
                    out.extend(joined(tests, &last).map(part));
                } else {
                    let chain = self.unless(rule, excludes, &Then::Return, &last);
                    out.push(part(Line::new(tests, Then::Jump(chain))));
                }
            }
            return;
        }
        // Who is excluded from all alternatives is asked once: the kernel follows 16 chains into one another at most.
        let excluded = common(&mut alts.list);
        // From the last on: who is excluded from some alternatives goes on to the others.
        let mut lines: Vec<Line> = Vec::new();
        for (excludes, group) in by_excluded(alts.list).into_iter().rev() {
            let rest = if excludes.is_empty() || lines.is_empty() {
                Then::Return
            } else {
                Then::Goto(self.chain(&rule.name, std::mem::take(&mut lines)))
            };
            let leaves = |test| part(Line::new(vec![test], rest.clone()));
            let mut first: Vec<Line> = excludes.iter().cloned().map(leaves).collect();
            let holds = group.into_iter().filter_map(|tests| joined(tests, &last));
            first.extend(holds.map(part));
            if !excludes.is_empty() {
                first.push(part(Line::new(vec![], rest)));
            }
            lines.splice(0..0, first);
        }
        let returns = |test| part(Line::new(vec![test], Then::Return));
        lines.splice(0..0, excluded.into_iter().map(returns));
        let chain = self.chain(&rule.name, lines);
        out.push(part(Line::new(vec![], Then::Jump(chain))));
    }

    /// A chain that does as `last` but for packets that are excluded, which go elsewhere.
    fn unless(
        &mut self,
        rule: &Rule,
        excludes: Vec<Test>,
        elsewhere: &Then,
        last: &Line,
    ) -> Arc<str> {
        let leaves = |test| Line::new(vec![test], elsewhere.clone());
        let mut lines: Vec<Line> = excludes.into_iter().map(leaves).collect();
        lines.extend(joined(vec![], last));
        self.chain(&rule.name, lines)
    }

    /// A chain of these lines in the table that is being written.
    pub(super) fn chain(&mut self, wish: &str, lines: Vec<Line>) -> Arc<str> {
        let takes_turns = |line: &Line| line.tests.iter().any(|t| matches!(t, Test::Turn(_)));
        let apart = if self.arriving && lines.iter().any(takes_turns) {
            "\nof flows that come in"
        } else {
            ""
        };
        let name = names::chain(wish, &format!("{wish}\n{lines:?}{apart}"));
        if self.known.insert((self.table, name.clone())) {
            self.chains.entry(self.table).or_default().push(Chain {
                name: name.clone(),
                builtin: None,
                lines,
            });
        }
        name
    }

    /// What follows when the rule's conditions hold; `None` when nothing does, or it cannot be
    /// expressed, which is then reported.
    fn body_of(&mut self, rule: &Rule, place: Place, duty: Role) -> Option<Body> {
        let whole = !matches!(duty, Role::Nat { .. });
        let mut lines = Vec::new();
        if whole {
            lines = self.effects(rule, place)?;
        }
        if let Role::Mangle { label: Some(label) } = duty {
            lines.push(Line::label(label));
        }
        let asks_syn = asks_syn(self.ir, rule, place);
        if asks_syn {
            lines.extend(self.strict_tcp(&[]));
        }
        let mut ends = false;
        if let Some(verdict) = &rule.verdict {
            lines.extend(self.verdict(rule, verdict, place.hook, duty)?);
            ends = true;
        }
        if asks_syn {
            lines.insert(0, counting_line(rule));
        } else if let Some(last) = lines.last_mut()
            && whole
            && ends
        {
            last.comment = Some(counting(rule));
        } else if whole && !ends {
            // With one effect, its line counts; else a line that does nothing else.
            match lines.as_mut_slice() {
                [only] if !asks(only) => only.comment = Some(counting(rule)),
                // One that does nothing else may take tokens, which others miss.
                [] if !rule.effects.count && rule.limits.is_empty() => return None,
                _ => lines.insert(0, counting_line(rule)),
            }
        }
        if lines.is_empty() {
            return None;
        }
        if whole {
            for limit in rule.limits.iter().rev() {
                lines = self.limited(rule, *limit, place, lines, ends)?;
                ends = false;
            }
        }
        if let (Some(Verdict::Proxy(id)), Hook::SteerOut | Hook::NatOut) =
            (&rule.verdict, place.hook)
        {
            let bypass = self.ir.proxies.get(*id).map_or(&[][..], |p| &p.bypass);
            for cube in bypass.iter().rev() {
                for sender in self.sender(cube) {
                    lines.insert(0, Line::new(sender, Then::Return));
                    ends = false;
                }
            }
        }
        Some(Body { lines, ends })
    }

    /// `lines`, when `limit` holds.
    fn limited(
        &mut self,
        rule: &Rule,
        limit: Limit,
        place: Place,
        mut lines: Vec<Line>,
        ends: bool,
    ) -> Option<Vec<Line>> {
        let question = self.ask(limit, rule, place)?;
        if let [line] = lines.as_mut_slice() {
            line.tests.insert(0, question);
            return Some(lines);
        }
        let chain = self.chain(&rule.name, lines);
        let then = if ends {
            Then::Goto(chain)
        } else {
            Then::Jump(chain)
        };
        Some(vec![Line::new(vec![question], then)])
    }

    /// The rule's effects, a line for each.
    fn effects(&mut self, rule: &Rule, place: Place) -> Option<Vec<Line>> {
        let effects = &rule.effects;
        let mut lines = Vec::new();
        if let Some(log) = &effects.log {
            lines.extend(self.log(rule, log, place)?);
        }
        if let Some(set) = effects.add {
            lines.push(Line::new(vec![], self.add_to(set)?));
        }
        if let Some(mark) = effects.mark {
            lines.extend(set_mark(mark, place.hook != Hook::Guard));
        }
        Some(lines)
    }

    fn log(&mut self, rule: &Rule, log: &Log, place: Place) -> Option<Vec<Line>> {
        let text = log.text.as_deref().unwrap_or(&rule.name);
        let prefix = format!("{}: ", quotable(text, PREFIX - 2));
        let group = self.options.log_group;
        let target = format!("NFLOG --nflog-group {group} --nflog-prefix \"{prefix}\"");
        self.log_prefixes.insert(rule.name.clone(), prefix);
        let lines = vec![Line::new(vec![], Then::Do(target))];
        match log.at {
            None => Some(lines),
            Some(bucket) => {
                let limit = Limit {
                    sense: Sense::Within,
                    bucket,
                };
                self.limited(rule, limit, place, lines, false)
            }
        }
    }

    /// Whether the rule's flows are admitted with its verdict at this place.
    pub(super) fn admitted(rule: &Rule, here: bool) -> Option<Line> {
        let redirected = matches!(rule.verdict, Some(Verdict::Redirect { .. }));
        (here && (rule.admit || redirected)).then(|| Line::label(ADMITTED))
    }

    /// What hands a packet on in a stage: filter admits it, the others leave it to what follows.
    pub(super) fn pass(stage: Stage) -> Then {
        if stage == Stage::Filter {
            Then::Accept
        } else {
            Then::Leave
        }
    }
}

fn asks(line: &Line) -> bool {
    !line.tests.is_empty()
}

/// The comment of the line that counts a rule's packets.
fn counting(rule: &Rule) -> Comment {
    Comment {
        rule: comment(&rule.name),
        counts: true,
    }
}

/// Alternatives from which the same are excluded, together; those from which nobody is come first.
fn by_excluded(alts: Vec<Alt>) -> Vec<(Vec<Test>, Vec<Vec<Test>>)> {
    let mut groups = vec![(Vec::new(), Vec::new())];
    for Alt { tests, excludes } in alts {
        match groups.iter_mut().find(|(of, _)| *of == excludes) {
            Some((_, group)) => group.push(tests),
            None => groups.push((excludes, vec![tests])),
        }
    }
    groups
}

/// Takes out who is excluded from all alternatives.
fn common(alts: &mut [Alt]) -> Vec<Test> {
    let [first, rest @ ..] = &*alts else {
        return vec![];
    };
    let everywhere = |test: &&Test| rest.iter().all(|alt| alt.excludes.contains(test));
    let common: Vec<Test> = first.excludes.iter().filter(everywhere).cloned().collect();
    for alt in alts {
        alt.excludes.retain(|test| !common.contains(test));
    }
    common
}

/// A line that counts a rule's packets and does nothing else.
fn counting_line(rule: &Rule) -> Line {
    Line {
        comment: Some(counting(rule)),
        ..Line::default()
    }
}

/// The conditions of a rule that a mangle chain has found to hold.
fn labelled(label: u8) -> Alts {
    let test = Test::Text(format!("-m connlabel --label {label}"));
    Alts {
        list: vec![Alt {
            tests: vec![test],
            excludes: vec![],
        }],
        exclusive: true,
    }
}

/// `line` after `tests`; what both ask about the protocol stands once. `None` when they ask for
/// different ones.
fn joined(mut tests: Vec<Test>, line: &Line) -> Option<Line> {
    let protocol = |t: &Test| match t {
        Test::Protocol {
            negate: false,
            number,
        } => Some(*number),
        _ => None,
    };
    let known = tests.iter().find_map(protocol);
    let asked = line.tests.iter().find_map(protocol);
    if known.is_some() && asked.is_some() && known != asked {
        return None;
    }
    let negated = |t: &Test| matches!(t, Test::Protocol { negate: true, .. });
    if asked.is_some() {
        // A protocol that is wanted is not one of those that are not.
        tests.retain(|t| !negated(t));
    }
    let more = line.tests.iter();
    tests.extend(
        more.filter(|t| !(known.is_some() && protocol(t).is_some()))
            .cloned(),
    );
    Some(Line {
        tests,
        ..line.clone()
    })
}

/// The lines that set bits of a packet's mark, and of its flow's.
pub(super) fn set_mark(Mark { value, mask }: Mark, flow: bool) -> Vec<Line> {
    let bits = format!("--set-xmark {:#x}/{mask:#x}", value & mask);
    let mut out = vec![Line::new(vec![], Then::Do(format!("MARK {bits}")))];
    if flow {
        let target = Then::Do(format!("CONNMARK {bits}"));
        out.push(Line::new(vec![], target));
    }
    out
}
