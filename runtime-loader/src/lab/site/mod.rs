//! A machine whose interfaces lead to somebody who sends and sees single packets.
//!
//! The other end of every interface is silent: nobody answers there. What the machine itself gets is
//! seen, and swallowed by sockets that do not answer either, so that every answer is the policy's.

mod tap;
mod volley;
mod way;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use super::sink::{self, Sink};
use super::{LabError, Mac, Namespace, Wire};
use crate::netlink::link;
use tap::Tap;

pub(super) use tap::{destination, sender};
pub(super) use volley::is_refusal;
pub use volley::{Observed, Origin, Throw};
pub use way::Way;

/// The hardware addresses of both ends of every interface.
const FAR: Mac = Mac([2, 0, 0, 0, 0, 1]);
const NEAR: Mac = Mac([2, 0, 0, 0, 0, 2]);

/// Settings of the machine: it forwards, takes packets from anywhere, gives no advice, and does not
/// answer pings.
const SETTINGS: [(&str, &str); 9] = [
    ("net/ipv4/ip_forward", "1"),
    ("net/ipv6/conf/all/forwarding", "1"),
    ("net/ipv4/conf/all/rp_filter", "0"),
    ("net/ipv4/conf/default/rp_filter", "0"),
    ("net/ipv4/conf/all/send_redirects", "0"),
    ("net/ipv4/conf/default/send_redirects", "0"),
    ("net/ipv4/icmp_echo_ignore_all", "1"),
    ("net/ipv6/icmp/echo_ignore_all", "1"),
    // Interfaces have the addresses that they are given.
    ("net/ipv6/conf/default/addr_gen_mode", "1"),
];

/// What a machine has to have.
#[derive(Clone, Debug, Default)]
pub struct SiteSpec {
    /// Its interfaces, without `lo`.
    pub interfaces: BTreeSet<String>,
    /// Its addresses, which every interface has.
    pub home: Vec<IpAddr>,
    /// Transparent sockets.
    pub listeners: Vec<Listener>,
    /// Protocols, by number and whether it is IPv6, whose packets are seen when the machine gets
    /// them.
    pub protocols: BTreeSet<(bool, u8)>,
    /// Kernel settings, named as below `/proc/sys`.
    pub settings: Vec<(String, String)>,
}

/// Transparent sockets that take packets and say nothing.
#[derive(Clone, Debug)]
pub struct Listener {
    /// Whose they are.
    pub name: String,
    /// Where they listen.
    pub at: Vec<SocketAddr>,
    /// Whether there are TCP sockets.
    pub tcp: bool,
    /// Whether there are UDP sockets.
    pub udp: bool,
}

/// A machine under test.
#[derive(Debug)]
pub struct Site {
    /// The machine: where a policy is applied.
    pub machine: Namespace,
    /// The interfaces that others have, by the name of the machine's.
    wires: BTreeMap<String, Wire>,
    /// The numbers of the machine's interfaces.
    indices: BTreeMap<String, u32>,
    taps: Vec<Tap>,
    sinks: Vec<Sink>,
    /// Where proxies listen.
    taken: BTreeSet<SocketAddr>,
    home: Vec<IpAddr>,
    outside: Namespace,
}

impl Site {
    /// Makes a machine.
    pub fn new(spec: &SiteSpec) -> Result<Self, LabError> {
        let (machine, outside) = (Namespace::new()?, Namespace::new()?);
        outside.sysctl("net/ipv6/conf/default/disable_ipv6", "1")?;
        for (key, value) in SETTINGS {
            machine.sysctl(key, value)?;
        }
        let mut site = Self {
            machine,
            wires: BTreeMap::new(),
            indices: BTreeMap::new(),
            taps: Vec::new(),
            sinks: Vec::new(),
            taken: BTreeSet::new(),
            home: spec.home.clone(),
            outside,
        };
        for (number, name) in spec.interfaces.iter().enumerate() {
            site.add_interface(name, &format!("far{number}"))?;
        }
        for (key, value) in &spec.settings {
            // Whether they are as they have to be is for who applies a policy to say.
            let _ = site.machine.sysctl(key, value);
        }
        for (v6, protocol) in &spec.protocols {
            site.taps.push(Tap::open(&site.machine, *v6, *protocol)?);
        }
        for listener in &spec.listeners {
            site.listen(listener)?;
        }
        Ok(site)
    }

    fn add_interface(&mut self, name: &str, far: &str) -> Result<(), LabError> {
        let outside = &self.outside;
        self.machine.connect(name, NEAR, outside, far, FAR)?;
        for address in &self.home {
            let prefix = if address.is_ipv4() { 32 } else { 128 };
            self.machine.add_address(name, *address, prefix)?;
        }
        let index = self
            .machine
            .netlink(&format!("find `{name}`"), |connection| {
                Ok(link::required(connection, name)?.index)
            })?;
        self.indices.insert(name.to_owned(), index);
        let wire = Wire::open(outside, far)?;
        self.wires.insert(name.to_owned(), wire);
        Ok(())
    }

    fn listen(&mut self, listener: &Listener) -> Result<(), LabError> {
        for at in &listener.at {
            let local = at.ip().is_loopback() || at.ip().is_unspecified();
            if !local && !self.home.contains(&at.ip()) {
                let prefix = if at.is_ipv4() { 32 } else { 128 };
                self.machine.add_address("lo", at.ip(), prefix)?;
            }
            let kinds = [(listener.tcp, sink::TCP), (listener.udp, sink::UDP)];
            for (_, kind) in kinds.into_iter().filter(|(has, _)| *has) {
                let name = Some(listener.name.clone());
                self.sinks.push(Sink::open(&self.machine, *at, kind, name)?);
            }
            self.taken.insert(*at);
        }
        Ok(())
    }

    /// Sockets at these ports of the machine's own addresses, until they are dropped.
    fn own_sinks(&self, ports: &BTreeSet<u16>) -> Result<Vec<Sink>, LabError> {
        let loopback: [IpAddr; 2] = [
            std::net::Ipv4Addr::LOCALHOST.into(),
            std::net::Ipv6Addr::LOCALHOST.into(),
        ];
        let addresses: BTreeSet<IpAddr> = self.home.iter().copied().chain(loopback).collect();
        let is_taken = |at: &SocketAddr| {
            let everywhere = |t: &SocketAddr| {
                t.ip().is_unspecified() && t.port() == at.port() && t.is_ipv4() == at.is_ipv4()
            };
            self.taken.contains(at) || self.taken.iter().any(everywhere)
        };
        let mut sinks = Vec::new();
        for port in ports.iter().filter(|p| **p != 0) {
            let places = addresses.iter().map(|a| SocketAddr::new(*a, *port));
            for at in places.filter(|at| !is_taken(at)) {
                for kind in [sink::TCP, sink::UDP] {
                    sinks.push(Sink::open(&self.machine, at, kind, None)?);
                }
            }
        }
        Ok(sinks)
    }
}
