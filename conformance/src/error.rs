//! What keeps a comparison from taking place.

use std::io;

use polc_bundle::BundleError;
use polc_runtime_loader::lab::LabError;
use polc_runtime_loader::{AccessError, ApplyError, IptablesError, NftError};

use crate::backend::Backend;

/// A comparison that could not be made. That targets differ is none.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The laboratory's.
    #[error(transparent)]
    Lab(#[from] LabError),
    /// There is no place for the loader's state.
    #[error("cannot make a directory: {0}")]
    Directory(io::Error),
    /// What rules have counted could not be read.
    #[error(transparent)]
    Status(#[from] AccessError),
    /// It was told to end.
    #[error("it was told to end")]
    Stopped,
    /// A bundle could not be made anew.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// The loader's, where a policy that compiles cannot be put in force.
    #[error("the policy cannot be put in force with {backend}: {problem}")]
    Apply {
        /// The backend.
        backend: Backend,
        /// Whether it is what a target made that the kernel does not take, and not the surroundings.
        refused: bool,
        /// What the loader says.
        problem: String,
    },
}

impl Error {
    pub(crate) fn apply(backend: Backend, error: &ApplyError) -> Self {
        let mut problem = error.to_string();
        let mut source = std::error::Error::source(error);
        while let Some(cause) = source {
            problem = format!("{problem}: {cause}");
            source = cause.source();
        }
        Self::Apply {
            backend,
            refused: is_refused(error),
            problem,
        }
    }
}

/// Whether the kernel, or one of its tools, has refused what was to be put in force.
fn is_refused(error: &ApplyError) -> bool {
    match error {
        ApplyError::Undone { cause, .. } => is_refused(cause),
        ApplyError::Nft(error) => !matches!(error, NftError::Netns(_) | NftError::Start(_)),
        ApplyError::Iptables(error) => {
            !matches!(error, IptablesError::Netns(_) | IptablesError::Start { .. })
        }
        ApplyError::Netns(_) | ApplyError::Store(_) => false,
        _ => true,
    }
}
