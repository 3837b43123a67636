//! Clients with bounded waits and typed outcomes.

use std::collections::BTreeSet;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::Namespace;
use super::service::{Reply, is_timeout};

/// How long a client waits for a connection and again for an answer unless told otherwise: long
/// enough for a SYN that was lost to be sent again, which takes a second.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_millis(1500);

/// How one attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The server (or whatever answered in its place) replied.
    Connected(Reply),
    /// Refused at once: a TCP reset to the first packet, or ICMP port unreachable.
    Refused,
    /// An established connection was reset.
    Reset,
    /// Nothing came back in time.
    TimedOut,
    /// ICMP host, network or protocol unreachable, or no route.
    Unreachable,
    /// The local kernel refused to send, or ICMPv6 said "administratively prohibited".
    Prohibited,
    /// Anything else, in words.
    Other(String),
}

impl Outcome {
    /// Whether there was a reply.
    pub fn is_connected(&self) -> bool {
        matches!(self, Self::Connected(_))
    }

    /// The name of the server that replied.
    pub fn answered_by(&self) -> Option<&str> {
        match self {
            Self::Connected(reply) => Some(&reply.name),
            _ => None,
        }
    }
}

impl From<io::Error> for Outcome {
    fn from(error: io::Error) -> Self {
        let errno = error.raw_os_error().map(Errno::from_raw);
        match errno {
            _ if is_timeout(&error) => Self::TimedOut,
            Some(Errno::ECONNREFUSED) => Self::Refused,
            Some(Errno::ECONNRESET | Errno::EPIPE) => Self::Reset,
            Some(
                Errno::EHOSTUNREACH | Errno::ENETUNREACH | Errno::ENOPROTOOPT | Errno::EHOSTDOWN,
            ) => Self::Unreachable,
            Some(Errno::EPERM | Errno::EACCES) => Self::Prohibited,
            _ => Self::Other(error.to_string()),
        }
    }
}

/// How many of many attempts passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Burst {
    /// Attempts made.
    pub sent: usize,
    /// Attempts answered.
    pub passed: usize,
}

/// A client in a namespace. The setters return it changed; each call opens a socket of its own.
#[derive(Clone, Copy, Debug)]
pub struct Client<'a> {
    namespace: &'a Namespace,
    source: Option<IpAddr>,
    source_port: u16,
    mark: Option<u32>,
    timeout: Duration,
}

impl<'a> Client<'a> {
    /// A client with any source port and [`DEFAULT_TIMEOUT`].
    pub fn new(namespace: &'a Namespace) -> Self {
        Self {
            namespace,
            source: None,
            source_port: 0,
            mark: None,
            timeout: DEFAULT_TIMEOUT,
        }
    }

    /// Uses this source address.
    #[must_use]
    pub fn source(self, address: IpAddr) -> Self {
        Self {
            source: Some(address),
            ..self
        }
    }

    /// Uses this source port.
    #[must_use]
    pub fn source_port(self, port: u16) -> Self {
        Self {
            source_port: port,
            ..self
        }
    }

    /// Sets the packets' mark (`SO_MARK`).
    #[must_use]
    pub fn mark(self, mark: u32) -> Self {
        Self {
            mark: Some(mark),
            ..self
        }
    }

    /// Waits this long for a connection and again for an answer.
    #[must_use]
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// Connects over TCP, sends a word and waits for the reply.
    pub fn tcp(&self, address: IpAddr, port: u16) -> Outcome {
        match self.tcp_session(address, port) {
            Ok(mut session) => session.exchange(),
            Err(outcome) => outcome,
        }
    }

    /// Connects over TCP and keeps the connection.
    pub fn tcp_session(&self, address: IpAddr, port: u16) -> Result<Session, Outcome> {
        let to = SocketAddr::new(address, port);
        let connect = || -> io::Result<TcpStream> {
            let socket = self.socket(to, Type::STREAM)?;
            socket.connect_timeout(&to.into(), self.timeout)?;
            socket.set_read_timeout(Some(self.timeout))?;
            socket.set_write_timeout(Some(self.timeout))?;
            Ok(socket.into())
        };
        let stream = self.inside(connect)?;
        Ok(Session {
            reader: BufReader::new(stream),
            exchanges: 0,
        })
    }

    /// Sends a datagram and waits for the reply.
    pub fn udp(&self, address: IpAddr, port: u16) -> Outcome {
        let to = SocketAddr::new(address, port);
        let exchange = || -> io::Result<Reply> {
            let mut socket = self.connected_udp(to)?;
            socket.set_read_timeout(Some(self.timeout))?;
            socket.send(b"udp")?;
            let mut buffer = [0; 512];
            let length = socket.read(&mut buffer)?;
            parse_reply(buffer.get(..length).unwrap_or_default())
        };
        self.inside(exchange)
            .map_or_else(|outcome| outcome, Outcome::Connected)
    }

    /// Sends an ICMP echo request; `true` if the answer came back.
    pub fn ping(&self, address: IpAddr) -> bool {
        let to = SocketAddr::new(address, 0);
        let (domain, protocol, kind) = if address.is_ipv4() {
            (Domain::IPV4, Protocol::ICMPV4, 8)
        } else {
            (Domain::IPV6, Protocol::ICMPV6, 128)
        };
        let exchange = || -> io::Result<usize> {
            // Raw rather than datagram: those need `net.ipv4.ping_group_range`. A connected raw
            // socket sees only packets from the one address.
            let mut socket = Socket::new(domain, Type::RAW, Some(protocol))?;
            socket.connect(&to.into())?;
            let mut request = vec![kind, 0, 0, 0, b'p', b'o', 0, 1];
            if address.is_ipv4() {
                let sum = etherparse::checksum::Sum16BitWords::new().add_slice(&request);
                request.splice(2..4, sum.ones_complement().to_ne_bytes());
            }
            socket.send(&request)?;
            read_echo_reply(&mut socket, address, self.timeout)
        };
        self.inside(exchange).is_ok()
    }

    /// Sends `count` datagrams from one socket, `gap` apart, and counts the different replies
    /// that have come back one timeout after the last.
    pub fn udp_burst(&self, address: IpAddr, port: u16, count: usize, gap: Duration) -> Burst {
        let to = SocketAddr::new(address, port);
        let run = || -> io::Result<Burst> {
            let mut socket = self.connected_udp(to)?;
            socket.set_nonblocking(true)?;
            let mut answered = BTreeSet::new();
            let mut sent = 0;
            for number in 0..count {
                // A send error is the answer to an earlier datagram, or a local refusal: it
                // counts as an attempt that did not pass.
                let _ = socket.send(number.to_string().as_bytes());
                sent += 1;
                collect_tags(&mut socket, &mut answered, gap);
            }
            collect_tags(&mut socket, &mut answered, self.timeout);
            Ok(Burst {
                sent,
                passed: answered.len(),
            })
        };
        self.inside(run).unwrap_or(Burst { sent: 0, passed: 0 })
    }

    /// Starts `count` TCP connections at once and counts those established within one timeout.
    pub fn tcp_burst(&self, address: IpAddr, port: u16, count: usize) -> Burst {
        let to = SocketAddr::new(address, port);
        let run = || -> io::Result<Burst> {
            let sockets = (0..count)
                .map(|_| {
                    let socket = self.socket(to, Type::STREAM)?;
                    socket.set_nonblocking(true)?;
                    match socket.connect(&to.into()) {
                        Err(error) if error.raw_os_error() != Some(Errno::EINPROGRESS as i32) => {
                            Err(error)
                        }
                        _ => Ok(socket),
                    }
                })
                .collect::<io::Result<Vec<_>>>()?;
            let end = Instant::now() + self.timeout;
            let mut passed = 0;
            while passed < count && Instant::now() < end {
                std::thread::sleep(Duration::from_millis(10));
                passed = sockets.iter().filter(|s| s.peer_addr().is_ok()).count();
            }
            Ok(Burst {
                sent: sockets.len(),
                passed,
            })
        };
        self.inside(run).unwrap_or(Burst { sent: 0, passed: 0 })
    }

    fn inside<R: Send>(&self, work: impl FnOnce() -> io::Result<R> + Send) -> Result<R, Outcome> {
        match self.namespace.run(work) {
            Ok(outcome) => outcome.map_err(Outcome::from),
            Err(error) => Err(Outcome::Other(error.to_string())),
        }
    }

    fn connected_udp(&self, to: SocketAddr) -> io::Result<Socket> {
        let socket = self.socket(to, Type::DGRAM)?;
        socket.connect(&SockAddr::from(to))?;
        Ok(socket)
    }

    fn socket(&self, to: SocketAddr, kind: Type) -> io::Result<Socket> {
        let socket = Socket::new(Domain::for_address(to), kind, None)?;
        if let Some(mark) = self.mark {
            socket.set_mark(mark)?;
        }
        if self.source.is_some() || self.source_port != 0 {
            let any = if to.is_ipv4() {
                IpAddr::V4(Ipv4Addr::UNSPECIFIED)
            } else {
                IpAddr::V6(Ipv6Addr::UNSPECIFIED)
            };
            let from = SocketAddr::new(self.source.unwrap_or(any), self.source_port);
            socket.set_reuse_address(true)?;
            socket.bind(&from.into())?;
        }
        Ok(socket)
    }
}

/// An established TCP connection.
#[derive(Debug)]
pub struct Session {
    reader: BufReader<TcpStream>,
    exchanges: u32,
}

impl Session {
    /// Sends one more word and waits for its reply.
    pub fn exchange(&mut self) -> Outcome {
        self.exchanges += 1;
        let tag = format!("tcp{}\n", self.exchanges);
        let mut line = String::new();
        let outcome = self
            .reader
            .get_ref()
            .write_all(tag.as_bytes())
            .and_then(|()| self.reader.read_line(&mut line));
        match outcome {
            Ok(0) => Outcome::Reset,
            Ok(_) => parse_reply(line.as_bytes()).map_or_else(Outcome::from, Outcome::Connected),
            Err(error) => error.into(),
        }
    }
}

fn parse_reply(bytes: &[u8]) -> io::Result<Reply> {
    let text = String::from_utf8_lossy(bytes);
    text.parse().map_err(|()| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("the answer is no reply: `{}`", text.trim()),
        )
    })
}

/// Reads until an echo reply arrives; other ICMP messages are passed over.
fn read_echo_reply(socket: &mut Socket, from: IpAddr, timeout: Duration) -> io::Result<usize> {
    let end = Instant::now() + timeout;
    let mut buffer = [0; 256];
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        socket.set_read_timeout(Some(left))?;
        let length = socket.read(&mut buffer)?;
        // IPv4 raw sockets hand over the IP header, IPv6 ones do not.
        let (kind, wanted) = if from.is_ipv4() {
            (buffer.get(20), 0)
        } else {
            (buffer.first(), 129)
        };
        if kind == Some(&wanted) {
            return Ok(length);
        }
    }
}

/// Collects the tags of replies that arrive within `wait`.
fn collect_tags(socket: &mut Socket, tags: &mut BTreeSet<String>, wait: Duration) {
    let end = Instant::now() + wait;
    let mut buffer = [0; 512];
    loop {
        while let Ok(length) = socket.read(&mut buffer) {
            if let Ok(reply) = parse_reply(buffer.get(..length).unwrap_or_default()) {
                tags.insert(reply.tag);
            }
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        std::thread::sleep(left.min(Duration::from_millis(5)));
    }
}
