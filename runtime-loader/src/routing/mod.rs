//! Policy routing: what the plan wants, what the kernel has, and the way from one to the other.
//!
//! Everything that the loader adds carries [`OWNER`] as its protocol, and only what carries it is
//! ever removed: the kernel compares the protocol when it deletes.

mod collision;
mod message;
mod seen;

use std::collections::BTreeSet;
use std::io;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::RouteNetlinkMessage;
use polc_bundle::{Family, LocalRoute, RoutingPlan, RoutingRule};

use crate::netlink::RouteConnection;
use crate::netlink::link::{self, LOOPBACK};
use crate::netns::{Netns, NetnsError};

pub(crate) use collision::collisions;
pub(crate) use message::{describe_route, describe_rule};
pub(crate) use seen::{Seen, SeenRoute, SeenRule};

/// The protocol number (`FRA_PROTOCOL`, `rtm_protocol`) that marks the loader's rules and routes.
/// `ip rule show proto 112` and `ip route show table all proto 112` list them.
pub const OWNER: u8 = 112;

/// Why policy routing cannot be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum RoutingError {
    /// The namespace cannot be entered.
    #[error(transparent)]
    Netns(#[from] NetnsError),
    /// The kernel refused.
    #[error("cannot {action}: {source}")]
    Kernel {
        /// What was tried.
        action: String,
        /// Why.
        source: io::Error,
    },
}

impl RoutingError {
    pub(crate) fn when(action: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let action = action.into();
        move |source| Self::Kernel { action, source }
    }
}

/// A change to policy routing that can be made and taken back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    message: RouteNetlinkMessage,
    back: RouteNetlinkMessage,
    adds: bool,
    /// The rule or route, as an `ip` command would name it.
    pub(crate) what: String,
}

impl Step {
    fn add_rule(rule: &RoutingRule) -> Self {
        let message = message::rule(rule);
        Self {
            back: RouteNetlinkMessage::DelRule(message.clone()),
            message: RouteNetlinkMessage::NewRule(message),
            adds: true,
            what: describe_rule(rule),
        }
    }

    fn remove_rule(seen: &SeenRule) -> Self {
        let message = seen.message.clone();
        Self {
            back: RouteNetlinkMessage::NewRule(message.clone()),
            message: RouteNetlinkMessage::DelRule(message),
            adds: false,
            what: seen.to_string(),
        }
    }

    fn add_route(route: &LocalRoute, loopback: u32) -> Self {
        let message = message::route(route, loopback);
        Self {
            back: RouteNetlinkMessage::DelRoute(message.clone()),
            message: RouteNetlinkMessage::NewRoute(message),
            adds: true,
            what: describe_route(route),
        }
    }

    fn remove_route(seen: &SeenRoute) -> Self {
        let message = seen.message.clone();
        Self {
            back: RouteNetlinkMessage::NewRoute(message.clone()),
            message: RouteNetlinkMessage::DelRoute(message),
            adds: false,
            what: seen.to_string(),
        }
    }

    /// Makes the change.
    pub(crate) fn make(&self, connection: &mut RouteConnection) -> Result<(), RoutingError> {
        self.send(connection, &self.message, self.adds)
    }

    /// Takes the change back.
    fn take_back(&self, connection: &mut RouteConnection) -> Result<(), RoutingError> {
        self.send(connection, &self.back, !self.adds)
    }

    fn send(
        &self,
        connection: &mut RouteConnection,
        message: &RouteNetlinkMessage,
        adds: bool,
    ) -> Result<(), RoutingError> {
        let (verb, flags) = if adds {
            ("add", NLM_F_CREATE | NLM_F_EXCL)
        } else {
            ("remove", 0)
        };
        connection
            .request(message.clone(), flags)
            .map_err(RoutingError::when(format!("{verb} `{}`", self.what)))
    }
}

/// The way from what the kernel has to what the plan wants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Steps {
    /// To be made before the packets get their marks: routes, then rules.
    pub(crate) add: Vec<Step>,
    /// To be made when no packet gets the old marks any more: rules, then routes.
    pub(crate) remove: Vec<Step>,
}

/// Steps that were made, so that they can be taken back.
#[derive(Debug, Default)]
pub(crate) struct Made(Vec<Step>);

impl Made {
    /// Makes steps; each is told to `progress` before.
    pub(crate) fn make(
        &mut self,
        connection: &mut RouteConnection,
        steps: &[Step],
        progress: &mut dyn FnMut(&str),
    ) -> Result<(), RoutingError> {
        for step in steps {
            let verb = if step.adds { "adding" } else { "removing" };
            progress(&format!("{verb} `{}`", step.what));
            step.make(connection)?;
            self.0.push(step.clone());
        }
        Ok(())
    }

    /// Takes them back, the last one first; what could not be taken back.
    pub(crate) fn undo(&self, connection: &mut RouteConnection) -> Vec<String> {
        let failed = self.0.iter().rev();
        let failed = failed.filter_map(|step| step.take_back(connection).err());
        failed
            .map(|error| format!("policy routing: {error}"))
            .collect()
    }
}

/// Opens the routing subsystem inside `netns`.
pub(crate) fn open(netns: &Netns) -> Result<RouteConnection, RoutingError> {
    netns
        .run(RouteConnection::route)?
        .map_err(RoutingError::when("open the routing subsystem"))
}

/// The number of the loopback interface, and whether it is up.
pub(crate) fn loopback(connection: &mut RouteConnection) -> Result<(u32, bool), RoutingError> {
    let link = link::required(connection, LOOPBACK)
        .map_err(RoutingError::when("read the loopback interface"))?;
    Ok((link.index, link.up))
}

/// What must be added and removed. `loopback` is the number of `lo`.
pub(crate) fn steps(plan: &RoutingPlan, seen: &Seen, loopback: u32) -> Steps {
    let wanted_rules: BTreeSet<_> = plan.rules.iter().collect();
    let wanted_routes: BTreeSet<_> = plan.local_routes.iter().collect();
    let own_rules = || seen.rules.iter().filter(|rule| rule.owned());
    let own_routes = || seen.routes.iter().filter(|route| route.owned());
    let mut steps = Steps::default();
    for route in &wanted_routes {
        if !own_routes().any(|own| own.local.as_ref() == Some(route)) {
            steps.add.push(Step::add_route(route, loopback));
        }
    }
    for rule in &wanted_rules {
        if !own_rules().any(|own| own.plain.as_ref() == Some(rule)) {
            steps.add.push(Step::add_rule(rule));
        }
    }
    let stale_rule =
        |own: &&SeenRule| !own.plain.as_ref().is_some_and(|r| wanted_rules.contains(r));
    let stale_route = |own: &&SeenRoute| {
        !own.local
            .as_ref()
            .is_some_and(|r| wanted_routes.contains(r))
    };
    let rules = own_rules().filter(stale_rule).map(Step::remove_rule);
    let routes = own_routes().filter(stale_route).map(Step::remove_route);
    steps.remove = rules.chain(routes).collect();
    steps
}

/// Whether the kernel has what the plan wants and nothing else of ours.
pub(crate) fn in_step(
    connection: &mut RouteConnection,
    plan: &RoutingPlan,
) -> Result<bool, RoutingError> {
    let (loopback, _) = loopback(connection)?;
    let seen = Seen::read(connection, plan, loopback)?;
    Ok(steps(plan, &seen, loopback) == Steps::default())
}

/// Both families, in the order in which they are read and changed.
fn families() -> [Family; 2] {
    [Family::V4, Family::V6]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(priority: u32) -> RoutingRule {
        RoutingRule {
            family: Family::V4,
            priority,
            iif: Some("eth0".into()),
            mark: 1,
            mask: 0xff,
            table: 1000,
        }
    }

    fn seen_rule(rule: &RoutingRule, owner: u8) -> SeenRule {
        let mut message = message::rule(rule);
        message::set_protocol(&mut message, owner);
        SeenRule::read(message).unwrap()
    }

    fn plan(priorities: &[u32]) -> RoutingPlan {
        RoutingPlan {
            rules: priorities.iter().map(|p| rule(*p)).collect(),
            local_routes: vec![],
        }
    }

    #[test]
    fn what_is_there_stays_and_the_rest_changes() {
        let seen = Seen {
            rules: vec![seen_rule(&rule(1), OWNER), seen_rule(&rule(2), OWNER)],
            routes: vec![],
        };
        let steps = steps(&plan(&[2, 3]), &seen, 1);
        assert_eq!(steps.add, [Step::add_rule(&rule(3))]);
        assert_eq!(steps.remove.len(), 1);
        assert!(steps.remove[0].what.contains("pref 1 "), "{steps:?}");
    }

    #[test]
    fn a_foreign_rule_is_neither_ours_nor_removed() {
        let seen = Seen {
            rules: vec![seen_rule(&rule(1), 3)],
            routes: vec![],
        };
        let steps = steps(&plan(&[]), &seen, 1);
        assert_eq!(steps, Steps::default());
    }

    #[test]
    fn a_rule_named_twice_is_added_once() {
        let steps = steps(&plan(&[7, 7]), &Seen::default(), 1);
        assert_eq!(steps.add.len(), 1);
    }

    #[test]
    fn routes_come_before_the_rules_that_lead_to_them() {
        let mut plan = plan(&[1]);
        plan.local_routes.push(LocalRoute {
            family: Family::V6,
            table: 1000,
        });
        let steps = steps(&plan, &Seen::default(), 1);
        assert_eq!(
            steps.add[0].what,
            "ip -6 route local default dev lo table 1000"
        );
    }
}
