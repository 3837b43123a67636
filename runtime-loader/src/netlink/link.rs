//! Network interfaces.

use std::io;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    BridgePortState, InfoBridgePort, InfoData, InfoKind, InfoPortData, InfoPortKind, InfoVeth,
    LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage, LinkXdp, State, XdpAttached,
};

use super::RouteConnection;

/// The interface on which a host sends to itself.
pub(crate) const LOOPBACK: &str = "lo";

/// What is read of an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    /// Its number in its namespace.
    pub(crate) index: u32,
    /// Whether it is administratively up.
    pub(crate) up: bool,
    /// Whether it carries frames: it has a carrier, and as a bridge's port it forwards.
    pub(crate) carries: bool,
}

/// An interface, and the XDP program that it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Interface {
    /// Its number in its namespace.
    pub(crate) index: u32,
    /// Its name.
    pub(crate) name: String,
    /// Whether it is administratively up.
    pub(crate) up: bool,
    /// What its frames begin with.
    pub(crate) layer: Layer,
    /// Whether it is a port of a bridge, bond or team, whose packets its frames become.
    pub(crate) port: bool,
    /// The program's number.
    pub(crate) program: Option<u32>,
    /// How it runs it.
    pub(crate) attached: Option<XdpAttached>,
}

/// What the frames of an interface begin with, both ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layer {
    /// The header of Ethernet.
    Ethernet,
    /// That of IP.
    Bare,
    /// Another one, or sometimes another one.
    Other,
}

impl Layer {
    /// That of interfaces of a type. Packets that a GRE tunnel sends can have the header of the tunnel.
    fn of(kind: LinkLayerType) -> Self {
        match kind {
            LinkLayerType::Ether | LinkLayerType::Loopback => Self::Ethernet,
            LinkLayerType::None
            | LinkLayerType::Ppp
            | LinkLayerType::Tunnel
            | LinkLayerType::Tunnel6
            | LinkLayerType::Sit
            | LinkLayerType::Rawip => Self::Bare,
            _ => Self::Other,
        }
    }
}

/// One end of a veth pair to be made.
pub(crate) struct VethEnd<'a> {
    /// The interface's name.
    pub(crate) name: &'a str,
    /// Its hardware address.
    pub(crate) mac: [u8; 6],
    /// The namespace it goes into, as an open file; the connection's own when absent.
    pub(crate) namespace: Option<i32>,
}

impl VethEnd<'_> {
    fn attributes(&self) -> Vec<LinkAttribute> {
        let mut attributes = vec![
            LinkAttribute::IfName(self.name.to_owned()),
            LinkAttribute::Address(self.mac.to_vec()),
        ];
        attributes.extend(self.namespace.map(LinkAttribute::NetNsFd));
        attributes
    }
}

/// The interface called `name`, if there is one.
pub(crate) fn by_name(connection: &mut RouteConnection, name: &str) -> io::Result<Option<Link>> {
    let links = connection.dump(|| RouteNetlinkMessage::GetLink(LinkMessage::default()))?;
    Ok(links.into_iter().find_map(|message| match message {
        RouteNetlinkMessage::NewLink(link) => {
            let wanted = LinkAttribute::IfName(name.to_owned());
            link.attributes.contains(&wanted).then(|| Link {
                index: link.header.index,
                up: link.header.flags.contains(LinkFlags::Up),
                carries: carries(&link.attributes),
            })
        }
        _ => None,
    }))
}

/// All interfaces, in the order of their numbers.
pub(crate) fn all(connection: &mut RouteConnection) -> io::Result<Vec<Interface>> {
    let links = connection.dump(|| RouteNetlinkMessage::GetLink(LinkMessage::default()))?;
    let mut interfaces: Vec<Interface> = links.into_iter().filter_map(interface).collect();
    interfaces.sort_by_key(|interface| interface.index);
    Ok(interfaces)
}

fn interface(message: RouteNetlinkMessage) -> Option<Interface> {
    let RouteNetlinkMessage::NewLink(link) = message else {
        return None;
    };
    let mut interface = Interface {
        index: link.header.index,
        name: String::new(),
        up: link.header.flags.contains(LinkFlags::Up),
        layer: Layer::of(link.header.link_layer_type),
        port: false,
        program: None,
        attached: None,
    };
    for attribute in link.attributes {
        match attribute {
            LinkAttribute::IfName(name) => interface.name = name,
            LinkAttribute::LinkInfo(parts) => interface.port = parts.iter().any(is_port),
            LinkAttribute::Xdp(parts) => {
                for part in parts {
                    match part {
                        LinkXdp::Attached(attached) => interface.attached = Some(attached),
                        LinkXdp::ProgId(id) => interface.program = Some(id),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    Some(interface)
}

fn carries(attributes: &[LinkAttribute]) -> bool {
    attributes.iter().all(|attribute| match attribute {
        LinkAttribute::OperState(state) => *state == State::Up,
        LinkAttribute::LinkInfo(parts) => !parts.iter().any(is_blocked_port),
        _ => true,
    })
}

fn is_port(part: &LinkInfo) -> bool {
    let LinkInfo::PortKind(kind) = part else {
        return false;
    };
    matches!(
        kind,
        InfoPortKind::Bridge | InfoPortKind::Bond | InfoPortKind::Team
    )
}

fn is_blocked_port(part: &LinkInfo) -> bool {
    let LinkInfo::PortData(InfoPortData::BridgePort(details)) = part else {
        return false;
    };
    !details.contains(&InfoBridgePort::State(BridgePortState::Forwarding))
}

/// Like [`by_name`], where a missing interface is an error.
pub(crate) fn required(connection: &mut RouteConnection, name: &str) -> io::Result<Link> {
    by_name(connection, name)?.ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::NotFound,
            format!("there is no interface `{name}`"),
        )
    })
}

/// Makes a veth pair.
pub(crate) fn add_veth(
    connection: &mut RouteConnection,
    near: &VethEnd<'_>,
    far: &VethEnd<'_>,
) -> io::Result<()> {
    let mut peer = LinkMessage::default();
    peer.attributes = far.attributes();
    let mut message = LinkMessage::default();
    message.attributes = near.attributes();
    message.attributes.push(LinkAttribute::LinkInfo(vec![
        LinkInfo::Kind(InfoKind::Veth),
        LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))),
    ]));
    add(connection, message)
}

/// Makes a bridge.
pub(crate) fn add_bridge(connection: &mut RouteConnection, name: &str) -> io::Result<()> {
    let mut message = LinkMessage::default();
    message.attributes = vec![
        LinkAttribute::IfName(name.to_owned()),
        LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Bridge)]),
    ];
    add(connection, message)
}

fn add(connection: &mut RouteConnection, message: LinkMessage) -> io::Result<()> {
    connection.request(
        RouteNetlinkMessage::NewLink(message),
        NLM_F_CREATE | NLM_F_EXCL,
    )
}

/// Sets an interface up or down.
pub(crate) fn set_up(connection: &mut RouteConnection, name: &str, up: bool) -> io::Result<()> {
    let link = required(connection, name)?;
    let mut message = LinkMessage::default();
    message.header.index = link.index;
    message.header.change_mask = LinkFlags::Up;
    if up {
        message.header.flags = LinkFlags::Up;
    }
    connection.request(RouteNetlinkMessage::SetLink(message), 0)
}

/// Lets an interface send to anybody without asking for hardware addresses.
pub(crate) fn ask_nobody(connection: &mut RouteConnection, index: u32) -> io::Result<()> {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message.header.change_mask = LinkFlags::Noarp;
    message.header.flags = LinkFlags::Noarp;
    connection.request(RouteNetlinkMessage::SetLink(message), 0)
}

/// Makes an interface a port of a bridge.
pub(crate) fn set_bridge(
    connection: &mut RouteConnection,
    name: &str,
    bridge: &str,
) -> io::Result<()> {
    let controller = required(connection, bridge)?.index;
    let mut message = LinkMessage::default();
    message.header.index = required(connection, name)?.index;
    message.attributes = vec![LinkAttribute::Controller(controller)];
    connection.request(RouteNetlinkMessage::SetLink(message), 0)
}

/// Removes an interface.
pub(crate) fn remove(connection: &mut RouteConnection, name: &str) -> io::Result<()> {
    let mut message = LinkMessage::default();
    message.header.index = required(connection, name)?.index;
    connection.request(RouteNetlinkMessage::DelLink(message), 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tunnels_of_ip_have_no_header_of_their_own() {
        for (number, layer) in [
            (1, Layer::Ethernet),
            (772, Layer::Ethernet),
            (65534, Layer::Bare),
            (512, Layer::Bare),
            (519, Layer::Bare),
            (768, Layer::Bare),
            (769, Layer::Bare),
            (776, Layer::Bare),
            (778, Layer::Other),
            (823, Layer::Other),
            (280, Layer::Other),
            (60000, Layer::Other),
        ] {
            assert_eq!(Layer::of(number.into()), layer, "{number}");
        }
    }

    #[test]
    fn a_vrf_has_no_ports() {
        let port = |kind| is_port(&LinkInfo::PortKind(kind));
        assert!(
            [InfoPortKind::Bridge, InfoPortKind::Bond, InfoPortKind::Team].map(port) == [true; 3]
        );
        assert!(!port(InfoPortKind::Vrf));
        assert!(!is_port(&LinkInfo::Kind(InfoKind::Bridge)));
    }
}
