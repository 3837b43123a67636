//! From the bytes of a frame to the fields of a packet.
//!
//! It reads what the kernel reads. The IPv6 chain is followed through the headers that the kernel
//! follows: hop-by-hop options, routing, fragment, authentication and destination options, in any
//! order and number. Whatever else comes next, a mobility header too, is the packet's protocol. On
//! IPv4 the protocol is the one in the header, authentication included.
//!
//! The fields of the transport header are all there or none is. A later fragment has none, nor
//! has a packet that ends before its transport header does.

mod bytes;
mod ip;
mod link;
#[cfg(test)]
mod tests;
mod transport;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::packet::{Packet, Place};
use crate::field::{Field, META_LENGTH};
use bytes::Bytes;

pub use link::Link;

/// A frame as it was captured or received.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// What its first header is.
    pub link: Link,
    /// Its bytes, as far as they were captured.
    pub bytes: &'a [u8],
    /// How many bytes it had on the wire; at least those captured.
    pub length: usize,
}

impl<'a> Frame<'a> {
    /// A frame of which every byte is there.
    pub fn whole(link: Link, bytes: &'a [u8]) -> Self {
        Self {
            link,
            bytes,
            length: bytes.len(),
        }
    }
}

/// What a frame says of its packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parsed {
    /// Source address.
    pub saddr: IpAddr,
    /// Destination address.
    pub daddr: IpAddr,
    /// Protocol number; for IPv6 the one after all extension headers.
    pub proto: u8,
    /// The other fields that it has.
    pub fields: BTreeMap<Field, u64>,
    /// What an ICMP error quotes.
    pub inner: Option<Inner>,
    /// Whether the link header says that the capturing machine sent it.
    pub sent: bool,
}

impl Parsed {
    /// The packet, from and to these places; nobody of this machine has sent it.
    pub fn packet(&self, ingress: Place, egress: Place) -> Packet {
        Packet {
            ingress,
            detour: egress.clone(),
            egress,
            saddr: self.saddr,
            daddr: self.daddr,
            proto: self.proto,
            fields: self.fields.clone(),
            principals: BTreeSet::new(),
        }
    }
}

/// The head of the packet that an ICMP error is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inner {
    /// Source address.
    pub saddr: IpAddr,
    /// Destination address.
    pub daddr: IpAddr,
    /// Protocol number.
    pub proto: u8,
    /// Its ports, or its ICMP type and code.
    pub fields: BTreeMap<Field, u64>,
}

/// Why a frame has no packet that a policy could judge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum FrameError {
    /// It carries something else than IP.
    #[error("not IP: type {ethertype:#06x}")]
    NotIp {
        /// The type in its link header, after VLAN tags.
        ethertype: u16,
    },
    /// It ends inside of a header without which the packet cannot be told.
    #[error("it ends in its {header} header")]
    Truncated {
        /// Which header.
        header: &'static str,
    },
    /// A header contradicts itself.
    #[error("its {header} header is malformed")]
    Malformed {
        /// Which header.
        header: &'static str,
    },
}

/// Reads a frame.
pub fn parse(frame: &Frame<'_>) -> Result<Parsed, FrameError> {
    let mut bytes = Bytes::new(frame.bytes);
    let link = link::read(frame.link, &mut bytes)?;
    let missing = frame.length.saturating_sub(frame.bytes.len());
    let rest = bytes.rest();
    let mut parsed = ip::read(rest, rest.len() + missing, link.ethertype)?;
    parsed.sent = link.sent;
    parsed.fields.extend(link.fields);
    let length = u64::try_from(rest.len() + missing).unwrap_or(u64::MAX);
    parsed
        .fields
        .insert(META_LENGTH, length.min(META_LENGTH.largest()));
    Ok(parsed)
}
