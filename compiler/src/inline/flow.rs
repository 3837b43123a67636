//! From the text of a flow to packets.
//!
//! What a flow does not say:
//!
//! | what | is |
//! |---|---|
//! | the address of `host` | one that the policy does not name |
//! | the source port | 50000 |
//! | the destination port | 50001 |
//! | the flags of a TCP packet | `syn`, those of a reply `syn+ack` |
//! | `tcp.mss` of a SYN | 1460, on IPv6 1440 |
//! | the type of an ICMP packet | `echo-request`, that of a reply `echo-reply`; the code is 0 |
//! | `ip.ttl` | 64, as it comes in or is sent |
//! | `ip.fragment` | no |
//! | `ip.length`, `meta.length` | that of the headers |
//! | other fields of the IP header, `meta.mark`, `ct.mark` | 0 |
//! | `meta.pkttype` | as the destination address is |
//! | `eth.*` of a packet that comes in | `02:00:00:00:00:01` to `02:00:00:00:00:02` |
//! | the time | noon of a Wednesday |
//! | the sender, when it is `host` | none that the policy names |
//! | the interfaces | each of which the policy distinguishes, but `lo` |
//!
//! A packet from `host` to `host` or to a loopback address leaves by `lo`. A destination in the
//! `net` of a zone leads to an interface of that zone. Broadcast and multicast that comes in is
//! for `host`.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use polc_grammar::ast::{Endpoint, Flow, Principal, PrincipalKind, Qualifier, Spanned};
use polc_grammar::span::Span;

use super::Bench;
use crate::field::{GID, SPORT, UID};
use crate::interpret::{Packet, Place};
use crate::packet::Pattern;
use crate::policy::Value;

mod fields;

use fields::Shape;

/// What a flow says that means nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where it stands.
    pub span: Span,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub help: Option<String>,
}

impl Problem {
    pub(super) fn at(span: Span, message: impl Into<String>) -> Self {
        Self {
            span,
            message: message.into(),
            help: None,
        }
    }

    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// One of the ways in which a flow can come about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// For a reply, the packet that opened its flow.
    pub opening: Option<Packet>,
    /// The packet.
    pub packet: Packet,
    /// The interface by which it comes in, when the test leaves that open.
    pub chosen_in: Option<Arc<str>>,
    /// The interface by which it leaves, when the test leaves that open.
    pub chosen_out: Option<Arc<str>>,
}

/// The qualifiers that say what packet it is.
#[derive(Default)]
struct Given<'a> {
    input: Option<&'a Spanned<String>>,
    output: Option<&'a Spanned<String>>,
    by: Option<(&'a Principal, Span)>,
    flags: Option<&'a Spanned<String>>,
}

impl<'a> Given<'a> {
    fn of(qualifiers: &'a [Spanned<Qualifier>]) -> Result<Self, Problem> {
        let mut given = Self::default();
        for qualifier in qualifiers {
            let span = qualifier.span;
            let first = match &qualifier.node {
                Qualifier::In(name) => given.input.replace(name).is_none(),
                Qualifier::Out(name) => given.output.replace(name).is_none(),
                Qualifier::By(principal) => given.by.replace((principal, span)).is_none(),
                Qualifier::Flags(name) => given.flags.replace(name).is_none(),
                Qualifier::Target(_) | Qualifier::Via(_) | Qualifier::Rule(_) => true,
            };
            if !first {
                return Err(Problem::at(span, "this is said twice"));
            }
        }
        Ok(given)
    }
}

/// A place, and the interface when it was chosen.
pub(super) type Choice = (Place, Option<Arc<str>>);

impl Bench<'_> {
    /// The packets that a flow means: one for each way in which it can come about.
    pub fn cases(
        &self,
        flow: &Flow,
        qualifiers: &[Spanned<Qualifier>],
    ) -> Result<Vec<Case>, Problem> {
        let given = Given::of(qualifiers)?;
        let (saddr, daddr) = self.addresses(flow)?;
        let shape = Shape::of(flow, daddr.is_ipv6(), given.flags)?;
        // Who has sent it, and for an answer that comes in, who had asked.
        let sends = flow.source.node.addr.is_none();
        let asked = flow.reply && !sends && flow.dest.node.addr.is_none();
        if let (Some((_, span)), false) = (given.by, sends || asked) {
            return Err(Problem::at(span, "only packets from `host` have a sender"));
        }
        let mut cases = Vec::new();
        for (ingress, chosen_in) in self.ingress(flow, &given)? {
            for (egress, chosen_out) in self.egress(flow, daddr, &ingress, &given)? {
                let packet = Packet {
                    fields: shape.fields(saddr, daddr, &ingress),
                    ingress: ingress.clone(),
                    egress: egress.clone(),
                    detour: egress,
                    saddr,
                    daddr,
                    proto: shape.proto,
                    principals: BTreeSet::new(),
                };
                let case = |opening: Option<Packet>, packet: Packet| Case {
                    opening,
                    packet,
                    chosen_in: chosen_in.clone(),
                    chosen_out: chosen_out.clone(),
                };
                let openings = match flow.reply.then(|| opening(&packet, &shape)) {
                    Some(opening) if asked => self.sent_by(opening, given.by)?,
                    opening => opening.into_iter().collect(),
                };
                let packets = self.sent_by(packet, given.by.filter(|_| sends))?;
                for packet in packets {
                    if openings.is_empty() {
                        cases.push(case(None, packet));
                        continue;
                    }
                    let with = |o: &Packet| case(Some(o.clone()), packet.clone());
                    cases.extend(openings.iter().map(with));
                }
            }
        }
        Ok(cases)
    }

    /// Source and destination; IPv4 where neither end says.
    fn addresses(&self, flow: &Flow) -> Result<(IpAddr, IpAddr), Problem> {
        let (source, dest) = (flow.source.node.addr, flow.dest.node.addr);
        let six = |addr: Option<IpAddr>| addr.is_some_and(|a| a.is_ipv6());
        if source.is_some() && dest.is_some() && six(source) != six(dest) {
            let message = "the two ends are of different families";
            return Err(Problem::at(flow.dest.span, message));
        }
        let host = self
            .host
            .addr(six(source) || six(dest) || flow.proto.node == "icmpv6");
        Ok((source.unwrap_or(host), dest.unwrap_or(host)))
    }

    fn ingress(&self, flow: &Flow, given: &Given<'_>) -> Result<Vec<Choice>, Problem> {
        let local = |end: &Endpoint| end.addr.is_none();
        match given.input {
            // What this machine sent itself comes in by `lo`.
            Some(name) if local(&flow.source.node) => {
                if name.node == "lo" && local(&flow.dest.node) {
                    return Ok(vec![(Place::Iface("lo".into()), None)]);
                }
                Err(Problem::at(
                    name.span,
                    "a packet from `host` comes in by no interface",
                ))
            }
            None if local(&flow.source.node) => Ok(vec![(Place::Host, None)]),
            Some(name) => self.named(name, &self.ingress),
            None => Ok(chosen(self.ingress.all())),
        }
    }

    fn egress(
        &self,
        flow: &Flow,
        daddr: IpAddr,
        ingress: &Place,
        given: &Given<'_>,
    ) -> Result<Vec<Choice>, Problem> {
        let lo = || Ok(vec![(Place::Iface("lo".into()), None)]);
        let to_host = flow.dest.node.addr.is_none();
        match (given.output, ingress) {
            (Some(name), Place::Iface(_)) if to_host => Err(Problem::at(
                name.span,
                "a packet to `host` leaves by no interface",
            )),
            (Some(name), _) if to_host && name.node != "lo" => Err(Problem::at(
                name.span,
                "a packet from `host` to `host` leaves by `lo`",
            )),
            (Some(name), _) => self.named(name, &self.egress),
            (None, Place::Iface(_)) if to_host || to_many(daddr) => Ok(vec![(Place::Host, None)]),
            (None, Place::Host) if to_host || daddr.is_loopback() => lo(),
            (None, _) => Ok(self.routes(daddr)),
        }
    }

    /// Where packets to `addr` may leave: by an interface of the zone that has it behind it, else
    /// by any.
    pub(super) fn routes(&self, addr: IpAddr) -> Vec<Choice> {
        let zones = self
            .policy
            .definitions
            .iter()
            .filter_map(|d| match &d.value {
                Value::Zone(zone) if zone.net.as_ref().is_some_and(|n| n.contains(addr)) => {
                    Some(zone)
                }
                _ => None,
            });
        let names: BTreeSet<Arc<str>> = zones.flat_map(|z| self.egress.within(&z.ifaces)).collect();
        if names.is_empty() {
            return chosen(self.egress.all());
        }
        if names.len() == 1 {
            return names.into_iter().map(|n| (Place::Iface(n), None)).collect();
        }
        chosen(names)
    }

    /// Every interface, as a place.
    pub(super) fn anywhere(&self) -> Vec<Choice> {
        chosen(self.egress.all())
    }

    /// The interface of that name, or one of each class that a pattern means.
    fn named(
        &self,
        name: &Spanned<String>,
        classes: &super::iface::Classes,
    ) -> Result<Vec<Choice>, Problem> {
        let text = &name.node;
        if let Some(problem) = Pattern::problem(text) {
            let message = format!("`{text}` is no interface: {problem}");
            return Err(Problem::at(name.span, message));
        }
        let definition = self.policy.definitions.iter().find(|d| d.name == *text);
        match definition.map(|d| &d.value) {
            Some(Value::Zone(zone)) if !zone.ifaces.contains(text) => {
                let message = format!("`{text}` is a zone");
                let help = format!("name one of its interfaces: {}", zone.ifaces);
                return Err(Problem::at(name.span, message).help(help));
            }
            Some(Value::Param) => {
                let message = format!("`{text}` is a parameter");
                let help = "name an interface: a test does not follow `--param`";
                return Err(Problem::at(name.span, message).help(help));
            }
            _ => {}
        }
        Ok(match Pattern::parse(text) {
            Pattern::Name(name) => vec![(Place::Iface(name.into()), None)],
            pattern @ Pattern::Prefix(_) => {
                chosen(classes.within(&crate::packet::IfaceSet::of([pattern])))
            }
        })
    }

    /// The packet as each of the principals sends it.
    fn sent_by(
        &self,
        packet: Packet,
        by: Option<(&Principal, Span)>,
    ) -> Result<Vec<Packet>, Problem> {
        let Some((principal, _)) = by else {
            return Ok(vec![packet]);
        };
        let kind = principal.kind.node;
        let (field, known) = match kind {
            PrincipalKind::Group | PrincipalKind::Gid => (GID, self.senders.groups),
            _ => (UID, self.senders.users),
        };
        let one = |name: &Spanned<String>| {
            let mut packet = packet.clone();
            let number = match kind {
                PrincipalKind::Uid | PrincipalKind::Gid => {
                    let message = format!("`{}` is not a number", name.node);
                    let wrong = |_| Problem::at(name.span, message);
                    Some(name.node.parse::<u32>().map_err(wrong)?)
                }
                PrincipalKind::User | PrincipalKind::Group => known.get(&name.node).copied(),
                PrincipalKind::Cgroup => None,
            };
            match number {
                Some(number) => {
                    packet.fields.insert(field, number.into());
                }
                None => {
                    packet.principals.insert((kind, name.node.clone()));
                }
            }
            Ok(packet)
        };
        principal.names.iter().map(one).collect()
    }
}

/// The packet that opened the flow to which `reply` belongs.
fn opening(reply: &Packet, shape: &Shape) -> Packet {
    let swapped = |place: &Place, other: &Place| match (place, other) {
        // What this machine sends to itself leaves and comes in by `lo`.
        (Place::Iface(name), Place::Host) if &**name == "lo" => Place::Host,
        (Place::Host, Place::Iface(name)) if &**name == "lo" => Place::Iface(Arc::clone(name)),
        _ => place.clone(),
    };
    let egress = swapped(&reply.ingress, &reply.egress);
    let ingress = swapped(&reply.egress, &reply.ingress);
    let shape = shape.opening();
    Packet {
        fields: shape.fields(reply.daddr, reply.saddr, &ingress),
        ingress,
        detour: egress.clone(),
        egress,
        saddr: reply.daddr,
        daddr: reply.saddr,
        proto: reply.proto,
        principals: BTreeSet::new(),
    }
}

fn chosen(names: impl IntoIterator<Item = Arc<str>>) -> Vec<Choice> {
    names
        .into_iter()
        .map(|n| (Place::Iface(Arc::clone(&n)), Some(n)))
        .collect()
}

/// Whether an address means more than one machine.
fn to_many(addr: IpAddr) -> bool {
    addr.is_multicast() || matches!(addr, IpAddr::V4(a) if a.is_broadcast())
}

/// The fields of a packet with another source port.
pub(super) fn with_source_port(packet: &Packet, port: u16) -> Packet {
    let mut packet = packet.clone();
    packet.fields.insert(SPORT, port.into());
    packet
}
