//! Making a stand.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::ears::Ears;
use super::taken::Listening;
use super::{FAR, NEAR, Stand, StandSpec};
use crate::lab::sink::{Sink, TCP, UDP};
use crate::lab::{LabError, Namespace, Wire};
use crate::netlink::{RouteConnection, link};
use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

/// Settings of the machine: it forwards, takes packets from anywhere, gives no advice, answers no
/// pings, takes a connection's packets in any order, and waits for the rest of a packet in fragments
/// without telling its sender.
const SETTINGS: [(&str, &str); 20] = [
    ("net/ipv4/ip_forward", "1"),
    ("net/ipv6/conf/all/forwarding", "1"),
    ("net/ipv4/conf/all/rp_filter", "0"),
    ("net/ipv4/conf/default/rp_filter", "0"),
    ("net/ipv4/conf/all/send_redirects", "0"),
    ("net/ipv4/conf/default/send_redirects", "0"),
    ("net/ipv4/conf/all/accept_redirects", "0"),
    ("net/ipv4/conf/default/accept_redirects", "0"),
    ("net/ipv6/conf/default/accept_redirects", "0"),
    ("net/ipv4/icmp_echo_ignore_all", "1"),
    ("net/ipv6/icmp/echo_ignore_all", "1"),
    ("net/ipv6/conf/default/addr_gen_mode", "1"),
    // It has told everybody of its groups before a policy is there.
    (
        "net/ipv6/conf/default/mldv2_unsolicited_report_interval",
        "1",
    ),
    ("net/ipv4/icmp_msgs_per_sec", "10000000"),
    ("net/ipv4/icmp_msgs_burst", "10000000"),
    ("net/ipv6/icmp/ratemask", ""),
    ("net/ipv4/ipfrag_time", LONG),
    ("net/ipv4/ipfrag_high_thresh", ROOMY),
    ("net/ipv6/ip6frag_time", LONG),
    ("net/ipv6/ip6frag_high_thresh", ROOMY),
];

/// Longer than a machine lives, in seconds, and room for all fragments whose others do not come, in bytes.
const LONG: &str = "86400";
const ROOMY: &str = "1073741824";

/// Settings that are there once connections are tracked.
const TRACKING: [(&str, &str); 4] = [
    ("net/netfilter/nf_conntrack_tcp_be_liberal", "1"),
    ("net/netfilter/nf_conntrack_tcp_ignore_invalid_rst", "1"),
    ("net/netfilter/nf_conntrack_frag6_timeout", LONG),
    ("net/netfilter/nf_conntrack_frag6_high_thresh", ROOMY),
];

/// `RT_TABLE_LOCAL`: the routes to the machine's own addresses.
const LOCAL_TABLE: u32 = 255;

impl Stand {
    /// Makes a machine.
    pub fn new(spec: &StandSpec) -> Result<Self, LabError> {
        let (machine, outside) = (Namespace::new()?, Namespace::new()?);
        outside.sysctl("net/ipv6/conf/default/disable_ipv6", "1")?;
        settle(&machine, spec)?;
        let mut wires = BTreeMap::new();
        let mut indices = BTreeMap::from([("lo".to_owned(), 1)]);
        for (number, (name, v4, v6)) in spec.interfaces.iter().enumerate() {
            let far = format!("far{number}");
            machine.connect(name, NEAR, &outside, &far, FAR)?;
            let index = machine.netlink(&format!("find `{name}`"), |connection| {
                let index = link::required(connection, name)?.index;
                link::ask_nobody(connection, index)?;
                Ok(index)
            })?;
            machine.add_address(name, (*v4).into(), 32)?;
            machine.add_address(name, (*v6).into(), 128)?;
            indices.insert(name.clone(), index);
            wires.insert(name.clone(), Wire::open(&outside, &far)?);
        }
        for name in wires.keys() {
            machine.await_carrier(name)?;
        }
        add_routes(&machine, spec, &indices)?;
        let open = || -> io::Result<_> { Ok((listening(spec)?, sinks(spec)?)) };
        let opened = machine.run(open)?;
        let (listening, sinks) = opened.map_err(LabError::when("open sockets that swallow"))?;
        let ears = Ears::open(&machine, spec, &indices)?;
        Ok(Self {
            machine,
            wires,
            ears,
            listening,
            _sinks: sinks,
            senders: BTreeMap::new(),
            _outside: outside,
        })
    }

    /// Settings of connection tracking, once a policy has it.
    pub fn track_liberally(&self) {
        for (key, value) in TRACKING {
            // Kernels that do not track connections yet have none of these.
            let _ = self.machine.sysctl(key, value);
        }
    }
}

fn settle(machine: &Namespace, spec: &StandSpec) -> Result<(), LabError> {
    let given = spec.settings.iter().map(|(k, v)| (k.as_str(), v.as_str()));
    let results = machine.run(|| {
        for (key, value) in SETTINGS {
            // A namespace may lack some that belong to the whole machine.
            let _ = std::fs::write(format!("/proc/sys/{key}"), value);
        }
        for (key, value) in given {
            // Whether they are as they have to be is for who applies a policy to say.
            let _ = std::fs::write(format!("/proc/sys/{key}"), value);
        }
        std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward")
    })?;
    match results.map_err(LabError::when("read a setting"))?.trim() {
        "1" => Ok(()),
        _ => Err(LabError::when("let the machine forward")(
            io::ErrorKind::PermissionDenied.into(),
        )),
    }
}

fn add_routes(
    machine: &Namespace,
    spec: &StandSpec,
    indices: &BTreeMap<String, u32>,
) -> Result<(), LabError> {
    let index = |name: &str| indices.get(name).copied().ok_or(io::ErrorKind::NotFound);
    machine.netlink("add routes", |connection| {
        for addr in &spec.own {
            let to = (*addr, full(*addr));
            add(connection, RouteType::Local, LOCAL_TABLE, to, index("lo")?)?;
        }
        for (addr, name) in &spec.hosts {
            let table = u32::from(RouteHeader::RT_TABLE_MAIN);
            let to = (*addr, full(*addr));
            add(connection, RouteType::Unicast, table, to, index(name)?)?;
        }
        for (table, name) in &spec.defaults {
            for any in [
                IpAddr::from(Ipv4Addr::UNSPECIFIED),
                Ipv6Addr::UNSPECIFIED.into(),
            ] {
                add(
                    connection,
                    RouteType::Unicast,
                    *table,
                    (any, 0),
                    index(name)?,
                )?;
            }
        }
        Ok(())
    })
}

fn full(addr: IpAddr) -> u8 {
    if addr.is_ipv4() { 32 } else { 128 }
}

fn add(
    connection: &mut RouteConnection,
    kind: RouteType,
    table: u32,
    (to, length): (IpAddr, u8),
    interface: u32,
) -> io::Result<()> {
    let mut message = RouteMessage::default();
    message.header.address_family = match to {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    };
    message.header.destination_prefix_length = length;
    message.header.table = RouteHeader::RT_TABLE_UNSPEC;
    message.header.protocol = RouteProtocol::Static;
    message.header.scope = match kind {
        RouteType::Local => RouteScope::Host,
        _ => RouteScope::Link,
    };
    message.header.kind = kind;
    message.attributes = vec![RouteAttribute::Table(table), RouteAttribute::Oif(interface)];
    if length > 0 {
        let to = RouteAttribute::Destination(RouteAddress::from(to));
        message.attributes.push(to);
    }
    let flags = NLM_F_CREATE | NLM_F_REPLACE;
    connection.request(RouteNetlinkMessage::NewRoute(message), flags)
}

/// The sockets of proxies.
fn listening(spec: &StandSpec) -> io::Result<Vec<Listening>> {
    let mut listening = Vec::new();
    for listener in &spec.listeners {
        for at in &listener.at {
            for (has, kind) in [(listener.tcp, TCP), (listener.udp, UDP)] {
                if has {
                    listening.push(Listening::open(&listener.name, *at, kind)?);
                }
            }
        }
    }
    Ok(listening)
}

/// Sockets at each port of the machine.
fn sinks(spec: &StandSpec) -> io::Result<Vec<Sink>> {
    let listeners = spec.listeners.iter().flat_map(|l| &l.at);
    let taken: Vec<u16> = listeners.map(SocketAddr::port).collect();
    let mut sinks = Vec::new();
    for port in spec.ports.iter().filter(|port| !taken.contains(port)) {
        for any in [
            IpAddr::from(Ipv4Addr::UNSPECIFIED),
            Ipv6Addr::UNSPECIFIED.into(),
        ] {
            for kind in [TCP, UDP] {
                sinks.push(Sink::open_here(SocketAddr::new(any, *port), kind, None)?);
            }
        }
    }
    Ok(sinks)
}
