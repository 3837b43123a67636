//! Everything that is checked and worked out before the first change.

use polc_bundle::{Bundle, Object};

use super::{Applied, ApplyError, Changes, Kernel, Warning};
use crate::nft::{self, TableAccess};
use crate::routing::{self, Seen, Step, Steps};
use crate::store::Store;
use crate::{sysctl, transaction};

/// What will be done, and what was there before.
pub(super) struct Prepared {
    /// The text for `nft`.
    pub(super) transaction: String,
    /// What changes around it.
    pub(super) routing: Steps,
    /// Whether the table was there.
    pub(super) table_existed: bool,
    /// Its generation.
    pub(super) previous: Option<String>,
    stale: Vec<Object>,
    warnings: Vec<Warning>,
}

impl Prepared {
    /// The account of what was, or would be, done.
    pub(super) fn outcome(&self, bundle: &Bundle, dry_run: bool) -> Applied {
        let names = |steps: &[Step]| steps.iter().map(|step| step.what.clone()).collect();
        Applied {
            generation: bundle.manifest().generation.clone(),
            previous: self.previous.clone(),
            changes: Changes {
                routing_added: names(&self.routing.add),
                routing_removed: names(&self.routing.remove),
                objects_removed: self.stale.clone(),
                ..Changes::default()
            },
            warnings: self.warnings.clone(),
            dry_run,
        }
    }
}

/// Checks the bundle, the machine and, through `nft -c`, the transaction.
pub(super) fn prepare(
    bundle: &Bundle,
    kernel: &mut Kernel<'_>,
    store: &Store,
    progress: &mut dyn FnMut(&str),
) -> Result<Prepared, ApplyError> {
    let script = transaction::script(bundle)?;
    progress("checking kernel settings");
    let mut warnings = check_sysctls(bundle, kernel)?;
    progress("checking policy routing");
    let routing = plan_routing(bundle, kernel)?;
    progress("reading the table in force");
    let access = nft::access(kernel.netns);
    let table_existed = access.exists()?;
    let previous = kernel.generation()?;
    if table_existed {
        let kept = previous.as_deref().map(|id| store.bundle(id));
        if kept.is_none_or(|bundle| bundle.is_err()) {
            warnings.push(Warning::NoWayBack {
                generation: previous.clone(),
            });
        }
    }
    let stale = transaction::stale(bundle, &kernel.nft.objects()?);
    let transaction = transaction::text(script, &stale)?;
    progress("checking the ruleset");
    kernel.nft.check(&transaction)?;
    Ok(Prepared {
        transaction,
        routing,
        table_existed,
        previous,
        stale,
        warnings,
    })
}

fn check_sysctls(bundle: &Bundle, kernel: &Kernel<'_>) -> Result<Vec<Warning>, ApplyError> {
    let findings = sysctl::check(kernel.netns, &bundle.manifest().sysctls)?;
    if findings.fatal.is_empty() {
        Ok(findings.advisory.into_iter().map(Warning::Sysctl).collect())
    } else {
        Err(ApplyError::Sysctl(findings.fatal))
    }
}

fn plan_routing(bundle: &Bundle, kernel: &mut Kernel<'_>) -> Result<Steps, ApplyError> {
    let plan = &bundle.manifest().routing;
    let (loopback, up) = routing::loopback(&mut kernel.routes)?;
    if !up && !plan.local_routes.is_empty() {
        return Err(ApplyError::LoopbackDown);
    }
    let seen = Seen::read(&mut kernel.routes, plan, loopback)?;
    let collisions = routing::collisions(plan, &seen);
    if collisions.is_empty() {
        Ok(routing::steps(plan, &seen, loopback))
    } else {
        Err(ApplyError::Collision(collisions))
    }
}
