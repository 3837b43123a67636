//! What the kernel has: rules and routes as they were read.

use std::collections::BTreeSet;
use std::fmt;

use netlink_packet_route::route::{RouteAttribute, RouteMessage, RouteProtocol, RouteType};
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleFlags, RuleMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use nix::errno::Errno;
use polc_bundle::{Family, LocalRoute, RoutingPlan, RoutingRule};

use super::message::{self, family, ip_command};
use super::{OWNER, RoutingError, families};
use crate::netlink::{RouteConnection, is_errno};

/// The rules of both families, the routes of the plan's tables and the loader's own routes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) rules: Vec<SeenRule>,
    pub(crate) routes: Vec<SeenRoute>,
}

/// A rule in the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SeenRule {
    pub(crate) family: Family,
    pub(crate) priority: u32,
    pub(crate) iif: Option<String>,
    /// The mark it compares and the bits it compares; no bits when it does not look at marks.
    pub(crate) mark: (u32, u32),
    /// Whether it matches what it would otherwise not.
    pub(crate) inverted: bool,
    /// The rule in a plan's words, when it is one that a plan can have.
    pub(crate) plain: Option<RoutingRule>,
    /// The whole of it.
    pub(crate) message: RuleMessage,
}

/// A route in the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SeenRoute {
    pub(crate) family: Family,
    pub(crate) table: u32,
    /// The route in a plan's words, when it is one that a plan can have.
    pub(crate) local: Option<LocalRoute>,
    /// The whole of it.
    pub(crate) message: RouteMessage,
}

impl Seen {
    /// Reads what matters to `plan`; `loopback` is the number of `lo`.
    pub(crate) fn read(
        connection: &mut RouteConnection,
        plan: &RoutingPlan,
        loopback: u32,
    ) -> Result<Self, RoutingError> {
        let mut seen = Self::default();
        for wanted in families() {
            seen.rules.extend(read_rules(connection, wanted)?);
            let tables: BTreeSet<_> = plan
                .local_routes
                .iter()
                .filter(|route| route.family == wanted)
                .map(|route| route.table)
                .collect();
            for table in &tables {
                let routes = read_routes(connection, wanted, Some(*table), loopback)?;
                seen.routes.extend(routes);
            }
            let own = read_routes(connection, wanted, None, loopback)?;
            let elsewhere = own
                .into_iter()
                .filter(|route| !tables.contains(&route.table));
            seen.routes.extend(elsewhere);
        }
        Ok(seen)
    }
}

impl SeenRule {
    pub(crate) fn owned(&self) -> bool {
        let owner = RuleAttribute::Protocol(RouteProtocol::from(OWNER));
        self.message.attributes.contains(&owner)
    }

    /// Reads a rule; `None` for families other than the two.
    pub(super) fn read(message: RuleMessage) -> Option<Self> {
        let mut rule = RoutingRule {
            family: read_family(message.header.family)?,
            priority: 0,
            iif: None,
            mark: 0,
            mask: 0,
            table: message.header.table.into(),
        };
        let inverted = message.header.flags.contains(RuleFlags::Invert);
        let mut plain = message.header.action == RuleAction::ToTable
            && !inverted
            && (message.header.src_len, message.header.dst_len) == (0, 0)
            && message.header.tos == 0;
        for attribute in &message.attributes {
            match attribute {
                RuleAttribute::Priority(priority) => rule.priority = *priority,
                RuleAttribute::Iifname(name) => rule.iif = Some(name.clone()),
                RuleAttribute::FwMark(mark) => rule.mark = *mark,
                RuleAttribute::FwMask(mask) => rule.mask = *mask,
                RuleAttribute::Table(table) => rule.table = *table,
                RuleAttribute::Protocol(_)
                | RuleAttribute::SuppressPrefixLen(u32::MAX)
                | RuleAttribute::SuppressIfGroup(u32::MAX) => {}
                _ => plain = false,
            }
        }
        Some(Self {
            family: rule.family,
            priority: rule.priority,
            iif: rule.iif.clone(),
            mark: (rule.mark, rule.mask),
            inverted,
            plain: plain.then_some(rule),
            message,
        })
    }
}

impl fmt::Display for SeenRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(rule) = &self.plain {
            return f.write_str(&message::describe_rule(rule));
        }
        let (value, mask) = self.mark;
        let not = if self.inverted { " not" } else { "" };
        write!(
            f,
            "{} rule pref {}{not}",
            ip_command(self.family),
            self.priority
        )?;
        if let Some(iif) = &self.iif {
            write!(f, " iif {iif}")?;
        }
        if mask != 0 {
            write!(f, " fwmark {value:#x}/{mask:#x}")?;
        }
        f.write_str(" …")
    }
}

impl SeenRoute {
    pub(crate) fn owned(&self) -> bool {
        self.message.header.protocol == RouteProtocol::from(OWNER)
    }

    fn read(message: RouteMessage, loopback: u32) -> Option<Self> {
        let family = read_family(message.header.address_family)?;
        let table = message
            .attributes
            .iter()
            .find_map(|attribute| match attribute {
                RouteAttribute::Table(table) => Some(*table),
                _ => None,
            });
        let table = table.unwrap_or(message.header.table.into());
        let local = message.header.kind == RouteType::Local
            && message.header.destination_prefix_length == 0
            && message.header.source_prefix_length == 0
            && message.attributes.contains(&RouteAttribute::Oif(loopback));
        Some(Self {
            family,
            table,
            local: local.then_some(LocalRoute { family, table }),
            message,
        })
    }
}

impl fmt::Display for SeenRoute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(route) = &self.local {
            return f.write_str(&message::describe_route(route));
        }
        let header = &self.message.header;
        let destination = self.message.attributes.iter().find_map(|a| match a {
            RouteAttribute::Destination(address) => Some(format!("{address:?}")),
            _ => None,
        });
        write!(
            f,
            "{} route {}/{} table {}",
            ip_command(self.family),
            destination.as_deref().unwrap_or("default"),
            header.destination_prefix_length,
            self.table
        )
    }
}

fn read_family(family: AddressFamily) -> Option<Family> {
    match family {
        AddressFamily::Inet => Some(Family::V4),
        AddressFamily::Inet6 => Some(Family::V6),
        _ => None,
    }
}

fn read_rules(
    connection: &mut RouteConnection,
    wanted: Family,
) -> Result<Vec<SeenRule>, RoutingError> {
    let mut request = RuleMessage::default();
    request.header.family = family(wanted);
    let parts = dump(
        connection,
        &format!("list `{} rule`", ip_command(wanted)),
        || RouteNetlinkMessage::GetRule(request.clone()),
    )?;
    Ok(parts
        .into_iter()
        .filter_map(|part| match part {
            RouteNetlinkMessage::NewRule(message) => SeenRule::read(message),
            _ => None,
        })
        // A kernel without one of the families answers with the rules of all others.
        .filter(|rule| rule.family == wanted)
        .collect())
}

/// The routes of one table, or the loader's own of all tables.
fn read_routes(
    connection: &mut RouteConnection,
    wanted: Family,
    table: Option<u32>,
    loopback: u32,
) -> Result<Vec<SeenRoute>, RoutingError> {
    let mut request = RouteMessage::default();
    request.header.address_family = family(wanted);
    match table {
        Some(table) => request.attributes.push(RouteAttribute::Table(table)),
        None => request.header.protocol = RouteProtocol::from(OWNER),
    }
    let parts = dump(
        connection,
        &format!("list `{} route`", ip_command(wanted)),
        || RouteNetlinkMessage::GetRoute(request.clone()),
    )?;
    Ok(parts
        .into_iter()
        .filter_map(|part| match part {
            RouteNetlinkMessage::NewRoute(message) => SeenRoute::read(message, loopback),
            _ => None,
        })
        .filter(|route| {
            route.family == wanted && table.map_or(route.owned(), |table| table == route.table)
        })
        .collect())
}

/// A dump in which a table that does not exist is an empty one.
fn dump(
    connection: &mut RouteConnection,
    action: &str,
    request: impl FnMut() -> RouteNetlinkMessage,
) -> Result<Vec<RouteNetlinkMessage>, RoutingError> {
    match connection.dump(request) {
        Err(error) if is_errno(&error, Errno::ENOENT) => Ok(Vec::new()),
        other => other.map_err(|source| RoutingError::Kernel {
            action: action.to_owned(),
            source,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unplanned_selector_makes_a_rule_unlike_any_plan() {
        let rule = RoutingRule {
            family: Family::V6,
            priority: 5,
            iif: None,
            mark: 1,
            mask: 1,
            table: 9,
        };
        let mut message = message::rule(&rule);
        assert_eq!(
            SeenRule::read(message.clone()).unwrap().plain,
            Some(rule.clone())
        );
        message
            .attributes
            .push(RuleAttribute::Oifname("eth0".into()));
        let seen = SeenRule::read(message).unwrap();
        assert_eq!(seen.plain, None);
        assert!(seen.owned());
        assert_eq!(seen.to_string(), "ip -6 rule pref 5 fwmark 0x1/0x1 …");
    }
}
