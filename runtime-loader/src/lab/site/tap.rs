//! What a machine gets, seen from inside.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv6Addr};
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, SockaddrIn6, SockaddrStorage, recvmsg, setsockopt, sockopt,
};
use socket2::{Domain, Protocol, Socket, Type};

use crate::lab::{LabError, Namespace};

/// Room for what arrives before it is read, in bytes.
const RECEIVE_BUFFER: usize = 8 * 1024 * 1024;

/// The largest packet read, in bytes.
const LARGEST: usize = 65_536;

/// A raw socket: it gets a copy of every packet of a family and a protocol that the machine gets,
/// behind all filters.
#[derive(Debug)]
pub(super) struct Tap {
    socket: Socket,
    v6: bool,
    protocol: u8,
}

impl Tap {
    pub(super) fn open(namespace: &Namespace, v6: bool, protocol: u8) -> Result<Self, LabError> {
        let open = || -> io::Result<Socket> {
            let domain = if v6 { Domain::IPV6 } else { Domain::IPV4 };
            let socket = Socket::new(domain, Type::RAW, Some(Protocol::from(i32::from(protocol))))?;
            socket.set_nonblocking(true)?;
            if setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER).is_err() {
                socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
            }
            if v6 {
                setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?;
            }
            Ok(socket)
        };
        let socket = namespace.run(open)?.map_err(LabError::when(format!(
            "see packets of protocol {protocol}"
        )))?;
        Ok(Self {
            socket,
            v6,
            protocol,
        })
    }

    /// The packets that have arrived and were not taken yet, from their IP headers on.
    pub(super) fn pending(&self) -> Result<Vec<Vec<u8>>, LabError> {
        let mut packets = Vec::new();
        while let Some(packet) = self
            .next()
            .map_err(LabError::when("read what the machine got"))?
        {
            packets.push(packet);
        }
        Ok(packets)
    }

    fn next(&self) -> io::Result<Option<Vec<u8>>> {
        let mut buffer = vec![0; LARGEST];
        let mut control = nix::cmsg_space!(nix::libc::in6_pktinfo);
        let mut parts = [IoSliceMut::new(&mut buffer)];
        let message = recvmsg::<SockaddrStorage>(
            self.socket.as_raw_fd(),
            &mut parts,
            Some(&mut control),
            MsgFlags::MSG_DONTWAIT,
        );
        let message = match message {
            Ok(message) => message,
            Err(Errno::EAGAIN | Errno::EINTR) => return Ok(None),
            Err(errno) => return Err(errno.into()),
        };
        let length = message.bytes;
        if !self.v6 {
            buffer.truncate(length);
            return Ok(Some(buffer));
        }
        let source = message.address.as_ref().and_then(|a| a.as_sockaddr_in6());
        let source = source.map_or(Ipv6Addr::UNSPECIFIED, SockaddrIn6::ip);
        let dest = message.cmsgs()?.find_map(|control| match control {
            ControlMessageOwned::Ipv6PacketInfo(info) => {
                Some(Ipv6Addr::from(info.ipi6_addr.s6_addr))
            }
            _ => None,
        });
        let dest = dest.unwrap_or(Ipv6Addr::UNSPECIFIED);
        buffer.truncate(length);
        Ok(Some(self.with_header(source, dest, &buffer)))
    }

    /// The header that sockets of IPv6 do not get, as far as it is known.
    fn with_header(&self, source: Ipv6Addr, dest: Ipv6Addr, payload: &[u8]) -> Vec<u8> {
        let length = u16::try_from(payload.len()).unwrap_or(u16::MAX);
        let mut packet = vec![0x60, 0, 0, 0];
        packet.extend(length.to_be_bytes());
        packet.extend([self.protocol, 64]);
        for address in [source, dest] {
            packet.extend(address.octets());
        }
        packet.extend(payload);
        packet
    }
}

/// A socket that sends packets as they are, from their IP headers on.
pub(in crate::lab) fn sender(v6: bool) -> io::Result<Socket> {
    let domain = if v6 { Domain::IPV6 } else { Domain::IPV4 };
    let raw = Protocol::from(nix::libc::IPPROTO_RAW);
    Socket::new(domain, Type::RAW, Some(raw))
}

/// The destination of a packet.
pub(in crate::lab) fn destination(packet: &[u8]) -> Option<IpAddr> {
    match packet.first()? >> 4 {
        4 => {
            let octets: [u8; 4] = packet.get(16..20)?.try_into().ok()?;
            Some(octets.into())
        }
        6 => {
            let octets: [u8; 16] = packet.get(24..40)?.try_into().ok()?;
            Some(octets.into())
        }
        _ => None,
    }
}
