//! Tests as real packets, in network namespaces, against every target.

mod machine;
mod run;
mod table;

use std::collections::BTreeSet;
use std::time::{SystemTime, UNIX_EPOCH};

use polc_compiler::inline::live::{Play, Unplayable, unnumbered};
use polc_compiler::inline::{Bench, StepResult};
use polc_compiler::ir::cube::PrincipalKind;
use polc_compiler::resolve::Options;
use polc_compiler::target;
use polc_runtime_loader::Stop;
use polc_runtime_loader::lab::{be_root_of_a_user_namespace, running_as_root};

use super::Tested;
use crate::exit::Error;

pub(super) use run::play;
pub(super) use table::table;

/// The numbers that users and groups without one get, and the first of them: nobody's.
const NUMBERS: std::ops::Range<u32> = 61_184..65_520;

/// What became of a step on a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Cell {
    /// The kernel did what the test says.
    Passed,
    /// It did not: why.
    Failed(String),
    /// It was not asked: why.
    Untried(String),
}

impl Cell {
    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::Passed => "ok",
            Self::Failed(_) => "FAILED",
            Self::Untried(_) => "-",
        }
    }

    /// As programs read it.
    pub(super) fn json(&self) -> serde_json::Value {
        let (result, reason) = match self {
            Self::Passed => ("passed", None),
            Self::Failed(reason) => ("failed", Some(reason)),
            Self::Untried(reason) => ("untried", Some(reason)),
        };
        serde_json::json!({ "result": result, "reason": reason })
    }
}

/// What became of a policy's steps on a target: by test, and in it by step.
#[derive(Clone, Debug)]
pub(super) struct Column {
    pub(super) target: &'static str,
    pub(super) tests: Vec<Vec<Cell>>,
}

impl Column {
    pub(super) fn failed(&self) -> bool {
        let mut cells = self.tests.iter().flatten();
        cells.any(|c| matches!(c, Cell::Failed(_)))
    }
}

/// What is played, and who plays it.
#[derive(Debug)]
pub(super) struct Setup {
    pub(super) targets: Vec<&'static str>,
    /// Whether this process is root of the machine, not only of a user namespace.
    pub(super) root: bool,
    stop: Stop,
}

impl Setup {
    /// Gets ready. No thread may have been started.
    pub(super) fn new(wanted: &[String]) -> Result<Self, Error> {
        let targets = if wanted.is_empty() {
            target::all().iter().map(|t| t.name()).collect()
        } else {
            let find = |name: &String| {
                target::find(name).map(target::Target::name).ok_or_else(|| {
                    let known: Vec<&str> = target::all().iter().map(|t| t.name()).collect();
                    Error::Usage(format!(
                        "there is no target `{name}`: there is {}",
                        known.join(", ")
                    ))
                })
            };
            wanted.iter().map(find).collect::<Result<_, _>>()?
        };
        let root = running_as_root();
        if !root {
            be_root_of_a_user_namespace().map_err(|error| {
                Error::environment(&error).help(Some("run it as root, or allow user namespaces"))
            })?;
        }
        let stop = Stop::on_signals().map_err(|error| Error::environment(&error))?;
        Ok(Self {
            targets,
            root,
            stop,
        })
    }

    /// An error once this process is told to end: what has been made is taken back.
    fn go_on(&self) -> Result<(), Error> {
        if self.stop.has_come() {
            let problem = "it was told to end: not everything has been tested";
            return Err(Error::Environment(problem.to_owned()));
        }
        Ok(())
    }
}

/// Gives every user and group of a policy a number, so that nobody has to exist here. Whether
/// anything was changed.
pub(super) fn number(tested: &polc_compiler::ir::Ir, options: &mut Options) -> bool {
    let used: BTreeSet<u32> = options
        .users
        .values()
        .chain(options.groups.values())
        .copied()
        .collect();
    let mut free = NUMBERS.skip(1).filter(|n| !used.contains(n));
    let mut changed = false;
    for (kind, name) in unnumbered(tested) {
        let names = match kind {
            PrincipalKind::Group => &mut options.groups,
            _ => &mut options.users,
        };
        if let (false, Some(number)) = (names.contains_key(&name), free.next()) {
            names.insert(name, number);
            changed = true;
        }
    }
    changed
}

/// The steps of a policy as they are played, by test.
type Plays = Vec<Vec<Result<Vec<Play>, Unplayable>>>;

fn plays(tested: &Tested, bench: &Bench<'_>) -> Plays {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX));
    let tests = &tested.session.compilation.policy.tests;
    tested
        .tests
        .iter()
        .filter_map(|index| tests.get(*index))
        .map(|test| {
            let steps = test.test.steps.iter();
            steps.map(|s| bench.plays(&s.node, now)).collect()
        })
        .collect()
}

/// A cell of a step that the kernel played as the interpreter has it: whether that is right is the
/// interpreter's answer.
fn agreed(step: &StepResult) -> Cell {
    match &step.failure {
        None => Cell::Passed,
        Some(failure) => Cell::Failed(format!(
            "the kernel does what the interpreter says: expected {}, got {}",
            step.expected, failure.got
        )),
    }
}
