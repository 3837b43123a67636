//! UDP datagrams with the address that they were sent to.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::AsRawFd;

use nix::libc;
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrIn, SockaddrIn6, SockaddrStorage,
    recvmsg, sendmsg, setsockopt, sockopt,
};
use socket2::Socket;

/// The largest payload of a UDP datagram.
const LARGEST: usize = 65_507;

/// A received datagram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Datagram {
    /// Who sent it.
    pub(crate) peer: SocketAddr,
    /// The address and port it was sent to.
    pub(crate) destination: SocketAddr,
    /// What it holds.
    pub(crate) payload: Vec<u8>,
}

impl Datagram {
    /// Its payload as a word of text.
    pub(crate) fn tag(&self) -> String {
        String::from_utf8_lossy(&self.payload).trim().to_owned()
    }
}

/// Asks for the destination of each datagram; the socket must be of the family said.
pub(crate) fn report_destination(socket: &Socket, v6: bool) -> io::Result<()> {
    if v6 {
        setsockopt(socket, sockopt::Ipv6OrigDstAddr, &true)?;
    } else {
        setsockopt(socket, sockopt::Ipv4OrigDstAddr, &true)?;
    }
    Ok(())
}

/// Receives one datagram within the socket's read timeout.
pub(crate) fn receive(socket: &Socket) -> io::Result<Datagram> {
    let mut payload = vec![0; LARGEST];
    let mut control = nix::cmsg_space!(libc::sockaddr_in6);
    let mut parts = [IoSliceMut::new(&mut payload)];
    let message = recvmsg::<SockaddrStorage>(
        socket.as_raw_fd(),
        &mut parts,
        Some(&mut control),
        MsgFlags::empty(),
    )?;
    let length = message.bytes;
    let peer = message.address.as_ref().and_then(address_of);
    let destination = message.cmsgs()?.find_map(|control| match control {
        ControlMessageOwned::Ipv4OrigDstAddr(address) => Some(SocketAddr::V4(SocketAddrV4::from(
            SockaddrIn::from(address),
        ))),
        ControlMessageOwned::Ipv6OrigDstAddr(address) => Some(SocketAddr::V6(SocketAddrV6::from(
            SockaddrIn6::from(address),
        ))),
        _ => None,
    });
    payload.truncate(length);
    match (peer, destination) {
        (Some(peer), Some(destination)) => Ok(Datagram {
            peer,
            destination,
            payload,
        }),
        _ => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the datagram came without its addresses",
        )),
    }
}

/// Sends `payload` to `peer` from the local address `source`.
pub(crate) fn send_from(
    socket: &Socket,
    source: IpAddr,
    peer: SocketAddr,
    payload: &[u8],
) -> io::Result<()> {
    let parts = [IoSlice::new(payload)];
    let to = SockaddrStorage::from(peer);
    let send = |control: &ControlMessage<'_>| {
        sendmsg(
            socket.as_raw_fd(),
            &parts,
            std::slice::from_ref(control),
            MsgFlags::empty(),
            Some(&to),
        )
    };
    match source {
        IpAddr::V4(address) => send(&ControlMessage::Ipv4PacketInfo(&libc::in_pktinfo {
            ipi_ifindex: 0,
            ipi_spec_dst: libc::in_addr {
                s_addr: u32::from_ne_bytes(address.octets()),
            },
            ipi_addr: libc::in_addr { s_addr: 0 },
        })),
        IpAddr::V6(address) => send(&ControlMessage::Ipv6PacketInfo(&libc::in6_pktinfo {
            ipi6_addr: libc::in6_addr {
                s6_addr: address.octets(),
            },
            ipi6_ifindex: 0,
        })),
    }?;
    Ok(())
}

fn address_of(storage: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = storage
        .as_sockaddr_in()
        .map(|a| SocketAddr::V4(SocketAddrV4::from(*a)));
    let v6 = storage
        .as_sockaddr_in6()
        .map(|a| SocketAddr::V6(SocketAddrV6::from(*a)));
    v4.or(v6)
}
