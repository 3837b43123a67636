//! Interfaces, addresses and routes of laboratory namespaces.

use std::io;
use std::net::IpAddr;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::address::{
    AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage, AddressScope,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::{LabError, Mac, Namespace};
use crate::netlink::{RouteConnection, link};

/// How long an interface may take to get its carrier.
const CARRIER_TIMEOUT: Duration = Duration::from_secs(5);

impl Namespace {
    /// Makes a veth pair between this namespace and `other`, both ends up, with hardware
    /// addresses that are given.
    pub fn connect(
        &self,
        name: &str,
        mac: Mac,
        other: &Namespace,
        other_name: &str,
        other_mac: Mac,
    ) -> Result<(), LabError> {
        let near = link::VethEnd {
            name,
            mac: mac.0,
            namespace: None,
        };
        let far = link::VethEnd {
            name: other_name,
            mac: other_mac.0,
            namespace: Some(other.file().as_raw_fd()),
        };
        self.netlink(&format!("make the veth pair `{name}`"), |connection| {
            link::add_veth(connection, &near, &far)
        })?;
        self.set_link_up(name, true)?;
        other.set_link_up(other_name, true)
    }

    /// Makes a bridge with these ports, up.
    pub fn add_bridge(&self, name: &str, ports: &[&str]) -> Result<(), LabError> {
        self.netlink(&format!("make the bridge `{name}`"), |connection| {
            link::add_bridge(connection, name)?;
            ports
                .iter()
                .try_for_each(|port| link::set_bridge(connection, port, name))
        })?;
        self.set_link_up(name, true)?;
        ports.iter().try_for_each(|port| self.await_carrier(port))
    }

    /// Waits until an interface sends, and as a bridge's port forwards: that follows its operational
    /// state, which the kernel settles in the background, up to a second after it was set up. What a
    /// veth end that was up before its other end has to send until then is lost.
    pub(super) fn await_carrier(&self, name: &str) -> Result<(), LabError> {
        self.netlink(&format!("see `{name}` get a carrier"), |connection| {
            let end = Instant::now() + CARRIER_TIMEOUT;
            while !link::required(connection, name)?.carries {
                if Instant::now() >= end {
                    return Err(io::ErrorKind::TimedOut.into());
                }
                std::thread::sleep(Duration::from_millis(2));
            }
            Ok(())
        })
    }

    /// Removes an interface; for a veth, its other end too.
    pub fn remove_link(&self, name: &str) -> Result<(), LabError> {
        self.netlink(&format!("remove the interface `{name}`"), |connection| {
            link::remove(connection, name)
        })
    }

    /// Gives an interface an address, usable at once.
    pub fn add_address(&self, link: &str, address: IpAddr, prefix: u8) -> Result<(), LabError> {
        self.netlink(
            &format!("add `{address}/{prefix}` to `{link}`"),
            |connection| add_address(connection, link, address, prefix),
        )
    }

    /// Adds a route to `destination/prefix` through `gateway`.
    pub fn add_route(
        &self,
        destination: IpAddr,
        prefix: u8,
        gateway: IpAddr,
    ) -> Result<(), LabError> {
        self.netlink(
            &format!("add the route `{destination}/{prefix} via {gateway}`"),
            |connection| add_route(connection, destination, prefix, gateway),
        )
    }
}

fn family(address: IpAddr) -> AddressFamily {
    match address {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    }
}

fn add_address(
    connection: &mut RouteConnection,
    link: &str,
    address: IpAddr,
    prefix: u8,
) -> io::Result<()> {
    let mut message = AddressMessage::default();
    message.header.family = family(address);
    message.header.prefix_len = prefix;
    message.header.scope = AddressScope::Universe;
    message.header.index = link::required(connection, link)?.index;
    message.header.flags = AddressHeaderFlags::Nodad;
    message.attributes = vec![
        AddressAttribute::Local(address),
        AddressAttribute::Address(address),
        AddressAttribute::Flags(AddressFlags::Nodad),
    ];
    connection.request(
        RouteNetlinkMessage::NewAddress(message),
        NLM_F_CREATE | NLM_F_EXCL,
    )
}

fn add_route(
    connection: &mut RouteConnection,
    destination: IpAddr,
    prefix: u8,
    gateway: IpAddr,
) -> io::Result<()> {
    let mut message = RouteMessage::default();
    message.header.address_family = family(destination);
    message.header.destination_prefix_length = prefix;
    message.header.table = RouteHeader::RT_TABLE_MAIN;
    message.header.protocol = RouteProtocol::Static;
    message.header.scope = RouteScope::Universe;
    message.header.kind = RouteType::Unicast;
    message.attributes = vec![
        RouteAttribute::Destination(RouteAddress::from(destination)),
        RouteAttribute::Gateway(RouteAddress::from(gateway)),
    ];
    connection.request(
        RouteNetlinkMessage::NewRoute(message),
        NLM_F_CREATE | NLM_F_EXCL,
    )
}
