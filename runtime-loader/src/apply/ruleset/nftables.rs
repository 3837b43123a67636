//! The table `inet polc`.

use polc_bundle::{Bundle, Object};

use super::{ApplyError, Ruleset, Warning};
use crate::netns::Netns;
use crate::nft::binary::NftBinary;
use crate::nft::{self, TableAccess};
use crate::transaction;

/// The table, in a network namespace.
pub(in crate::apply) struct NftTable<'a>(pub(in crate::apply) &'a Netns);

/// One transaction.
pub(in crate::apply) struct Transaction {
    text: String,
    generation: String,
    stale: Vec<Object>,
}

impl Ruleset for NftTable<'_> {
    type Change = Transaction;

    fn exists(&self) -> Result<bool, ApplyError> {
        Ok(nft::access(self.0).exists()?)
    }

    fn generation(&self) -> Result<Option<String>, ApplyError> {
        Ok(nft::access(self.0).generation()?)
    }

    fn plan(&self, bundle: &Bundle) -> Result<Transaction, ApplyError> {
        let script = transaction::script(bundle)?;
        let stale = transaction::stale(bundle, &NftBinary::new(self.0).objects()?);
        Ok(Transaction {
            text: transaction::text(script, &stale)?,
            generation: bundle.manifest().generation.clone(),
            stale,
        })
    }

    fn stale(change: &Transaction) -> Vec<Object> {
        change.stale.clone()
    }

    fn check(&self, change: &Transaction) -> Result<Vec<Warning>, ApplyError> {
        NftBinary::new(self.0).check(&change.text)?;
        Ok(Vec::new())
    }

    /// Whether the transaction happened is asked of the kernel, not of the exit status of `nft`, which
    /// can fail after its commit.
    fn load(&self, change: &Transaction) -> Result<Vec<Warning>, ApplyError> {
        let Err(error) = NftBinary::new(self.0).load(&change.text) else {
            return Ok(Vec::new());
        };
        if self.generation()?.as_ref() == Some(&change.generation) {
            let message = error.to_string();
            Ok(vec![Warning::Nft { message }])
        } else {
            Err(error.into())
        }
    }

    fn delete(&self) -> Result<(), ApplyError> {
        nft::access(self.0).delete()?;
        Ok(())
    }
}
