//! A synchronous netlink client: one request, its acknowledgement or its dump.

pub(crate) mod address;
pub(crate) mod filter;
pub(crate) mod link;

use std::io;
use std::marker::PhantomData;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkDeserializable, NetlinkHeader,
    NetlinkMessage, NetlinkPayload, NetlinkSerializable,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::{Socket, SocketAddr, protocols};

/// Room for the largest datagram that the kernel sends in a dump (32 KiB), twice.
const RECEIVE_BUFFER: usize = 64 * 1024;

/// How often a dump is repeated when the tables change while it runs.
const DUMP_ATTEMPTS: u32 = 16;

/// A connection to one kernel subsystem, in the network namespace of the thread that opened it.
///
/// The socket stays in that namespace whichever thread uses it later.
pub(crate) struct Connection<I> {
    socket: Socket,
    sequence: u32,
    messages: PhantomData<fn() -> I>,
}

/// The connection to links, addresses, routes and rules.
pub(crate) type RouteConnection = Connection<RouteNetlinkMessage>;

impl RouteConnection {
    /// Opens the routing subsystem.
    pub(crate) fn route() -> io::Result<Self> {
        let connection = Self::open(protocols::NETLINK_ROUTE)?;
        // Lets dumps be filtered by table and protocol in the kernel.
        connection.socket.set_netlink_get_strict_chk(true)?;
        Ok(connection)
    }
}

impl<I> Connection<I>
where
    I: NetlinkSerializable + NetlinkDeserializable,
{
    /// Opens a socket for `protocol`, one of [`protocols`].
    pub(crate) fn open(protocol: isize) -> io::Result<Self> {
        let mut socket = Socket::new(protocol)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self {
            socket,
            sequence: 0,
            messages: PhantomData,
        })
    }

    /// Sends a request and waits for its acknowledgement.
    pub(crate) fn request(&mut self, message: I, flags: u16) -> io::Result<()> {
        let sequence = self.send(message, NLM_F_REQUEST | NLM_F_ACK | flags)?;
        let mut outcome = None;
        while outcome.is_none() {
            for reply in self.receive(sequence)? {
                if let NetlinkPayload::Error(error) = reply.payload {
                    outcome = Some(match error.code {
                        None => Ok(()),
                        Some(_) => Err(error.to_io()),
                    });
                }
            }
        }
        outcome.unwrap_or(Ok(()))
    }

    /// Sends a batch of messages in one datagram. The kernel has dealt with it when this
    /// returns; the first error among its answers is reported.
    #[cfg(feature = "nftnl")]
    pub(crate) fn batch(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.socket.send(bytes, 0)?;
        loop {
            let mut buffer = Vec::with_capacity(RECEIVE_BUFFER);
            match self.socket.recv(&mut buffer, nix::libc::MSG_DONTWAIT) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                other => other?,
            };
            for message in split::<I>(&buffer)? {
                if let NetlinkPayload::Error(error) = message.payload
                    && error.code.is_some()
                {
                    return Err(error.to_io());
                }
            }
        }
    }

    /// Sends a dump request and collects its parts; `message` is made anew for each attempt,
    /// because a dump that was overtaken by a change starts again.
    pub(crate) fn dump(&mut self, mut message: impl FnMut() -> I) -> io::Result<Vec<I>> {
        for _ in 0..DUMP_ATTEMPTS {
            if let Some(parts) = self.dump_once(message())? {
                return Ok(parts);
            }
        }
        Err(io::Error::new(
            io::ErrorKind::Interrupted,
            "the kernel's tables kept changing while they were read",
        ))
    }

    fn dump_once(&mut self, message: I) -> io::Result<Option<Vec<I>>> {
        let sequence = self.send(message, NLM_F_REQUEST | NLM_F_DUMP)?;
        let mut parts = Vec::new();
        let mut consistent = true;
        loop {
            for reply in self.receive(sequence)? {
                consistent &= reply.header.flags & NLM_F_DUMP_INTR == 0;
                match reply.payload {
                    NetlinkPayload::InnerMessage(part) => parts.push(part),
                    NetlinkPayload::Done(done) if done.code < 0 => {
                        return Err(io::Error::from_raw_os_error(-done.code));
                    }
                    NetlinkPayload::Done(_) => return Ok(consistent.then_some(parts)),
                    NetlinkPayload::Error(error) => return Err(error.to_io()),
                    _ => {}
                }
            }
        }
    }

    fn send(&mut self, message: I, flags: u16) -> io::Result<u32> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = flags;
        header.sequence_number = self.sequence;
        let mut packet = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(message));
        packet.finalize();
        let mut bytes = vec![0; packet.buffer_len()];
        packet.serialize(&mut bytes);
        self.socket.send(&bytes, 0)?;
        Ok(self.sequence)
    }

    /// One datagram's messages that answer request `sequence`.
    fn receive(&mut self, sequence: u32) -> io::Result<Vec<NetlinkMessage<I>>> {
        let mut buffer = Vec::with_capacity(RECEIVE_BUFFER);
        self.socket.recv(&mut buffer, 0)?;
        let mut messages = split(&buffer)?;
        messages.retain(|message: &NetlinkMessage<I>| message.header.sequence_number == sequence);
        Ok(messages)
    }
}

/// The messages of one datagram.
fn split<I: NetlinkDeserializable>(mut datagram: &[u8]) -> io::Result<Vec<NetlinkMessage<I>>> {
    let mut messages = Vec::new();
    while !datagram.is_empty() {
        let message = NetlinkMessage::<I>::deserialize(datagram).map_err(malformed)?;
        let length = (message.header.length as usize).next_multiple_of(4);
        datagram = datagram.get(length..).unwrap_or_default();
        messages.push(message);
    }
    Ok(messages)
}

fn malformed(error: impl std::fmt::Display) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("the kernel's answer cannot be read: {error}"),
    )
}

/// Whether an error is this `errno`.
pub(crate) fn is_errno(error: &io::Error, errno: nix::errno::Errno) -> bool {
    error.raw_os_error() == Some(errno as i32)
}
