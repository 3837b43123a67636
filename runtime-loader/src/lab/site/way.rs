//! Routes to single addresses, for a while.

use std::io;
use std::net::IpAddr;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::{FAR, Site};
use crate::lab::LabError;
use crate::netlink::RouteConnection;

/// A route of the machine to one address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Way {
    /// The table; the main one when absent.
    pub table: Option<u32>,
    /// The address.
    pub to: IpAddr,
    /// The machine's interface behind which it is.
    pub interface: String,
}

impl Site {
    /// Adds routes. Who is behind them is known to the machine without asking.
    pub(super) fn open_ways(&self, ways: &[Way]) -> Result<(), LabError> {
        self.each(ways, "add", |connection, way, index| {
            let neighbour = RouteNetlinkMessage::NewNeighbour(neighbour(way, index));
            connection.request(neighbour, NLM_F_CREATE | NLM_F_REPLACE)?;
            let route = RouteNetlinkMessage::NewRoute(route(way, index));
            connection.request(route, NLM_F_CREATE | NLM_F_REPLACE)
        })
    }

    /// Takes them away again.
    pub(super) fn close_ways(&self, ways: &[Way]) -> Result<(), LabError> {
        self.each(ways, "remove", |connection, way, index| {
            connection.request(RouteNetlinkMessage::DelRoute(route(way, index)), 0)
        })
    }

    fn each(
        &self,
        ways: &[Way],
        verb: &str,
        mut work: impl FnMut(&mut RouteConnection, &Way, u32) -> io::Result<()>,
    ) -> Result<(), LabError> {
        if ways.is_empty() {
            return Ok(());
        }
        self.machine
            .netlink(&format!("{verb} routes"), |connection| {
                ways.iter().try_for_each(|way| {
                    let index = self.indices.get(&way.interface).copied();
                    let index = index.ok_or(io::ErrorKind::NotFound)?;
                    work(connection, way, index)
                })
            })
    }
}

fn family(address: IpAddr) -> (AddressFamily, u8) {
    match address {
        IpAddr::V4(_) => (AddressFamily::Inet, 32),
        IpAddr::V6(_) => (AddressFamily::Inet6, 128),
    }
}

fn route(way: &Way, index: u32) -> RouteMessage {
    let mut message = RouteMessage::default();
    let (family, length) = family(way.to);
    message.header.address_family = family;
    message.header.destination_prefix_length = length;
    message.header.table = RouteHeader::RT_TABLE_UNSPEC;
    message.header.protocol = RouteProtocol::Static;
    message.header.scope = RouteScope::Link;
    message.header.kind = RouteType::Unicast;
    message.attributes = vec![
        RouteAttribute::Table(way.table.unwrap_or(RouteHeader::RT_TABLE_MAIN.into())),
        RouteAttribute::Destination(RouteAddress::from(way.to)),
        RouteAttribute::Oif(index),
    ];
    message
}

fn neighbour(way: &Way, index: u32) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = family(way.to).0;
    message.header.ifindex = index;
    message.header.state = NeighbourState::Permanent;
    message.attributes = vec![
        NeighbourAttribute::Destination(NeighbourAddress::from(way.to)),
        NeighbourAttribute::LinkLayerAddress(FAR.0.to_vec()),
    ];
    message
}
