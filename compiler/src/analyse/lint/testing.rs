//! What the tests of lints share.

use std::io;

use super::{Rule, Settings, lint, lookup};
use crate::diagnostic::Diagnostic;
use crate::{Compilation, Files, Options, compile};

struct NoFiles;

impl Files for NoFiles {
    fn read(&self, _: &str) -> io::Result<String> {
        Err(io::ErrorKind::NotFound.into())
    }
}

/// A policy, whether it compiles or not.
pub(super) fn compiled(text: &str) -> Compilation {
    let options = Options {
        as_of: "2026-11-21".to_owned(),
        ..Options::default()
    };
    compile("p.pol", text, &NoFiles, &options)
}

/// What the lint `id` finds in a policy, which must compile, in order of place.
pub(super) fn found(id: &str, text: &str) -> Vec<Diagnostic> {
    let settings = Settings {
        only: [Rule(lookup(id).expect("a lint"))].into(),
        ..Settings::default()
    };
    let compilation = compiled(text);
    assert!(compilation.ir.is_some(), "{:?}", compilation.diagnostics);
    lint(&compilation, &settings).findings
}
