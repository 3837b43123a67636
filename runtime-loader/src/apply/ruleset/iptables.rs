//! Chains of iptables.

use std::io;

use polc_bundle::{Bundle, Object};

use super::{ApplyError, Ruleset, Warning};
use crate::iptables::{Change, Seen, Tools};
use crate::netns::{Netns, NetnsError};

/// A policy's chains, in a network namespace.
pub(in crate::apply) struct Chains<'a>(pub(in crate::apply) Tools<'a>);

/// The steps to a bundle.
pub(in crate::apply) struct Steps {
    change: Change,
    /// The same from a kernel without any rules.
    from_nothing: Change,
}

impl Chains<'_> {
    fn seen(&self) -> Result<Seen, ApplyError> {
        Ok(Seen::read(&self.0)?)
    }

    fn make(&self, change: &Change) -> Result<Vec<Warning>, ApplyError> {
        let left = change.make(&self.0)?;
        let warning = |(set, message)| Warning::Left { set, message };
        Ok(left.into_iter().map(warning).collect())
    }
}

impl Ruleset for Chains<'_> {
    type Change = Steps;

    fn exists(&self) -> Result<bool, ApplyError> {
        Ok(self.seen()?.exists())
    }

    fn generation(&self) -> Result<Option<String>, ApplyError> {
        Ok(self.seen()?.generation().map(str::to_owned))
    }

    fn plan(&self, bundle: &Bundle) -> Result<Steps, ApplyError> {
        Ok(Steps {
            change: Change::to(bundle, &self.seen()?)?,
            from_nothing: Change::to(bundle, &Seen::default())?,
        })
    }

    fn stale(change: &Steps) -> Vec<Object> {
        change.change.stale.clone()
    }

    /// Loads everything in a namespace that nobody uses: the tools' own check does not ask the kernel.
    fn check(&self, change: &Steps) -> Result<Vec<Warning>, ApplyError> {
        let netns = match Netns::scratch() {
            Ok(netns) => netns,
            Err(NetnsError::Enter { source, .. })
                if source.kind() == io::ErrorKind::PermissionDenied =>
            {
                return Ok(vec![Warning::Unchecked]);
            }
            Err(error) => return Err(error.into()),
        };
        let tools = Tools {
            netns: &netns,
            variant: self.0.variant,
        };
        change.from_nothing.make(&tools)?;
        Ok(Vec::new())
    }

    fn load(&self, change: &Steps) -> Result<Vec<Warning>, ApplyError> {
        self.make(&change.change)
    }

    fn delete(&self) -> Result<(), ApplyError> {
        self.make(&Change::away(&self.seen()?, None))?;
        Ok(())
    }
}
