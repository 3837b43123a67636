//! Everything that is checked and worked out before the first change.

use polc_bundle::{Bundle, Object};

use super::{Applied, ApplyError, Changes, Kernel, Ruleset, Warning};
use crate::netlink::RouteConnection;
use crate::netns::Netns;
use crate::routing::{self, Seen, Step, Steps};
use crate::store::Store;
use crate::sysctl;

/// What will be done, and what was there before.
pub(super) struct Prepared<C> {
    /// What is done with the rules.
    pub(super) change: C,
    /// What changes around it.
    pub(super) routing: Steps,
    /// Whether there were rules of ours.
    pub(super) existed: bool,
    /// Their generation.
    pub(super) previous: Option<String>,
    stale: Vec<Object>,
    warnings: Vec<Warning>,
}

impl<C> Prepared<C> {
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

/// Checks the bundle, the machine and, in the kernel, the change.
pub(super) fn prepare<R: Ruleset>(
    bundle: &Bundle,
    kernel: &mut Kernel<'_, R>,
    store: &Store,
    progress: &mut dyn FnMut(&str),
) -> Result<Prepared<R::Change>, ApplyError> {
    let (routing, mut warnings) =
        check_machine(bundle, kernel.netns, &mut kernel.routes, progress)?;
    progress("reading the rules in force");
    let change = kernel.ruleset.plan(bundle)?;
    let existed = kernel.ruleset.exists()?;
    let previous = kernel.ruleset.generation()?;
    if existed {
        let kept = previous.as_deref().map(|id| store.bundle(id));
        if kept.is_none_or(|bundle| bundle.is_err()) {
            warnings.push(Warning::NoWayBack {
                generation: previous.clone(),
            });
        }
    }
    progress("checking the ruleset");
    warnings.extend(kernel.ruleset.check(&change)?);
    Ok(Prepared {
        stale: R::stale(&change),
        change,
        routing,
        existed,
        previous,
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
