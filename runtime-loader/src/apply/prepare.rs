//! Everything that is checked and worked out before the first change.

use polc_bundle::{Bundle, Object};

use super::{Applied, ApplyError, Changes, Kernel, Warning};
use crate::netlink::RouteConnection;
use crate::netns::Netns;
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
        let (routing_added, routing_removed) = names(&self.routing);
        Applied {
            generation: bundle.manifest().generation.clone(),
            previous: self.previous.clone(),
            changes: Changes {
                routing_added,
                routing_removed,
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
    let (routing, mut warnings) =
        check_machine(bundle, kernel.netns, &mut kernel.routes, progress)?;
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

/// What of policy routing was, or would be, added and removed.
pub(super) fn names(routing: &Steps) -> (Vec<String>, Vec<String>) {
    let names = |steps: &[Step]| steps.iter().map(|step| step.what.clone()).collect();
    (names(&routing.add), names(&routing.remove))
}

/// Checks what surrounds a policy of any target; what must be done about routing.
pub(super) fn check_machine(
    bundle: &Bundle,
    netns: &Netns,
    routes: &mut RouteConnection,
    progress: &mut dyn FnMut(&str),
) -> Result<(Steps, Vec<Warning>), ApplyError> {
    progress("checking kernel settings");
    let warnings = check_sysctls(bundle, netns)?;
    progress("checking policy routing");
    Ok((plan_routing(bundle, routes)?, warnings))
}

fn check_sysctls(bundle: &Bundle, netns: &Netns) -> Result<Vec<Warning>, ApplyError> {
    let findings = sysctl::check(netns, &bundle.manifest().sysctls)?;
    if findings.fatal.is_empty() {
        Ok(findings.advisory.into_iter().map(Warning::Sysctl).collect())
    } else {
        Err(ApplyError::Sysctl(findings.fatal))
    }
}

fn plan_routing(bundle: &Bundle, routes: &mut RouteConnection) -> Result<Steps, ApplyError> {
    let plan = &bundle.manifest().routing;
    let (loopback, up) = routing::loopback(routes)?;
    if !up && !plan.local_routes.is_empty() {
        return Err(ApplyError::LoopbackDown);
    }
    let seen = Seen::read(routes, plan, loopback)?;
    let collisions = routing::collisions(plan, &seen);
    if collisions.is_empty() {
        Ok(routing::steps(plan, &seen, loopback))
    } else {
        Err(ApplyError::Collision(collisions))
    }
}
