//! What servers and proxies have in common: background threads that end, listening sockets, and
//! the reply that tells the client who answered.

use std::fmt;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

use super::datagram::{self, Datagram};
use super::{LabError, Namespace};

/// How long a background thread waits before it looks whether it should end.
pub(crate) const POLL: Duration = Duration::from_millis(50);

/// Room for connections that are not accepted yet.
const BACKLOG: i32 = 1024;

/// What a server or an answering proxy tells its client. One line of text on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The name of the server that answered.
    pub name: String,
    /// The client as the server saw it.
    pub peer: SocketAddr,
    /// The address that the client was talking to, as the server saw it.
    pub local: SocketAddr,
    /// The word that the client sent.
    pub tag: String,
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            name,
            peer,
            local,
            tag,
        } = self;
        writeln!(f, "{name} {peer} {local} {tag}")
    }
}

impl FromStr for Reply {
    type Err = ();

    fn from_str(line: &str) -> Result<Self, ()> {
        let mut words = line.split_whitespace();
        let mut word = || words.next().ok_or(());
        Ok(Self {
            name: word()?.to_owned(),
            peer: word()?.parse().map_err(|_| ())?,
            local: word()?.parse().map_err(|_| ())?,
            tag: word()?.to_owned(),
        })
    }
}

/// Tells background threads to end.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stop(Arc<AtomicBool>);

impl Stop {
    pub(crate) fn requested(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Background threads in a namespace that end when this is dropped.
#[derive(Debug, Default)]
pub(crate) struct Service {
    stop: Stop,
    threads: Vec<JoinHandle<()>>,
}

impl Service {
    /// Starts `body` in the background inside `namespace`; it must look at its argument at
    /// least every [`POLL`] and return once a stop is requested.
    pub(crate) fn spawn(
        &mut self,
        namespace: &Namespace,
        body: impl FnOnce(Stop) + Send + 'static,
    ) -> Result<(), LabError> {
        let stop = self.stop.clone();
        let thread = namespace.run(move || std::thread::spawn(move || body(stop)))?;
        self.threads.push(thread);
        Ok(())
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.stop.0.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // A panic in a server shows as missing answers; it must not abort the test's unwinding.
            let _ = thread.join();
        }
    }
}

/// The wildcard addresses of both families with a port.
pub(crate) fn wildcard(port: u16) -> [SocketAddr; 2] {
    [
        SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port),
        SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port),
    ]
}

/// A new socket for addresses of `like`'s family that can share its port with others of ours.
pub(crate) fn new_socket(like: SocketAddr, kind: Type, transparent: bool) -> io::Result<Socket> {
    let protocol = if kind == Type::STREAM {
        Protocol::TCP
    } else {
        Protocol::UDP
    };
    let socket = Socket::new(Domain::for_address(like), kind, Some(protocol))?;
    socket.set_reuse_address(true)?;
    if like.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    if transparent {
        if like.is_ipv6() {
            socket.set_ip_transparent_v6(true)?;
        } else {
            socket.set_ip_transparent_v4(true)?;
        }
    }
    Ok(socket)
}

/// A TCP listener whose `accept` returns [`io::ErrorKind::WouldBlock`] after [`POLL`].
pub(crate) fn listen(address: SocketAddr, transparent: bool) -> io::Result<Socket> {
    let socket = new_socket(address, Type::STREAM, transparent)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_read_timeout(Some(POLL))?;
    Ok(socket)
}

/// A UDP socket that reports the destination of what it receives.
pub(crate) fn bind_udp(address: SocketAddr, transparent: bool) -> io::Result<Socket> {
    let socket = new_socket(address, Type::DGRAM, transparent)?;
    datagram::report_destination(&socket, address.is_ipv6())?;
    socket.bind(&address.into())?;
    socket.set_read_timeout(Some(POLL))?;
    Ok(socket)
}

/// Accepts connections until a stop is requested and gives each to `handle` on its own thread.
pub(crate) fn serve_tcp<H>(listener: &Socket, stop: &Stop, handle: &Arc<H>)
where
    H: Fn(TcpStream, SocketAddr, &Stop) + Send + Sync + 'static,
{
    while !stop.requested() {
        let Ok((stream, peer)) = listener.accept() else {
            continue;
        };
        let Some(peer) = peer.as_socket() else {
            continue;
        };
        let (handle, stop) = (Arc::clone(handle), stop.clone());
        std::thread::spawn(move || handle(stream.into(), peer, &stop));
    }
}

/// Receives datagrams until a stop is requested and gives each to `handle`.
pub(crate) fn serve_udp(socket: &Socket, stop: &Stop, mut handle: impl FnMut(&Datagram)) {
    while !stop.requested() {
        if let Ok(datagram) = datagram::receive(socket) {
            handle(&datagram);
        }
    }
}

/// Answers each line of a connection with a reply until the client closes it or a stop is
/// requested.
pub(crate) fn answer_lines(
    stream: &TcpStream,
    stop: &Stop,
    reply: impl Fn(String) -> Reply,
) -> io::Result<()> {
    stream.set_read_timeout(Some(POLL))?;
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    while !stop.requested() {
        match reader.read_line(&mut line) {
            Ok(0) => return Ok(()),
            Ok(_) => {
                let text = reply(line.trim().to_owned()).to_string();
                (&*stream).write_all(text.as_bytes())?;
                line.clear();
            }
            Err(error) if is_timeout(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Whether a bounded wait ended without anything having happened.
pub(crate) fn is_timeout(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_survives_the_wire() {
        let reply = Reply {
            name: "web".into(),
            peer: "[fd00:1::2]:4711".parse().unwrap(),
            local: "10.0.2.2:80".parse().unwrap(),
            tag: "t1".into(),
        };
        assert_eq!(reply.to_string().parse(), Ok(reply));
        assert_eq!("not a reply".parse::<Reply>(), Err(()));
    }
}
