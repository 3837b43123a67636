//! The fields of a flow's packet.

use std::collections::BTreeMap;
use std::net::IpAddr;

use polc_grammar::ast::{CmpOp, Flow, Spanned};

use super::Problem;
use crate::field::{
    self, Comparison, DPORT, ETH_DADDR, ETH_SADDR, ETH_TYPE, Field, ICMP, ICMP_CODE, ICMP_TYPE,
    ICMPV6, IP_FRAGMENT, IP_LENGTH, IP_TTL, META_LENGTH, META_MARK, META_PKTTYPE, SPORT, TCP,
    TCP_FLAGS, TCP_MSS,
};
use crate::interpret::Place;

/// Ports of flows that name none.
const SOURCE_PORT: u16 = 50_000;
const DEST_PORT: u16 = 50_001;

const SYN: u64 = 0x02;
const ACK: u64 = 0x10;

/// What is above IP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) proto: u8,
    v6: bool,
    ports: Option<(u16, u16)>,
    icmp: Option<u64>,
    flags: Option<u64>,
}

impl Shape {
    /// What the text of a flow says.
    pub(super) fn of(
        flow: &Flow,
        v6: bool,
        flags: Option<&Spanned<String>>,
    ) -> Result<Self, Problem> {
        let (word, rest) = match flow.proto.node.split_once('/') {
            Some((word, rest)) => (word, Some(rest)),
            None => (flow.proto.node.as_str(), None),
        };
        let number = match (word, rest) {
            ("icmp", _) if v6 => Some(ICMPV6),
            ("icmpv6", _) if !v6 => {
                let message = "`icmpv6` needs IPv6 addresses";
                return Err(Problem::at(flow.proto.span, message));
            }
            ("proto", Some(number)) => number.parse::<u8>().ok().map(u64::from),
            _ => field::protocol_number(word),
        };
        let proto = number.and_then(|n| u8::try_from(n).ok()).ok_or_else(|| {
            Problem::at(flow.proto.span, format!("there is no protocol `{word}`"))
        })?;
        let mut shape = Self {
            proto,
            v6,
            ports: None,
            icmp: None,
            flags: None,
        };
        shape.icmp = shape.icmp_type(flow, word, rest)?;
        shape.ports = shape.both_ports(flow)?;
        shape.flags = shape.tcp_flags(flow, flags)?;
        Ok(shape)
    }

    fn icmp_type(
        &self,
        flow: &Flow,
        word: &str,
        rest: Option<&str>,
    ) -> Result<Option<u64>, Problem> {
        let proto = u64::from(self.proto);
        if proto != if self.v6 { ICMPV6 } else { ICMP } {
            return match rest {
                Some(rest) if word != "proto" => {
                    let message = format!("`{word}` has no types");
                    let help = format!("write the port behind the address: `host:{rest}`");
                    Err(Problem::at(flow.proto.span, message).help(help))
                }
                _ => Ok(None),
            };
        }
        let usual = if flow.reply {
            "echo-reply"
        } else {
            "echo-request"
        };
        let name = rest.filter(|_| word != "proto").unwrap_or(usual);
        let pick = |(v4, v6)| if self.v6 { v6 } else { v4 };
        let kind = field::type_numbers(name).and_then(pick).ok_or_else(|| {
            let family = if self.v6 { "ICMPv6" } else { "ICMP" };
            Problem::at(flow.proto.span, format!("{family} has no type `{name}`"))
        })?;
        Ok(Some(kind))
    }

    fn both_ports(&self, flow: &Flow) -> Result<Option<(u16, u16)>, Problem> {
        let (source, dest) = (&flow.source, &flow.dest);
        let has = DPORT.def().protocols.contains(&u64::from(self.proto));
        if has {
            // A reply comes from where the flow went to.
            let (from, to) = if flow.reply {
                (DEST_PORT, SOURCE_PORT)
            } else {
                (SOURCE_PORT, DEST_PORT)
            };
            return Ok(Some((
                source.node.port.unwrap_or(from),
                dest.node.port.unwrap_or(to),
            )));
        }
        match [source, dest].into_iter().find(|e| e.node.port.is_some()) {
            Some(end) => {
                let message = format!("`{}` has no ports", flow.proto.node);
                Err(Problem::at(end.span, message))
            }
            None => Ok(None),
        }
    }

    fn tcp_flags(
        &self,
        flow: &Flow,
        given: Option<&Spanned<String>>,
    ) -> Result<Option<u64>, Problem> {
        let tcp = u64::from(self.proto) == TCP;
        let Some(text) = given else {
            let usual = if flow.reply { SYN | ACK } else { SYN };
            return Ok(tcp.then_some(usual));
        };
        if !tcp {
            return Err(Problem::at(text.span, "only TCP has flags"));
        }
        let comparison = Comparison {
            def: TCP_FLAGS.def(),
            op: CmpOp::Eq,
            values: vec![&text.node],
        };
        let cubes = field::lower(&comparison).unwrap_or_default();
        let value = cubes.first().and_then(|c| c.field(TCP_FLAGS)?.single());
        value.map(Some).ok_or_else(|| {
            let message = format!("`{}` are no TCP flags", text.node);
            let help = "join them by `+`: fin, syn, rst, psh, ack, urg, ece, cwr; or write `none`";
            Problem::at(text.span, message).help(help)
        })
    }

    /// The packet that opened the flow of which this one is a reply.
    pub(super) fn opening(&self) -> Self {
        let request = |kind| match (self.v6, kind) {
            (false, 0) => 8,
            (false, 14) => 13,
            (true, 129) => 128,
            (_, other) => other,
        };
        Self {
            ports: self.ports.map(|(s, d)| (d, s)),
            icmp: self.icmp.map(request),
            flags: self.flags.map(|_| SYN),
            ..self.clone()
        }
    }

    /// The fields of the packet.
    pub(super) fn fields(
        &self,
        saddr: IpAddr,
        daddr: IpAddr,
        ingress: &Place,
    ) -> BTreeMap<Field, u64> {
        let mut fields: BTreeMap<Field, u64> = field::ip_bits().map(|(f, _)| (f, 0)).collect();
        fields.extend([
            (IP_TTL, 64),
            (IP_FRAGMENT, 0),
            (META_MARK, 0),
            (META_PKTTYPE, packet_type(daddr)),
        ]);
        if matches!(ingress, Place::Iface(_)) {
            let ethertype = if saddr.is_ipv6() { 0x86dd } else { 0x0800 };
            fields.extend([
                (ETH_SADDR, 0x0200_0000_0001),
                (ETH_DADDR, 0x0200_0000_0002),
                (ETH_TYPE, ethertype),
            ]);
        }
        if let Some((source, dest)) = self.ports {
            fields.extend([(SPORT, source.into()), (DPORT, dest.into())]);
        }
        if let Some(kind) = self.icmp {
            fields.extend([(ICMP_TYPE, kind), (ICMP_CODE, 0)]);
        }
        if let Some(flags) = self.flags {
            fields.insert(TCP_FLAGS, flags);
            if flags & SYN != 0 {
                fields.insert(TCP_MSS, if self.v6 { 1440 } else { 1460 });
            }
        }
        let length = self.length();
        fields.extend([(IP_LENGTH, length), (META_LENGTH, length)]);
        fields
    }

    /// Octets of its headers.
    fn length(&self) -> u64 {
        let option = if self.flags.is_some_and(|f| f & SYN != 0) {
            4
        } else {
            0
        };
        let transport = match self.proto {
            6 => 20 + option,
            17 | 136 => 8,
            33 | 132 => 12,
            _ if self.icmp.is_some() => 8,
            _ => 0,
        };
        transport + if self.v6 { 40 } else { 20 }
    }
}

/// `meta.pkttype` of a packet to this address.
fn packet_type(addr: IpAddr) -> u64 {
    match addr {
        IpAddr::V4(a) if a.is_broadcast() => 1,
        a if a.is_multicast() => 2,
        _ => 0,
    }
}
