//! Exit codes, and the errors that lead to them.

use std::error::Error as StdError;
use std::fmt::Write as _;
use std::process::ExitCode;

/// How a command ended when nothing went wrong with the command itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Outcome {
    /// 0: nothing to complain about.
    Clean,
    /// 1: there are findings.
    Findings,
    /// 3: the input does not compile; the diagnostics have been shown.
    DoesNotCompile,
}

/// Why a command could not do its work.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// 2: the command line or `polc.yaml` is wrong.
    #[error("{0}")]
    Usage(String),
    /// 4: the environment does not allow it.
    #[error("{0}")]
    Environment(String),
}

impl Error {
    /// An error of the environment, with everything that led to it.
    pub(crate) fn environment(error: &dyn StdError) -> Self {
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            // Many messages end in their cause; it is not said again.
            if !text.ends_with(&cause.to_string()) {
                // Writing to a `String` cannot fail.
                let _ = write!(text, "\n  because: {cause}");
            }
            source = cause.source();
        }
        Self::Environment(text)
    }

    /// The same, with what to do about it.
    pub(crate) fn help(self, help: Option<impl AsRef<str>>) -> Self {
        match (self, help) {
            (Self::Environment(text), Some(help)) => {
                Self::Environment(format!("{text}\n  help: {}", help.as_ref()))
            }
            (error, _) => error,
        }
    }
}

/// What a command comes to.
pub(crate) type Result = std::result::Result<Outcome, Error>;

/// The exit code of a command; an error is printed.
pub(crate) fn code(outcome: Result) -> ExitCode {
    match outcome {
        Ok(Outcome::Clean) => ExitCode::SUCCESS,
        Ok(Outcome::Findings) => ExitCode::from(1),
        Ok(Outcome::DoesNotCompile) => ExitCode::from(3),
        Err(error) => {
            eprintln!("polc: {error}");
            ExitCode::from(match error {
                Error::Usage(_) => 2,
                Error::Environment(_) => 4,
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Error;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Cause {
        text: &'static str,
        source: Option<std::io::Error>,
    }

    #[test]
    fn a_cause_is_said_once() {
        let source = || Some(std::io::Error::other("full"));
        let shown = |text| {
            let source = source();
            Error::environment(&Cause { text, source }).to_string()
        };
        assert_eq!(shown("cannot write: full"), "cannot write: full");
        assert_eq!(shown("cannot write"), "cannot write\n  because: full");
    }
}
