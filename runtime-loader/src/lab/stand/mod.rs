//! A machine through which many packets go in short time, each of which is seen again with its mark.
//!
//! Nobody answers at the other ends of its interfaces, and the machine itself does not either: what
//! it gets is swallowed. So every answer is the policy's.

mod ears;
mod fire;
mod setup;
mod taken;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use socket2::Socket;

use super::sink::Sink;
use super::{Listener, Mac, Namespace, Wire};
use ears::Ears;
use taken::Listening;

pub use fire::{Catch, Launch, Source, stay_on_processor};
pub use taken::Taken;

/// The hardware addresses of both ends of every interface.
const FAR: Mac = Mac([2, 0, 0, 0, 0, 1]);
const NEAR: Mac = Mac([2, 0, 0, 0, 0, 2]);

/// What a stand has to have.
#[derive(Clone, Debug, Default)]
pub struct StandSpec {
    /// Its interfaces without `lo`: name and addresses.
    pub interfaces: Vec<(String, Ipv4Addr, Ipv6Addr)>,
    /// Addresses that are its own, though no interface has them.
    pub own: Vec<IpAddr>,
    /// Where addresses lead, by the name of the interface.
    pub hosts: Vec<(IpAddr, String)>,
    /// Where everything else leads, by table (254 is the main one).
    pub defaults: Vec<(u32, String)>,
    /// The sockets of proxies.
    pub listeners: Vec<Listener>,
    /// Ports at which the machine swallows what it gets.
    pub ports: Vec<u16>,
    /// Protocols, by number, whose packets are seen when the machine gets them.
    pub protocols: Vec<u8>,
    /// Kernel settings, named as below `/proc/sys`.
    pub settings: Vec<(String, String)>,
}

/// A machine for many packets.
#[derive(Debug)]
pub struct Stand {
    /// The machine: where a policy is applied.
    pub machine: Namespace,
    /// The interfaces that others have, by the name of the machine's.
    wires: BTreeMap<String, Wire>,
    ears: Ears,
    /// The sockets of proxies.
    listening: Vec<Listening>,
    /// Sockets that swallow what else the machine gets.
    _sinks: Vec<Sink>,
    /// Sockets to send from, by family, user and group.
    senders: BTreeMap<(bool, u32, u32), Socket>,
    _outside: Namespace,
}
