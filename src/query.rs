//! `polc query`

use std::path::PathBuf;

use polc_compiler::analyse::model::Model;
use polc_compiler::analyse::prove::{Answer, Effort, Prover, Shown, describe, packet};
use polc_compiler::analyse::ways::{Class, Goal};
use polc_compiler::interpret::{Explanation, explain};
use polc_compiler::ir::Ir;
use serde::Serialize;

use crate::exit::{Error, Outcome, Result};
use crate::out;
use crate::session::{CompileArgs, Session};

/// Ask for a packet with an outcome, and get one, or the proof that there is none.
///
/// A question is a claim without its first word: `allow tcp from wan to lan`. The exit code is 0
/// when it is answered, 1 when the answer is another one than `--expect` says.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The policy
    policy: PathBuf,

    /// An outcome, and which packets: `allow ssh from not @admins to host`
    question: String,

    /// What the answer should be
    #[arg(long, value_enum)]
    expect: Option<Expect>,

    /// How to print the answer, on standard output
    #[arg(long, value_enum, default_value_t = Format::Human)]
    format: Format,

    #[command(flatten)]
    compile: CompileArgs,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Expect {
    /// There is no such packet
    None,
    /// There is one
    Some,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// For people
    Human,
    /// One JSON object
    Json,
}

/// An answer for programs.
#[derive(Serialize)]
struct Report {
    /// `some`, `none` or `unknown`.
    answer: &'static str,
    /// Why nobody knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// The packet.
    #[serde(skip_serializing_if = "Option::is_none")]
    packet: Option<String>,
    /// How it is judged.
    #[serde(skip_serializing_if = "Option::is_none")]
    decision: Option<Explanation>,
}

pub(crate) fn run(args: &Args) -> Result {
    let session = Session::ask(&args.policy, &args.question, &args.compile)?;
    let compilation = &session.compilation;
    let (Some(ir), Some(claim)) = (&compilation.ir, compilation.policy.claims.last()) else {
        session.report();
        return Ok(Outcome::DoesNotCompile);
    };
    let model = Model::new(&compilation.policy, ir);
    let answer = match (
        Prover::new(&model, Effort::default()),
        Class::of(claim.outcome),
    ) {
        (Ok(prover), Some(class)) => prover.find(&claim.cubes, false, Goal::Has(class)),
        _ => Answer::Unknown("there is too much to look at".to_owned()),
    };
    let (word, text, report) = match &answer {
        Answer::Some(shown) => {
            let text = describe(shown, ir, &compilation.sources);
            ("some", text, json(&session, ir, shown))
        }
        Answer::None => ("none", "none, proven".to_owned(), plain("none", None)),
        Answer::Unknown(why) => {
            let text = format!("unknown: {why}");
            ("unknown", text, plain("unknown", Some(why.clone())))
        }
        Answer::Defect(shown) => return Err(defect(shown, ir, &session)),
    };
    out::print(&match args.format {
        Format::Human => format!("{text}\n"),
        Format::Json => {
            let text = serde_json::to_string_pretty(&report).map_err(|e| Error::environment(&e))?;
            format!("{text}\n")
        }
    })?;
    let expected = match args.expect {
        None => true,
        Some(Expect::None) => word == "none",
        Some(Expect::Some) => word == "some",
    };
    Ok(if expected {
        Outcome::Clean
    } else {
        Outcome::Findings
    })
}

fn plain(answer: &'static str, reason: Option<String>) -> Report {
    Report {
        answer,
        reason,
        packet: None,
        decision: None,
    }
}

fn json(session: &Session, ir: &Ir, shown: &Shown) -> Report {
    Report {
        packet: Some(packet(shown, ir)),
        decision: Some(explain(&shown.decision, ir, &session.compilation.sources)),
        ..plain("some", None)
    }
}

/// What to say when proof and interpreter disagree.
pub(crate) fn defect(shown: &Shown, ir: &Ir, session: &Session) -> Error {
    let packet = describe(shown, ir, &session.compilation.sources);
    Error::Environment(format!(
        "proof and interpreter disagree: this is a defect of polc, please report it\n{packet}"
    ))
}
