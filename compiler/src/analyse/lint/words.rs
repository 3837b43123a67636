//! Packets in words.

use std::net::IpAddr;

use crate::analyse::model::Model;
use crate::field::{DPORT, ICMP_TYPE, SPORT};
use crate::interpret::{Packet, Place};

/// A packet as a test would have it, without what says nothing.
pub(super) fn words(model: &Model, packet: &Packet) -> String {
    let port = |field| packet.field(field);
    let end = |addr: IpAddr, port: Option<u64>| match (addr, port) {
        (IpAddr::V6(a), Some(port)) => format!("[{a}]:{port}"),
        (_, Some(port)) => format!("{addr}:{port}"),
        (_, None) => addr.to_string(),
    };
    let protocol = match packet.proto {
        6 => "tcp".to_owned(),
        17 => "udp".to_owned(),
        1 | 58 => match packet.field(ICMP_TYPE) {
            Some(8 | 128) => "icmp/echo-request".to_owned(),
            Some(kind) => format!("icmp/{kind}"),
            None => "icmp".to_owned(),
        },
        other => format!("proto/{other}"),
    };
    let source = end(packet.saddr, port(SPORT));
    let destination = match (&packet.egress, port(DPORT)) {
        (Place::Host, Some(port)) => format!("host:{port}"),
        (Place::Host, None) => "host".to_owned(),
        (Place::Iface(_), port) => end(packet.daddr, port),
    };
    let mut text = format!("{protocol} {source} -> {destination}");
    for (word, place) in [("in", &packet.ingress), ("out", &packet.egress)] {
        if let Place::Iface(name) = place
            && is_named(model, name)
        {
            text = format!("{text} {word} {name}");
        }
    }
    text
}

/// Whether the policy speaks of an interface, and not only of others.
fn is_named(model: &Model, iface: &str) -> bool {
    let mut names = (1..).map_while(|n| Some((n, model.space.ifaces.name(n)?)));
    let number = names.find(|(_, name)| *name == iface);
    number.is_some_and(|(n, _)| model.space.ifaces.label(n) != "another interface")
}
