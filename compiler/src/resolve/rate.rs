//! Rates and buckets.

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
        let index = bucket.map(|bucket| {
            self.policy.buckets.push(bucket);
            self.policy.buckets.len() - 1
        });
        self.buckets.insert(id.clone(), index);
        index
    }

    /// The index of the bucket that `name` means.
    pub(super) fn bucket_named(&mut self, name: &str, env: &Env, span: Span) -> Option<usize> {
        let id = self.lookup(env, Kind::Bucket, name, span)?;
        self.bucket(&id, span)
    }

    fn bucket_decl(&mut self, id: &DefId) -> Option<Bucket> {
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
        for option in &decl.options {
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
        Some(bucket)
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
                Some(Bound::Rate(rate)) => rate,
                Some(Bound::Failed) => return None,
                _ => RateRef::Shared(self.bucket_named(name, env, span)?),
            },
        };
        let rate = match &found {
            RateRef::Shared(index) => self.policy.buckets.get(*index).map(|b| b.rate),
            RateRef::Own(rate, _) => Some(*rate),
        };
        let wrong = match rate {
            Some(Rate::Flows { .. }) => log || stage == Stage::Guard,
            Some(Rate::Bytes { .. }) => log || stage != Stage::Guard,
            _ => false,
        };
        if wrong {
            let title = format!("{} cannot count this", counter(stage, log));
            self.report(Diagnostic::error(Code::BadRate, title, span).help(units(stage, log)));
            return None;
        }
        Some(found)
    }

    /// Whether the stage counts the unit that is written.
    fn check_unit(&mut self, lit: &RateLit, stage: Stage, log: bool, span: Span) -> Option<()> {
        let guard = stage == Stage::Guard;
        let ok = match (lit.unit, lit.per) {
            (None, Some(_)) => true,
            (Some(Unit::Packets), Some(_)) => guard || log,
            (Some(Unit::Bytes), Some(_)) => guard && !log,
            (Some(Unit::Flows), _) => !guard && !log,
            (_, None) => false,
        };
        if ok {
            return Some(());
        }
        let title = format!("{} cannot count this", counter(stage, log));
        self.report(Diagnostic::error(Code::BadRate, title, span).help(units(stage, log)));
        None
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
                    self.error(Code::BadRate, title, span);
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
        let key = match &lit.key {
            Some(key) => Some(self.key(key, span)?),
            None => None,
        };
        Some((rate, key))
    }

    fn key(&mut self, key: &ast::Key, span: Span) -> Option<Key> {
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
