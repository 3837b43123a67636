//! Claims about small policies, one stage or several, and about the model policies.

#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a test stops at the first thing that is wrong"
)]

mod model_policies;
mod stages;

use polc_compiler::analyse::prove::{ClaimResult, Proof, describe, prove};
use polc_compiler::{Compilation, Files, Options, compile};

/// Files from a directory, or none.
struct Disk(Option<&'static str>);

impl Files for Disk {
    fn read(&self, path: &str) -> std::io::Result<String> {
        let root = self.0.ok_or(std::io::ErrorKind::NotFound)?;
        std::fs::read_to_string(format!("{root}/{path}"))
    }
}

/// A compiled policy and what became of its claims.
struct Proved {
    compilation: Compilation,
    results: Vec<ClaimResult>,
}

impl Proved {
    fn of(compilation: Compilation) -> Self {
        let Some(ir) = &compilation.ir else {
            panic!("it compiles: {:#?}", compilation.diagnostics)
        };
        let results = prove(&compilation.policy, ir);
        Self {
            compilation,
            results,
        }
    }

    /// One word for each claim, and for one that fails the packet.
    fn words(&self) -> Vec<String> {
        let ir = self.compilation.ir.as_ref().expect("it compiles");
        let word = |result: &ClaimResult| match &result.proof {
            Proof::Proven => "proven".to_owned(),
            Proof::Vacuous => "vacuous".to_owned(),
            Proof::Unknown(why) => format!("unknown: {why}"),
            Proof::Fails(shown) => {
                format!("fails: {}", describe(shown, ir, &self.compilation.sources))
            }
            Proof::Defect(shown) => {
                format!("DEFECT: {}", describe(shown, ir, &self.compilation.sources))
            }
        };
        self.results.iter().map(word).collect()
    }
}

fn proved(text: &str) -> Proved {
    Proved::of(compile("test.pol", text, &Disk(None), &Options::default()))
}
