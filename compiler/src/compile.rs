//! The front end as a whole: text → IR.

use crate::diagnostic::{self, Code, Diagnostic};
use crate::ir::{self, Ir};
use crate::pass;
use crate::policy::Policy;
use crate::resolve::{self, Files, Options};
use crate::source::SourceMap;

/// What came of a compilation.
pub struct Compilation {
    /// Every text read.
    pub sources: SourceMap,
    /// The typed policy, as far as it is right.
    pub policy: Policy,
    /// Its normal form; `None` when a diagnostic is an error.
    pub ir: Option<Ir>,
    /// What was found, in order of place.
    pub diagnostics: Vec<Diagnostic>,
}

/// Compiles the policy with the given text up to its IR. `path` is its path, to which others are
/// relative.
pub fn compile(path: &str, text: &str, files: &dyn Files, options: &Options) -> Compilation {
    let resolve::Resolved {
        sources,
        policy,
        mut diagnostics,
    } = resolve::resolve(path, text, files, options);
    let mut ir = pass::flatten::flatten(&policy, &options.as_of, &mut diagnostics);
    let sound = !diagnostic::has_errors(&diagnostics);
    // After a syntax error a default may be among what was lost.
    let lost = diagnostics.iter().any(|d| d.code == Code::Syntax);
    let mut undecided = Vec::new();
    pass::defaults::check(&mut ir, &mut undecided);
    diagnostics.extend(undecided.into_iter().filter(|_| !lost));
    pass::marks::check(&ir, &mut diagnostics);
    if sound {
        pass::limits::check(&ir, &mut diagnostics);
        pass::tests::check(&policy, &ir, &mut diagnostics);
    }
    pass::proxies::drop_unnamed(&mut ir);
    if !diagnostic::has_errors(&diagnostics) {
        ir::verify::verify(&ir, &mut diagnostics);
    }
    diagnostic::sort(&mut diagnostics);
    let ir = (!diagnostic::has_errors(&diagnostics)).then_some(ir);
    Compilation {
        sources,
        policy,
        ir,
        diagnostics,
    }
}
