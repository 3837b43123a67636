//! Taking a failed apply back.

use super::{ApplyError, Kernel, Prepared, State, Undo};
use crate::nft::{self, TableAccess};
use crate::routing::Made;
use crate::store::{Store, StoreError};
use crate::transaction;

/// Puts the ruleset back, then policy routing in reverse order: the ruleset first, because it is
/// what sends packets there. Goes on after errors and reports them all.
pub(super) fn undo(
    prepared: &Prepared,
    kernel: &mut Kernel<'_>,
    state: &State<'_>,
    made: &Made,
) -> Undo {
    let mut problems = Vec::new();
    if let Err(error) = restore_table(prepared, kernel, state.store) {
        problems.push(format!("the ruleset: {error}"));
    }
    problems.extend(made.undo(&mut kernel.routes));
    if let Err(error) = restore_state(state) {
        problems.push(format!("the state directory: {error}"));
    }
    if problems.is_empty() {
        Undo::Restored {
            generation: prepared.previous.clone(),
        }
    } else {
        Undo::Failed { problems }
    }
}

pub(super) fn restore_state(state: &State<'_>) -> Result<(), StoreError> {
    let State {
        store,
        key,
        committed,
    } = state;
    if store.committed(key)? != *committed {
        store.commit(key, committed.as_deref())?;
    }
    store.unstage(key)
}

fn restore_table(
    prepared: &Prepared,
    kernel: &Kernel<'_>,
    store: &Store,
) -> Result<(), ApplyError> {
    let access = nft::access(kernel.netns);
    let unchanged =
        access.exists()? == prepared.table_existed && kernel.generation()? == prepared.previous;
    if unchanged {
        return Ok(());
    }
    if !prepared.table_existed {
        access.delete()?;
        return Ok(());
    }
    let previous = prepared
        .previous
        .as_deref()
        .ok_or_else(|| StoreError::Gone {
            generation: "none".to_owned(),
        })?;
    let bundle = store.bundle(previous)?;
    let stale = transaction::stale(&bundle, &kernel.nft.objects()?);
    let text = transaction::text(transaction::script(&bundle)?, &stale)?;
    let loaded = kernel.nft.load(&text);
    let found = kernel.generation()?;
    if found.as_deref() == Some(previous) {
        return Ok(());
    }
    loaded?;
    Err(ApplyError::Generation {
        expected: previous.to_owned(),
        found,
    })
}
