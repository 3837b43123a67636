//! A router between zones, with addresses that are always the same.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{LabError, Mac, Namespace};

/// The interface of every zone's host.
const HOST_INTERFACE: &str = "eth0";

/// Prefix lengths of a zone's networks.
const V4_PREFIX: u8 = 24;
const V6_PREFIX: u8 = 64;

/// A host behind the router, on a network of its own.
///
/// Zone number N (from 1, in the order given) has the networks `10.0.N.0/24` and `fd00:N::/64`;
/// the router is `.1` / `::1` there and the host `.2` / `::2`, with default routes to the router.
#[derive(Debug)]
pub struct Zone {
    /// The host's namespace.
    pub namespace: Namespace,
    /// The zone's name.
    pub name: String,
    /// The host's interface: `eth0`.
    pub interface: String,
    /// The host's hardware address.
    pub mac: Mac,
    /// The host's IPv4 address.
    pub v4: IpAddr,
    /// The host's IPv6 address.
    pub v6: IpAddr,
    /// The router's interface towards the zone.
    pub router_interface: String,
    /// The router's hardware address there.
    pub router_mac: Mac,
    /// The router's IPv4 address there.
    pub router_v4: IpAddr,
    /// The router's IPv6 address there.
    pub router_v6: IpAddr,
}

impl Zone {
    /// The host's addresses of both families.
    pub fn addresses(&self) -> [IpAddr; 2] {
        [self.v4, self.v6]
    }

    /// Gives the host one more address (of either family) on its own network; the router
    /// reaches it without a further route if it lies in the zone's network.
    pub fn add_address(&self, address: IpAddr) -> Result<(), LabError> {
        let prefix = prefix_of(address);
        self.namespace.add_address(&self.interface, address, prefix)
    }
}

/// Zones around a router, the machine under test, which forwards both families.
#[derive(Debug)]
pub struct Topology {
    /// The router's namespace: where a policy is applied.
    pub router: Namespace,
    zones: Vec<Zone>,
}

impl Topology {
    /// Zones `client` (router interface `lan0`) and `server` (`wan0`).
    pub fn new() -> Result<Self, LabError> {
        Self::with_zones(&[("client", "lan0"), ("server", "wan0")])
    }

    /// Zones `client` (`lan0`), `server` (`wan0`) and `third` (`dmz0`).
    pub fn with_third_zone() -> Result<Self, LabError> {
        Self::with_zones(&[("client", "lan0"), ("server", "wan0"), ("third", "dmz0")])
    }

    /// Zones with these names and router interfaces; at most 200.
    pub fn with_zones(zones: &[(&str, &str)]) -> Result<Self, LabError> {
        let router = Namespace::new()?;
        router.sysctl("net/ipv4/ip_forward", "1")?;
        router.sysctl("net/ipv6/conf/all/forwarding", "1")?;
        let zones = (1..=200)
            .zip(zones)
            .map(|(number, (name, interface))| add_zone(&router, number, name, interface))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Self { router, zones })
    }

    /// The zones in order.
    pub fn zones(&self) -> &[Zone] {
        &self.zones
    }

    /// The zone of this name.
    ///
    /// # Panics
    ///
    /// When there is none: the topology's maker named them.
    pub fn zone(&self, name: &str) -> &Zone {
        self.zones
            .iter()
            .find(|zone| zone.name == name)
            .unwrap_or_else(|| unknown_zone(name))
    }

    /// The zone `client`; see [`Topology::zone`].
    pub fn client(&self) -> &Zone {
        self.zone("client")
    }

    /// The zone `server`; see [`Topology::zone`].
    pub fn server(&self) -> &Zone {
        self.zone("server")
    }
}

#[expect(
    clippy::panic,
    reason = "asking for a zone that was not made is a mistake in the test, and a panic is how tests fail"
)]
fn unknown_zone(name: &str) -> ! {
    panic!("the topology has no zone `{name}`")
}

fn add_zone(
    router: &Namespace,
    number: u8,
    name: &str,
    router_interface: &str,
) -> Result<Zone, LabError> {
    let zone = Zone {
        namespace: Namespace::new()?,
        name: name.to_owned(),
        interface: HOST_INTERFACE.to_owned(),
        mac: Mac([2, 0, 0, 0, number, 2]),
        v4: v4(number, 2),
        v6: v6(number, 2),
        router_interface: router_interface.to_owned(),
        router_mac: Mac([2, 0, 0, 0, number, 1]),
        router_v4: v4(number, 1),
        router_v6: v6(number, 1),
    };
    let host = &zone.namespace;
    router.connect(
        router_interface,
        zone.router_mac,
        host,
        HOST_INTERFACE,
        zone.mac,
    )?;
    for address in [zone.router_v4, zone.router_v6] {
        router.add_address(router_interface, address, prefix_of(address))?;
    }
    for address in zone.addresses() {
        host.add_address(HOST_INTERFACE, address, prefix_of(address))?;
    }
    host.add_route(Ipv4Addr::UNSPECIFIED.into(), 0, zone.router_v4)?;
    host.add_route(Ipv6Addr::UNSPECIFIED.into(), 0, zone.router_v6)?;
    Ok(zone)
}

fn prefix_of(address: IpAddr) -> u8 {
    if address.is_ipv4() {
        V4_PREFIX
    } else {
        V6_PREFIX
    }
}

fn v4(zone: u8, host: u8) -> IpAddr {
    Ipv4Addr::new(10, 0, zone, host).into()
}

fn v6(zone: u8, host: u16) -> IpAddr {
    Ipv6Addr::new(0xfd00, zone.into(), 0, 0, 0, 0, 0, host).into()
}
