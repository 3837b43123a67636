//! Rules and routes as netlink messages and as words.

use std::fmt::Write as _;

use netlink_packet_route::AddressFamily;
use netlink_packet_route::route::{
    RouteAttribute, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleMessage};
use polc_bundle::{Family, LocalRoute, RoutingRule};

use super::OWNER;

pub(super) fn family(family: Family) -> AddressFamily {
    match family {
        Family::V4 => AddressFamily::Inet,
        Family::V6 => AddressFamily::Inet6,
    }
}

/// The rule, marked as the loader's.
pub(super) fn rule(rule: &RoutingRule) -> RuleMessage {
    let mut message = RuleMessage::default();
    message.header.family = family(rule.family);
    message.header.action = RuleAction::ToTable;
    message.header.table = short_table(rule.table);
    message.attributes = vec![
        RuleAttribute::Priority(rule.priority),
        RuleAttribute::FwMark(rule.mark),
        RuleAttribute::FwMask(rule.mask),
        RuleAttribute::Table(rule.table),
        RuleAttribute::Protocol(RouteProtocol::from(OWNER)),
    ];
    message
        .attributes
        .extend(rule.iif.clone().map(RuleAttribute::Iifname));
    message
}

/// Marks a rule as somebody else's.
#[cfg(test)]
pub(super) fn set_protocol(message: &mut RuleMessage, protocol: u8) {
    for attribute in &mut message.attributes {
        if let RuleAttribute::Protocol(own) = attribute {
            *own = RouteProtocol::from(protocol);
        }
    }
}

/// The route, marked as the loader's; `loopback` is the number of `lo`.
pub(super) fn route(route: &LocalRoute, loopback: u32) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = family(route.family);
    message.header.table = short_table(route.table);
    message.header.protocol = RouteProtocol::from(OWNER);
    message.header.scope = RouteScope::Host;
    message.header.kind = RouteType::Local;
    message.attributes = vec![
        RouteAttribute::Table(route.table),
        RouteAttribute::Oif(loopback),
    ];
    message
}

/// The table in the header's eight bits; larger ones are given by attribute alone.
fn short_table(table: u32) -> u8 {
    u8::try_from(table).unwrap_or(0)
}

pub(super) fn ip_command(family: Family) -> &'static str {
    match family {
        Family::V4 => "ip",
        Family::V6 => "ip -6",
    }
}

/// The rule as an `ip` command names it.
pub(crate) fn describe_rule(rule: &RoutingRule) -> String {
    let mut text = format!("{} rule pref {}", ip_command(rule.family), rule.priority);
    if let Some(iif) = &rule.iif {
        // Writing to a `String` cannot fail.
        let _ = write!(text, " iif {iif}");
    }
    let _ = write!(
        text,
        " fwmark {:#x}/{:#x} lookup {}",
        rule.mark, rule.mask, rule.table
    );
    text
}

/// The route as an `ip` command names it.
pub(crate) fn describe_route(route: &LocalRoute) -> String {
    format!(
        "{} route local default dev lo table {}",
        ip_command(route.family),
        route.table
    )
}
