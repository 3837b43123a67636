//! What both kinds of test proxy share: modes, the log, relaying.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use socket2::{Socket, Type};

use super::Reply;
use super::service::{POLL, Stop, is_timeout, new_socket};

/// How long a forwarding proxy waits for the server.
pub(crate) const UPSTREAM_TIMEOUT: Duration = Duration::from_secs(1);

/// What a proxy does with what it gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It answers by itself, like an `EchoServer`.
    Answer,
    /// It forwards to the original destination, over TCP from the client's own address (with
    /// another port), over UDP from its own.
    Forward {
        /// The mark of what it sends to the server (`SO_MARK`), for rules that leave the
        /// proxy's own traffic alone.
        mark: Option<u32>,
    },
}

/// A transport protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// TCP
    Tcp,
    /// UDP
    Udp,
}

/// A connection or datagram that went through a proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxied {
    /// Its transport protocol.
    pub protocol: Protocol,
    /// The client's address.
    pub source: SocketAddr,
    /// Where the client was going.
    pub original_destination: SocketAddr,
}

/// What a proxy has seen, shared with its background threads.
#[derive(Clone, Debug, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<Proxied>>>);

impl Log {
    pub(crate) fn push(&self, entry: Proxied) {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        entries.push(entry);
    }

    pub(crate) fn entries(&self) -> Vec<Proxied> {
        let entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        entries.clone()
    }
}

/// The reply of a proxy that answers by itself.
pub(crate) fn own_reply(name: &str, seen: &Proxied, tag: String) -> Reply {
    Reply {
        name: name.to_owned(),
        peer: seen.source,
        local: seen.original_destination,
        tag,
    }
}

/// A socket towards `to` that has the mark and, if given, the (foreign) source address.
pub(crate) fn upstream(
    to: SocketAddr,
    kind: Type,
    source: Option<IpAddr>,
    mark: Option<u32>,
) -> io::Result<Socket> {
    let socket = new_socket(to, kind, source.is_some())?;
    if let Some(mark) = mark {
        socket.set_mark(mark)?;
    }
    let any: IpAddr = match to {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    socket.bind(&SocketAddr::new(source.unwrap_or(any), 0).into())?;
    Ok(socket)
}

/// Connects to the original destination and carries bytes both ways until both sides are done.
pub(crate) fn relay_tcp(
    client: &TcpStream,
    seen: &Proxied,
    source: Option<IpAddr>,
    mark: Option<u32>,
    stop: &Stop,
) -> io::Result<()> {
    let socket = upstream(seen.original_destination, Type::STREAM, source, mark)?;
    socket.connect_timeout(&seen.original_destination.into(), UPSTREAM_TIMEOUT)?;
    let server = TcpStream::from(socket);
    std::thread::scope(|scope| {
        let back = scope.spawn(|| carry(&server, client, stop));
        let there = carry(client, &server, stop);
        back.join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            .and(there)
    })
}

/// Carries bytes one way until the end of `from` or a stop.
fn carry(mut from: &TcpStream, mut to: &TcpStream, stop: &Stop) -> io::Result<()> {
    from.set_read_timeout(Some(POLL))?;
    to.set_write_timeout(Some(UPSTREAM_TIMEOUT))?;
    let mut buffer = [0; 16 * 1024];
    while !stop.requested() {
        match from.read(&mut buffer) {
            Ok(0) => return to.shutdown(Shutdown::Write),
            Ok(length) => to.write_all(buffer.get(..length).unwrap_or_default())?,
            Err(error) if is_timeout(&error) => {}
            Err(error) => {
                // One side is gone: the other must learn of it.
                let _ = to.shutdown(Shutdown::Both);
                return Err(error);
            }
        }
    }
    Ok(())
}

/// Sends a datagram to its original destination and waits for one answer.
pub(crate) fn ask_udp(
    destination: SocketAddr,
    payload: &[u8],
    mark: Option<u32>,
    stop: &Stop,
) -> io::Result<Vec<u8>> {
    let mut socket = upstream(destination, Type::DGRAM, None, mark)?;
    socket.connect(&destination.into())?;
    socket.send(payload)?;
    socket.set_read_timeout(Some(POLL))?;
    let end = Instant::now() + UPSTREAM_TIMEOUT;
    let mut answer = vec![0; 64 * 1024];
    while !stop.requested() && Instant::now() < end {
        match socket.read(&mut answer) {
            Ok(length) => {
                answer.truncate(length);
                return Ok(answer);
            }
            Err(error) if is_timeout(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::ErrorKind::TimedOut.into())
}
