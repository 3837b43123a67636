//! Clauses and metadata.

use super::literal::reference;
use super::{Builder, has};
use crate::ast::{Balance, Clause, Family, Meta, Spanned};
use crate::grammar::{Pair, Rule};

impl Builder<'_> {
    /// The clauses that are children of `pair`.
    pub(super) fn clauses(&mut self, pair: &Pair<'_>) -> Option<Vec<Spanned<Clause>>> {
        self.each(pair, Rule::clause, Self::clause)
    }

    /// One clause.
    pub(super) fn clause(&mut self, pair: &Pair<'_>) -> Option<Spanned<Clause>> {
        self.spanned(pair, |this, pair| {
            let clause = this.only(pair)?;
            this.clause_kind(&clause)
        })
    }

    fn clause_kind(&mut self, pair: &Pair<'_>) -> Option<Clause> {
        match pair.as_rule() {
            Rule::from_clause => self.ends(pair).map(Clause::From),
            Rule::to_clause if has(pair, Rule::kw_original) => {
                self.ends(pair).map(Clause::ToOriginal)
            }
            Rule::to_clause => self.ends(pair).map(Clause::To),
            Rule::in_clause => self.ifaces(pair).map(Clause::In),
            Rule::out_clause => self.ifaces(pair).map(Clause::Out),
            Rule::by_clause => {
                let principal = self.child(pair, Rule::principal)?;
                self.principal(&principal).map(Clause::By)
            }
            Rule::limit_clause => {
                let sense = self.child(pair, Rule::sense)?;
                let rate = self.child(pair, Rule::rate)?;
                Some(Clause::Limit(self.sense(&sense)?, self.rate(&rate)?))
            }
            Rule::when_clause => {
                let expr = self.child(pair, Rule::expr)?;
                self.condition(&expr).map(Clause::When)
            }
            Rule::except_clause => {
                let services = self.child(pair, Rule::services)?;
                self.services(&services).map(Clause::Except)
            }
            Rule::only_clause => {
                let leaf = self.child(pair, Rule::family)?;
                let family = if leaf.as_str() == "v4" {
                    Family::V4
                } else {
                    Family::V6
                };
                Some(Clause::Only(Spanned::new(family, self.leaf_span(&leaf))))
            }
            Rule::target_clause => self.target_clause(pair),
            Rule::via_table => {
                let num = self.child(pair, Rule::num)?;
                self.num(&num).map(Clause::ViaTable)
            }
            Rule::via_clause => self.name_of(pair).map(Clause::Via),
            Rule::with_clause => {
                let leaf = self.child(pair, Rule::word)?;
                Some(Clause::With(self.name(&leaf)))
            }
            Rule::mark_clause => self.mark(pair).map(Clause::Mark),
            Rule::add_clause => {
                let leaf = self.child(pair, Rule::set_ref)?;
                Some(Clause::Add(Spanned::new(
                    reference(&leaf),
                    self.leaf_span(&leaf),
                )))
            }
            Rule::log_clause => self.log(pair),
            Rule::count_clause => Some(Clause::Count),
            Rule::and_allow => Some(Clause::AndAllow),
            Rule::as_clause => self.name_of(pair).map(Clause::As),
            Rule::meta => self.meta(pair).map(|meta| Clause::Meta(meta.node)),
            _ => self.unknown(pair),
        }
    }

    fn target_clause(&mut self, pair: &Pair<'_>) -> Option<Clause> {
        let targets = self.targets(pair, false)?;
        let leaf = pair
            .clone()
            .into_inner()
            .find(|part| part.as_rule() == Rule::balance);
        let balance = leaf.map(|leaf| {
            let balance = match leaf.as_str() {
                "source" => Balance::Source,
                "random" => Balance::Random,
                _ => Balance::RoundRobin,
            };
            Spanned::new(balance, self.leaf_span(&leaf))
        });
        Some(Clause::Target { targets, balance })
    }

    fn log(&mut self, pair: &Pair<'_>) -> Option<Clause> {
        let mut text = None;
        let mut at = None;
        for part in pair.clone().into_inner() {
            match part.as_rule() {
                Rule::kw_log | Rule::kw_at => {}
                Rule::string => text = Some(self.string(&part)?),
                Rule::rate => at = Some(self.rate(&part)?),
                _ => return self.unknown(&part),
            }
        }
        Some(Clause::Log { text, at })
    }

    /// `note "…"`, `owner w` and the like.
    pub(super) fn meta(&mut self, pair: &Pair<'_>) -> Option<Spanned<Meta>> {
        let span = self.span(pair);
        let meta = self.only(pair)?;
        let Some(leaf) = meta.clone().into_inner().next_back() else {
            return self.unknown(&meta);
        };
        let text = self.word(&leaf)?;
        let meta = match meta.as_rule() {
            Rule::note => Meta::Note(text),
            Rule::owner => Meta::Owner(text),
            Rule::ticket => Meta::Ticket(text),
            Rule::expires => Meta::Expires(text),
            Rule::review => Meta::Review(text),
            _ => return self.unknown(&meta),
        };
        Some(Spanned::new(meta, span))
    }
}
