//! Rates and buckets.

use std::mem::discriminant;

use polc_grammar::ast::{self, BucketOption, Item, RateLit, Sense, Spanned, TimeUnit, Unit};

use super::param::Bound;
use super::scope::Kind;
use super::{DefId, Env, Resolver};
use crate::diagnostic::{Code, Diagnostic};
use crate::ir::{Bucket, Key, Rate, Stage};
use crate::policy::RateRef;
use crate::source::Span;

/// The bucket's size when none is given.
const DEFAULT_BURST: u64 = 5;

impl Resolver<'_> {
    /// The index of the bucket in the policy's table.
    pub(super) fn bucket(&mut self, id: &DefId, span: Span) -> Option<usize> {
        if let Some(known) = self.buckets.get(id) {
            return *known;
        }
        if !self.enter(Kind::Bucket, id, span) {
            return None;
        }
        let bucket = self.bucket_decl(id);
        self.leave();
        let index = bucket.map(|(bucket, unit)| {
            self.policy.buckets.push(bucket);
            let index = self.policy.buckets.len() - 1;
            self.units.extend(unit.map(|unit| (index, unit)));
            index
        });
        self.buckets.insert(id.clone(), index);
        index
    }

    /// The index of the bucket that `name` means.
    pub(super) fn bucket_named(&mut self, name: &str, env: &Env, span: Span) -> Option<usize> {
        let id = self.lookup(env, Kind::Bucket, name, span)?;
        self.bucket(&id, span)
    }

    /// The bucket, and the unit of its rate where one is written.
    fn bucket_decl(&mut self, id: &DefId) -> Option<(Bucket, Option<Unit>)> {
        let tree = self.tree(id.0);
        let at = self.item(Kind::Bucket, id)?;
        let Some(Item::Bucket(decl)) = tree.items.get(at).map(|i| &i.node) else {
            return None;
        };
        let env = self.env(id.0);
        let (rate, key) = self.rate_literal(&decl.rate.node, &env, env.span(decl.rate.span))?;
        let span = env.span(decl.name.span);
        let mut bucket = Bucket {
            name: id.1.as_str().into(),
            rate,
            key,
            max: None,
            idle: None,
            full: Sense::Over,
            span,
        };
        for (at, option) in decl.options.iter().enumerate() {
            let same =
                |o: &&Spanned<BucketOption>| discriminant(&o.node) == discriminant(&option.node);
            if let Some(first) = decl.options.iter().take(at).find(same) {
                self.said_twice(env.span(option.span), env.span(first.span));
            }
            if key.is_none() {
                let diagnostic = Diagnostic::error(
                    Code::WrongClause,
                    "a bucket without a key has no table of keys",
                    env.span(option.span),
                );
                self.report(diagnostic.help("give it a key (`per source`), or leave this out"));
            }
            match &option.node {
                BucketOption::Max(n) => {
                    let max = self.number(n, &env, u64::from(u32::MAX))?;
                    bucket.max = u32::try_from(max).ok();
                }
                BucketOption::Idle(ms) => bucket.idle = Some(*ms),
                BucketOption::Full(sense) => bucket.full = *sense,
            }
        }
        Some((bucket, decl.rate.node.unit))
    }

    /// A rate that a rule names or writes out; `log` says that it limits log entries.
    pub(super) fn rate(
        &mut self,
        rate: &Spanned<ast::Rate>,
        stage: Stage,
        log: bool,
        env: &Env,
    ) -> Option<RateRef> {
        let span = env.span(rate.span);
        let found = match &rate.node {
            ast::Rate::Lit(lit) => {
                self.check_unit(lit, stage, log, span)?;
                let (rate, key) = self.rate_literal(lit, env, span)?;
                return Some(RateRef::Own(rate, key));
            }
            ast::Rate::Bucket(name) => match self.named_param(env, name, span) {
                Some(Bound::Rate(rate, unit)) => (rate, unit),
                Some(Bound::Failed) => return None,
                _ => {
                    let index = self.bucket_named(name, env, span)?;
                    (RateRef::Shared(index), self.units.get(&index).copied())
                }
            },
        };
        let (found, unit) = found;
        let rate = match &found {
            RateRef::Shared(index) => self.policy.buckets.get(*index).map(|b| b.rate),
            RateRef::Own(rate, _) => Some(*rate),
        };
        let lives = matches!(rate, Some(Rate::Flows { .. }));
        if counts(unit, lives, stage, log) {
            return Some(found);
        }
        self.cannot_count(stage, log, span);
        None
    }

    /// Whether the stage counts the unit that is written.
    fn check_unit(&mut self, lit: &RateLit, stage: Stage, log: bool, span: Span) -> Option<()> {
        if counts(lit.unit, lit.per.is_none(), stage, log) {
            return Some(());
        }
        self.cannot_count(stage, log, span);
        None
    }

    fn cannot_count(&mut self, stage: Stage, log: bool, span: Span) {
        let title = format!("{} cannot count this", counter(stage, log));
        self.report(Diagnostic::error(Code::BadRate, title, span).help(units(stage, log)));
    }

    /// Rate and key of a literal.
    pub(super) fn rate_literal(
        &mut self,
        lit: &RateLit,
        env: &Env,
        span: Span,
    ) -> Option<(Rate, Option<Key>)> {
        let max = u64::from(u32::MAX);
        let count = self.number(&lit.count, env, max)?;
        let burst = match &lit.burst {
            Some(burst) => Some(self.number(burst, env, max)?),
            None => None,
        };
        if count == 0 || burst == Some(0) {
            let diagnostic = Diagnostic::error(
                Code::BadRate,
                "a rate of nothing lets nothing through",
                span,
            );
            self.report(diagnostic.help("write `deny` for that"));
            return None;
        }
        let rate = match (lit.unit, lit.per) {
            (Some(Unit::Bytes), Some(per)) => {
                let per_second = count / seconds(per);
                if per_second == 0 || count % seconds(per) != 0 {
                    let title = "a rate of bytes must be a whole number of bytes a second";
                    let help = "write it per second: `10k bytes/s`";
                    self.report(Diagnostic::error(Code::BadRate, title, span).help(help));
                    return None;
                }
                Rate::Bytes {
                    count: per_second,
                    burst: burst.unwrap_or(per_second),
                }
            }
            (_, Some(per)) => Rate::Packets {
                count,
                per,
                burst: burst.unwrap_or(DEFAULT_BURST),
            },
            (_, None) if burst.is_some() => {
                let title = "a limit of live flows has no burst";
                self.error(Code::BadRate, title, span);
                return None;
            }
            (_, None) => Rate::Flows {
                count: u32::try_from(count).unwrap_or(u32::MAX),
            },
        };
        let key = match lit.key {
            Some(key) => Some(self.key(key, span)?),
            None => None,
        };
        Some((rate, key))
    }

    fn key(&mut self, key: ast::Key, span: Span) -> Option<Key> {
        let (v4, v6) = (key.v4.unwrap_or(32), key.v6.unwrap_or(128));
        if !(1..=32).contains(&v4) || !(1..=128).contains(&v6) {
            let diagnostic = Diagnostic::error(
                Code::OutOfRange,
                "a key has 1 to 32 bits on IPv4, 1 to 128 on IPv6",
                span,
            );
            self.report(diagnostic.help("leave the key out for one bucket for all"));
            return None;
        }
        Some(Key {
            kind: key.kind,
            v4,
            v6,
        })
    }
}

fn seconds(unit: TimeUnit) -> u64 {
    match unit {
        TimeUnit::Second => 1,
        TimeUnit::Minute => 60,
        TimeUnit::Hour => 3_600,
        TimeUnit::Day => 86_400,
    }
}

/// Whether the stage (or a `log` in it) counts the unit; `lives` says that live flows are counted.
fn counts(unit: Option<Unit>, lives: bool, stage: Stage, log: bool) -> bool {
    let guard = stage == Stage::Guard;
    match unit {
        None => !lives,
        Some(Unit::Packets) => (guard || log) && !lives,
        Some(Unit::Bytes) => guard && !log && !lives,
        Some(Unit::Flows) => !guard && !log,
    }
}

fn counter(stage: Stage, log: bool) -> String {
    if log {
        "the rate of a `log`".to_owned()
    } else {
        format!("`{}`", stage.name())
    }
}

fn units(stage: Stage, log: bool) -> &'static str {
    match (stage, log) {
        (_, true) => "it counts entries: write `3/s`",
        (Stage::Guard, _) => "it sees packets: write `10 packets/s` or `10M bytes/s`",
        _ => "it sees new flows: write `10/s`, or `10 flows` for flows that live at once",
    }
}
