//! Taking a failed apply back.

use super::{ApplyError, Kernel, Prepared, Ruleset, State, Undo};
use crate::routing::Made;
use crate::store::{Store, StoreError};

/// Puts the ruleset back, then policy routing in reverse order: the ruleset first, because it is
/// what sends packets there. Goes on after errors and reports them all.
pub(super) fn undo<R: Ruleset>(
    prepared: &Prepared<R::Change>,
    kernel: &mut Kernel<'_, R>,
    state: &State<'_>,
    made: &Made,
) -> Undo {
    let mut problems = Vec::new();
    if let Err(error) = restore_rules(prepared, &kernel.ruleset, state.store) {
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

fn restore_rules<R: Ruleset>(
    prepared: &Prepared<R::Change>,
    ruleset: &R,
    store: &Store,
) -> Result<(), ApplyError> {
    let unchanged =
        ruleset.exists()? == prepared.existed && ruleset.generation()? == prepared.previous;
    if unchanged {
        return Ok(());
    }
    if !prepared.existed {
        return ruleset.delete();
    }
    let previous = prepared
        .previous
        .as_deref()
        .ok_or_else(|| StoreError::Gone {
            generation: "none".to_owned(),
        })?;
    let change = ruleset.plan(&store.bundle(previous)?)?;
    ruleset.load(&change)?;
    let found = ruleset.generation()?;
    if found.as_deref() == Some(previous) {
        return Ok(());
    }
    Err(ApplyError::Generation {
        expected: previous.to_owned(),
        found,
    })
}
