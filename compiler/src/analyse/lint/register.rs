//! The register of lints, and of the compiler's codes that have a page.

use super::context::Shared;
use super::{Context, LINTS, Meta, PAGES};
use crate::diagnostic::Diagnostic;
use crate::resolve::nearest;

/// A lint.
pub(super) struct Lint {
    pub(super) meta: &'static Meta,
    /// What it may ask for that others ask for, too.
    pub(super) asks: &'static [Shared],
    /// Adds what it finds.
    pub(super) check: fn(&Context, &mut Vec<Diagnostic>),
}

/// Every code that has a page, in order.
pub fn all() -> impl Iterator<Item = &'static Meta> {
    let mut all: Vec<&Meta> = LINTS.iter().map(|l| l.meta).collect();
    all.extend(PAGES);
    all.sort();
    all.into_iter()
}

/// The code with this number or name.
pub fn find(word: &str) -> Option<&'static Meta> {
    all().find(|meta| meta.id == word || meta.name == word)
}

/// The code with this number or name; an error that says which one may have been meant.
pub fn lookup(word: &str) -> Result<&'static Meta, String> {
    find(word).ok_or_else(|| {
        let words = all().flat_map(|meta| [meta.id.to_owned(), meta.name.to_owned()]);
        let meant = nearest(word, &words.collect::<Vec<_>>());
        let meant = meant.map(|near| format!("; did you mean `{near}`?"));
        format!("there is no lint `{word}`{}", meant.unwrap_or_default())
    })
}

/// Declares the modules of lints and lists them, each with what it may ask for.
macro_rules! lints {
    ($(mod $lint:ident $(: $($shared:ident),+)?;)*) => {
        $(mod $lint;)*

        static LINTS: &[register::Lint] = &[
            $(register::Lint {
                meta: &$lint::LINT,
                asks: &[$($(context::Shared::$shared),+)?],
                check: $lint::check,
            }),*
        ];
    };
}

/// Declares the modules of pages for codes that are reported elsewhere, and lists them.
macro_rules! pages {
    ($(mod $page:ident;)*) => {
        $(mod $page;)*

        static PAGES: &[&Meta] = &[$(&$page::PAGE),*];
    };
}

/// Declares a lint: its page, number, name, severity, persona, precision, `fix` if it has a safe
/// one, and a sentence. `PAGE` instead of `LINT` when it has no `check` of its own.
macro_rules! lint {
    (
        $(#[doc = $doc:literal])+
        $vis:vis static $ident:ident: $id:literal $name:literal
            $severity:ident, $persona:ident, $precision:ident $(, $fix:ident)?;
        $summary:literal
    ) => {
        $(#[doc = $doc])+
        $vis static $ident: $crate::diagnostic::Meta = $crate::diagnostic::Meta {
            id: $id,
            name: $name,
            severity: $crate::diagnostic::Severity::$severity,
            persona: $crate::diagnostic::Persona::$persona,
            precision: $crate::diagnostic::Precision::$precision,
            fix: matches!(concat!("", $(stringify!($fix))?).as_bytes(), b"fix"),
            compiler: false,
            summary: $summary,
            doc: concat!($($doc, "\n"),+),
        };
    };
}

/// Declares the page of a code that the compiler reports: the code, its severity and precision,
/// `fix` if it has a safe one.
macro_rules! page {
    (
        $(#[doc = $doc:literal])+
        $vis:vis static PAGE: $code:ident $severity:ident, $precision:ident $(, $fix:ident)?
    ) => {
        $(#[doc = $doc])+
        $vis static PAGE: $crate::diagnostic::Meta = $crate::diagnostic::Meta {
            id: $crate::diagnostic::Code::$code.id(),
            name: $crate::diagnostic::Code::$code.name(),
            severity: $crate::diagnostic::Severity::$severity,
            persona: $crate::diagnostic::Persona::Default,
            precision: $crate::diagnostic::Precision::$precision,
            fix: matches!(concat!("", $(stringify!($fix))?).as_bytes(), b"fix"),
            compiler: true,
            summary: $crate::diagnostic::Code::$code.summary(),
            doc: concat!($($doc, "\n"),+),
        };
    };
}

pub(super) use {lint, lints, page, pages};
