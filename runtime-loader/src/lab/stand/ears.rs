//! Seeing what leaves a machine, and what it gets.

use std::collections::BTreeMap;
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv6Addr};
use std::os::fd::AsRawFd;
use std::sync::Arc;

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, SockaddrLike as _, SockaddrStorage, recvmsg, setsockopt, sockopt,
};
use socket2::{Domain, Protocol, SockFilter, Socket, Type};

use super::StandSpec;
use super::fire::{Catch, SENTINEL};
use crate::lab::{LabError, Namespace};
use crate::sys;

/// Room for what arrives before it is read, in bytes.
const RECEIVE_BUFFER: usize = 64 * 1024 * 1024;

/// The largest packet read, in bytes.
const LARGEST: usize = 2048;

const ETHERNET: usize = 14;

/// `ETH_P_ALL` as sockets want it.
const EVERYTHING: i32 = 0x0300;

/// The sockets.
#[derive(Debug)]
pub(super) struct Ears {
    /// Sees what leaves, and the sentinels that come in.
    wire: Socket,
    /// See what the machine gets.
    raw: Vec<Raw>,
    names: BTreeMap<usize, Arc<str>>,
}

#[derive(Debug)]
struct Raw {
    socket: Socket,
    v6: bool,
    protocol: u8,
}

/// What a socket has told of a packet.
struct Told {
    length: usize,
    mark: u32,
    /// The interface, for packets that leave.
    interface: usize,
    from: Option<IpAddr>,
    to: Option<IpAddr>,
    /// Of packets of IPv6 that the machine got: the hop limit, and DSCP and ECN.
    hops: u8,
    service: u8,
}

impl Ears {
    pub(super) fn open(
        machine: &Namespace,
        spec: &StandSpec,
        indices: &BTreeMap<String, u32>,
    ) -> Result<Self, LabError> {
        let open = || -> io::Result<_> {
            let wire = wire()?;
            let mut raws = Vec::new();
            for protocol in &spec.protocols {
                for v6 in [false, true] {
                    raws.push(raw(v6, *protocol)?);
                }
            }
            Ok((wire, raws))
        };
        let opened = machine.run(open)?;
        let (wire, raw) = opened.map_err(LabError::when("see packets and their marks"))?;
        let names = indices.iter().map(|(name, index)| {
            let index = usize::try_from(*index).unwrap_or(usize::MAX);
            (index, Arc::from(name.as_str()))
        });
        Ok(Self {
            wire,
            raw,
            names: names.collect(),
        })
    }

    /// Takes what has left. Sentinels are counted.
    pub(super) fn leaving(&self, caught: &mut Vec<Catch>) -> io::Result<usize> {
        let mut sentinels = 0;
        let mut buffer = [0; LARGEST];
        while let Some(told) = next(&self.wire, &mut buffer)? {
            let frame = buffer.get(..told.length).unwrap_or_default();
            let kind = frame.get(12..ETHERNET).unwrap_or_default();
            let packet = frame.get(ETHERNET..).unwrap_or_default();
            if kind == SENTINEL {
                sentinels += 1;
            } else if let Some(name) = self.names.get(&told.interface)
                && &**name != "lo"
            {
                caught.push(Catch {
                    by: Some(Arc::clone(name)),
                    mark: told.mark,
                    packet: packet.to_vec(),
                });
            }
        }
        Ok(sentinels)
    }

    /// Takes what the machine got.
    pub(super) fn arrived(&self, caught: &mut Vec<Catch>) -> io::Result<()> {
        let mut buffer = [0; LARGEST];
        for raw in &self.raw {
            while let Some(told) = next(&raw.socket, &mut buffer)? {
                let bytes = buffer.get(..told.length).unwrap_or_default();
                let packet = if raw.v6 {
                    with_header(raw.protocol, &told, bytes)
                } else {
                    bytes.to_vec()
                };
                caught.push(Catch {
                    by: None,
                    mark: told.mark,
                    packet,
                });
            }
        }
        Ok(())
    }
}

fn wire() -> io::Result<Socket> {
    let socket = Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(EVERYTHING)))?;
    // What leaves (`SKF_AD_PKTTYPE` is `PACKET_OUTGOING`), and sentinels that come in.
    let [high, low] = SENTINEL.map(u32::from);
    socket.attach_filter(&[
        SockFilter::new(0x20, 0, 0, 0xffff_f004),
        SockFilter::new(0x15, 2, 0, 4),
        SockFilter::new(0x28, 0, 0, 12),
        SockFilter::new(0x15, 0, 1, high << 8 | low),
        SockFilter::new(0x06, 0, 0, 0xffff),
        SockFilter::new(0x06, 0, 0, 0),
    ])?;
    ready(&socket)?;
    Ok(socket)
}

fn raw(v6: bool, protocol: u8) -> io::Result<Raw> {
    let domain = if v6 { Domain::IPV6 } else { Domain::IPV4 };
    let socket = Socket::new(domain, Type::RAW, Some(Protocol::from(i32::from(protocol))))?;
    if v6 {
        setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?;
        socket.set_recv_tclass_v6(true)?;
        socket.set_recv_hoplimit_v6(true)?;
    }
    ready(&socket)?;
    Ok(Raw {
        socket,
        v6,
        protocol,
    })
}

fn ready(socket: &Socket) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    setsockopt(socket, sockopt::RcvBufForce, &RECEIVE_BUFFER)?;
    sys::tell_marks(socket)
}

/// The next packet that is there.
fn next(socket: &Socket, buffer: &mut [u8]) -> io::Result<Option<Told>> {
    let mut control = nix::cmsg_space!(libc::in6_pktinfo, u32, i32, i32);
    let mut parts = [IoSliceMut::new(buffer)];
    let message = recvmsg::<SockaddrStorage>(
        socket.as_raw_fd(),
        &mut parts,
        Some(&mut control),
        MsgFlags::MSG_DONTWAIT,
    );
    let message = match message {
        Ok(message) => message,
        Err(Errno::EAGAIN | Errno::EINTR) => return Ok(None),
        Err(errno) => return Err(errno.into()),
    };
    let (mut mark, mut to) = (0, None);
    let (mut hops, mut service) = (0, 0);
    for control in message.cmsgs()? {
        match control {
            ControlMessageOwned::Ipv6PacketInfo(info) => {
                to = Some(Ipv6Addr::from(info.ipi6_addr.s6_addr).into());
            }
            ControlMessageOwned::Ipv6HopLimit(limit) => hops = u8::try_from(limit).unwrap_or(0),
            ControlMessageOwned::Ipv6TClass(class) => service = u8::try_from(class).unwrap_or(0),
            ControlMessageOwned::Unknown(other) if other.cmsg_header.cmsg_type == libc::SO_MARK => {
                let bytes = other.data_bytes.first_chunk().copied();
                mark = bytes.map_or(0, u32::from_ne_bytes);
            }
            _ => {}
        }
    }
    let address = message.address.filter(|a| a.len() > 0);
    let link = address.as_ref().and_then(|a| a.as_link_addr());
    let from = address.as_ref().and_then(|a| a.as_sockaddr_in6());
    Ok(Some(Told {
        length: message.bytes,
        mark,
        interface: link.map_or(0, nix::sys::socket::LinkAddr::ifindex),
        from: from.map(|a| a.ip().into()),
        to,
        hops,
        service,
    }))
}

/// The header that sockets of IPv6 do not get, as far as it is known.
fn with_header(protocol: u8, told: &Told, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).unwrap_or(u16::MAX);
    let mut packet = vec![0x60 | told.service >> 4, told.service << 4, 0, 0];
    packet.extend(length.to_be_bytes());
    packet.extend([protocol, told.hops]);
    for address in [told.from, told.to] {
        let octets = match address {
            Some(IpAddr::V6(address)) => address.octets(),
            _ => [0; 16],
        };
        packet.extend(octets);
    }
    packet.extend(payload);
    packet
}
