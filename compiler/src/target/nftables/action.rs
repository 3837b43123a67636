//! From a rule's rates, effects and verdict to the lines of kernel rules.
//!
//! Most rules become one line for each alternative: conditions, buckets, statements, verdict. A rule that
//! needs several lines (a bucket asked with "if not", a log entry with a rate of its own, an
//! addition to a set that may be full) gets a chain, reached by `goto` when it always decides and by
//! `jump` when it may not. A rule that must fire once although several alternatives may hold for
//! one packet is reached through a chain of its alternatives, each of which leaves it by `goto`.

use std::sync::Arc;

use polc_bundle::{Family, ObjectKind};

use super::Build;
use super::limits::Ask;
use super::lower::strict_tcp;
use super::matches::{Alt, Alts, nfproto};
use super::names::comment;
use super::tree::{Chain, Match, Rule as Line, Verdict as Then};
use crate::diagnostic::{Code, Diagnostic};
use crate::ir::cube::families_of;
use crate::ir::{Limit, Mark, Rule, Sense, Verdict};
use crate::packet::Families;
use crate::target::Capability;
use crate::target::netfilter::Role;
use crate::target::netfilter::check::{asks_syn, may_be_untracked};
use crate::target::netfilter::sides::{Hook, Place};
use crate::target::netfilter::text::quotable;

/// The longest log prefix, in bytes.
const PREFIX: usize = 127;

/// The lines that follow when a rule's conditions hold.
struct Body {
    lines: Vec<Line>,
    /// Whether they always decide.
    ends: bool,
}

impl Build<'_> {
    /// Writes `rule` into a chain at `place`.
    pub(crate) fn emit(&mut self, out: &mut Vec<Line>, rule: &Rule, place: Place, duty: Role) {
        let split = self.needs_family(rule, duty);
        let alts = match duty {
            Role::Nat { label: Some(label) } => labelled(rule, label, split),
            _ => self.alternatives(rule, place, split),
        };
        if alts.list.is_empty() {
            return;
        }
        if !split {
            if let Some(body) = self.body_of(rule, place, duty, None) {
                self.attach(out, rule, alts, body);
            }
            return;
        }
        for family in [Family::V4, Family::V6] {
            let of_family = |a: &Alt| a.family == Some(family);
            let list: Vec<Alt> = alts.list.iter().filter(|a| of_family(a)).cloned().collect();
            if !list.is_empty()
                && let Some(body) = self.body_of(rule, place, duty, Some(family))
            {
                let exclusive = alts.exclusive;
                let alts = Alts { list, exclusive };
                self.attach(out, rule, alts, body);
            }
        }
    }

    /// Whether what the rule does is written differently for each family.
    fn needs_family(&self, rule: &Rule, duty: Role) -> bool {
        let keyed = |id: usize| self.ir.buckets.get(id).is_some_and(|b| b.key.is_some());
        let nat = matches!(rule.verdict, Some(Verdict::Dnat(_) | Verdict::Snat(_)));
        match duty {
            Role::Nat { .. } => nat,
            Role::Mangle { .. } | Role::Whole => {
                rule.limits.iter().any(|l| keyed(l.bucket))
                    || rule.effects.add.is_some()
                    || rule
                        .effects
                        .log
                        .as_ref()
                        .and_then(|l| l.at)
                        .is_some_and(keyed)
                    || (nat && duty == Role::Whole)
            }
        }
    }

    fn attach(&mut self, out: &mut Vec<Line>, rule: &Rule, alts: Alts, mut body: Body) {
        let once = body.ends || alts.exclusive;
        let last = if body.lines.len() == 1 && once {
            body.lines.pop().unwrap_or_default()
        } else {
            let chain = self.chain(&rule.name, body.lines);
            Line {
                verdict: Some(if body.ends || !once {
                    Then::Goto(chain)
                } else {
                    Then::Jump(chain)
                }),
                ..Line::default()
            }
        };
        let mut lines = Vec::new();
        for alt in alts.list {
            let line = if alt.excludes.is_empty() {
                joined(alt.matches, last.clone())
            } else {
                if !once {
                    let title = format!(
                        "rule `{}` excludes senders in overlapping conditions",
                        rule.name
                    );
                    self.errors
                        .push(Diagnostic::error(Code::TooComplex, title, rule.span));
                }
                let mut inner: Vec<Line> = alt
                    .excludes
                    .into_iter()
                    .map(|m| Line::new(vec![m], Then::Return))
                    .collect();
                inner.push(joined(vec![], last.clone()));
                let chain = self.chain(&format!("{}-unless", rule.name), inner);
                Line::new(alt.matches, Then::Jump(chain))
            };
            lines.push(line);
        }
        if !once {
            let chain = self.chain(&format!("{}-any", rule.name), lines);
            lines = vec![Line::new(vec![], Then::Jump(chain))];
        }
        let comment = comment(&rule.name);
        out.extend(lines.into_iter().map(|line| Line {
            comment: Some(comment.clone()),
            block: Some(rule.block),
            ..line
        }));
    }

    /// A chain of these lines: one that exists, or a new one with a name like `wish`.
    pub(crate) fn chain(&mut self, wish: &str, rules: Vec<Line>) -> Arc<str> {
        let content = format!("{wish}\n{rules:?}");
        if let Some(name) = self.bodies.get(&content) {
            return name.clone();
        }
        let name = self.names.unique(ObjectKind::Chain, wish);
        self.bodies.insert(content, name.clone());
        self.chains.push(Chain {
            name: name.clone(),
            base: None,
            rules,
        });
        name
    }

    /// What follows when the rule's conditions hold; `None` when nothing does, or it cannot be
    /// expressed, which is then reported.
    fn body_of(
        &mut self,
        rule: &Rule,
        place: Place,
        duty: Role,
        family: Option<Family>,
    ) -> Option<Body> {
        let hook = place.hook;
        let whole = !matches!(duty, Role::Nat { .. });
        let mut lines = Vec::new();
        let mut statements = Vec::new();
        if whole {
            self.effects(rule, hook, family, &mut lines, &mut statements)?;
        }
        if let Role::Mangle { label: Some(label) } = duty {
            statements.push(format!("ct label set {label}"));
        }
        // A proxy's chain asks for the SYN of what the proxy takes.
        let in_chain = hook == Hook::SteerPre && matches!(rule.verdict, Some(Verdict::Proxy(_)));
        if asks_syn(self.ir, rule, place) && !in_chain {
            if !statements.is_empty() {
                lines.push(Line {
                    statements: std::mem::take(&mut statements),
                    comment: Some(comment(&rule.name)),
                    ..Line::default()
                });
            }
            lines.extend(strict_tcp(self, ""));
        }
        let mut matches = Vec::new();
        let mut then = None;
        if let Some(verdict) = &rule.verdict {
            let decided = self.verdict(rule, verdict, hook, duty, family)?;
            matches = decided.matches;
            statements.extend(decided.statements);
            then = Some(decided.then);
        }
        let mut ends = then.is_some();
        if then.is_some() || !statements.is_empty() {
            lines.push(Line {
                matches,
                statements,
                verdict: then,
                comment: Some(comment(&rule.name)),
                block: None,
            });
        }
        if whole && lines.is_empty() && !rule.limits.is_empty() {
            // It does nothing but take tokens, which others may miss.
            lines.push(Line {
                statements: vec!["continue".to_owned()],
                comment: Some(comment(&rule.name)),
                ..Line::default()
            });
        }
        if lines.is_empty() {
            return None;
        }
        if whole {
            for limit in rule.limits.iter().rev() {
                lines = self.limited(rule, *limit, hook, family, lines, ends)?;
                ends = false;
            }
        }
        if let (Some(Verdict::Proxy(id)), Hook::SteerOut | Hook::NatOut) = (&rule.verdict, hook) {
            let bypass = self.ir.proxies.get(*id).map_or(&[][..], |p| &p.bypass);
            for cube in bypass.iter().rev() {
                let sender = self.sender(cube);
                lines.insert(0, Line::new(sender, Then::Return));
                ends = false;
            }
        }
        Some(Body { lines, ends })
    }

    /// `lines`, when `limit` holds.
    fn limited(
        &mut self,
        rule: &Rule,
        limit: Limit,
        hook: Hook,
        family: Option<Family>,
        mut lines: Vec<Line>,
        ends: bool,
    ) -> Option<Vec<Line>> {
        self.check_limit(limit, hook, rule);
        let Ask { question, positive } = self.ask(limit, family)?;
        if !positive {
            lines.insert(0, Line::new(vec![question], Then::Return));
            return Some(lines);
        }
        if let [line] = lines.as_mut_slice() {
            line.matches.insert(0, question);
            return Some(lines);
        }
        let chain = self.chain(&format!("{}-within", rule.name), lines);
        let then = if ends {
            Then::Goto(chain)
        } else {
            Then::Jump(chain)
        };
        Some(vec![Line::new(vec![question], then)])
    }

    fn check_limit(&mut self, limit: Limit, hook: Hook, rule: &Rule) {
        let flows = self
            .ir
            .buckets
            .get(limit.bucket)
            .is_some_and(|b| matches!(b.rate, crate::ir::Rate::Flows { .. }));
        if flows && hook == Hook::Guard {
            self.unsupported(Capability::GuardFlows, rule.span);
        }
    }

    /// The rule's effects: statements of the deciding line, and lines of their own for those that
    /// may not be carried out, which must not keep the verdict from being given.
    fn effects(
        &mut self,
        rule: &Rule,
        hook: Hook,
        family: Option<Family>,
        lines: &mut Vec<Line>,
        statements: &mut Vec<String>,
    ) -> Option<()> {
        let effects = &rule.effects;
        if effects.count {
            let name = self.counter(rule);
            statements.push(format!("counter name \"{name}\""));
        }
        if let Some(log) = &effects.log {
            let text = log.text.as_deref().unwrap_or(&rule.name);
            // nft takes `$` for the beginning of a variable's name, here alone.
            let prefix = format!("{}: ", quotable(text, PREFIX - 2).replace('$', "_"));
            let statement = format!("log prefix \"{prefix}\" group {}", self.options.log_group);
            self.log_prefixes.insert(rule.name.clone(), prefix);
            match log.at {
                None => statements.push(statement),
                Some(bucket) => {
                    let limit = Limit {
                        sense: Sense::Within,
                        bucket,
                    };
                    let entry = Line {
                        statements: vec![statement],
                        comment: Some(comment(&rule.name)),
                        ..Line::default()
                    };
                    let mut entry = self.limited(rule, limit, hook, family, vec![entry], false)?;
                    if entry.len() > 1 {
                        let chain = self.chain(&format!("{}-log", rule.name), entry);
                        entry = vec![Line::new(vec![], Then::Jump(chain))];
                    }
                    lines.append(&mut entry);
                }
            }
        }
        if let (Some(set), Some(family)) = (effects.add, family) {
            lines.push(Line {
                statements: vec![self.add_to(set, family)?],
                comment: Some(comment(&rule.name)),
                ..Line::default()
            });
        }
        if let Some(mark) = effects.mark {
            let (line, marks) = self.mark(rule, mark, hook);
            lines.extend(line);
            statements.extend(marks);
        }
        Some(())
    }

    /// What sets a mark: statements of the deciding line, and before it, where need be, a line of its own.
    fn mark(&self, rule: &Rule, mark: Mark, hook: Hook) -> (Option<Line>, Vec<String>) {
        let mut statements = vec![mark_packet(mark)];
        if hook == Hook::Guard {
            return (None, statements);
        }
        let untracked = rule.cubes.iter().any(|cube| {
            let mut families = [Family::V4, Family::V6].into_iter();
            families.any(|family| may_be_untracked(self.ir, cube, family))
        });
        match FlowMark::of(mark, untracked) {
            FlowMark::Beside(statement) => {
                statements.push(statement);
                (None, statements)
            }
            FlowMark::Apart(line) => {
                let comment = Some(comment(&rule.name));
                (Some(Line { comment, ..line }), statements)
            }
        }
    }

    fn counter(&mut self, rule: &Rule) -> Arc<str> {
        if let Some(name) = self.counter_of.get(&rule.name) {
            return name.clone();
        }
        let name = self.names.unique(ObjectKind::Counter, &rule.name);
        self.counters.push(name.clone());
        self.counter_of.insert(rule.name.clone(), name.clone());
        name
    }
}

/// The conditions of a rule that a mangle chain has found to hold.
fn labelled(rule: &Rule, label: u8, split: bool) -> Alts {
    let alt = |family: Option<Family>| Alt {
        family,
        matches: family
            .map(nfproto)
            .into_iter()
            .chain([Match::Text(format!("ct label {label}"))])
            .collect(),
        excludes: vec![],
    };
    let list = if split {
        let Families { v4, v6 } = families_of(&rule.cubes);
        let reached = [(v4, Family::V4), (v6, Family::V6)].into_iter();
        let reached = reached.filter_map(|(reached, family)| reached.then_some(family));
        reached.map(|family| alt(Some(family))).collect()
    } else {
        vec![alt(None)]
    };
    Alts {
        list,
        exclusive: true,
    }
}

/// `line` after `matches`; what both ask about the protocol stands once.
fn joined(mut matches: Vec<Match>, line: Line) -> Line {
    let transport = |m: &Match| matches!(m, Match::Test { key, .. } if key.transport);
    let known = matches.iter().any(transport);
    matches.extend(
        line.matches
            .into_iter()
            .filter(|m| !(known && transport(m))),
    );
    Line { matches, ..line }
}

/// The statement that sets bits of a packet's mark.
pub(crate) fn mark_packet(mark: Mark) -> String {
    set_mark("meta", mark)
}

/// The statement that sets bits of a flow's mark. For a packet of no flow, nothing that stands behind it in its line
/// is done if it has a mask.
pub(crate) fn mark_flow(mark: Mark) -> String {
    set_mark("ct", mark)
}

/// What sets bits of a flow's mark for packets that may be of no flow.
pub(crate) enum FlowMark {
    /// A statement among others.
    Beside(String),
    /// A line that does nothing else.
    Apart(Line),
}

impl FlowMark {
    /// With `untracked`, some of the packets may be of no flow.
    pub(crate) fn of(mark: Mark, untracked: bool) -> Self {
        let statement = mark_flow(mark);
        if !untracked || mark.mask == u32::MAX {
            return Self::Beside(statement);
        }
        Self::Apart(Line {
            statements: vec![statement],
            ..Line::default()
        })
    }
}

fn set_mark(what: &str, mark: Mark) -> String {
    match mark.mask {
        u32::MAX => format!("{what} mark set {:#x}", mark.value),
        own => {
            let (keep, value) = (!own, mark.value & own);
            format!("{what} mark set {what} mark & {keep:#010x} | {value:#x}")
        }
    }
}
