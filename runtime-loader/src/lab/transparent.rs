//! A transparent proxy: what `tproxy` rules steer traffic to.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use socket2::{Socket, Type};

use super::datagram::Datagram;
use super::proxy::{Log, Mode, Protocol, Proxied, ask_udp, own_reply, relay_tcp};
use super::service::{
    Service, Stop, answer_lines, bind_udp, listen, new_socket, serve_tcp, serve_udp, wildcard,
};
use super::{LabError, Namespace};

/// A transparent proxy for TCP and UDP. Its sockets have `IP_TRANSPARENT`; it learns the
/// original destination from the connection's own address (TCP) or from the datagram
/// (`IP_RECVORIGDSTADDR`), and its answers carry the original destination as their source. It
/// ends when dropped.
#[derive(Debug)]
pub struct TransparentProxy {
    name: String,
    log: Log,
    _service: Service,
}

impl TransparentProxy {
    /// Starts a proxy on `port` of every address of both families.
    pub fn start(
        namespace: &Namespace,
        name: &str,
        port: u16,
        mode: Mode,
    ) -> Result<Self, LabError> {
        Self::start_on(namespace, name, &wildcard(port), mode)
    }

    /// Starts a proxy on these addresses, each for TCP and UDP. They listen when this returns.
    pub fn start_on(
        namespace: &Namespace,
        name: &str,
        addresses: &[SocketAddr],
        mode: Mode,
    ) -> Result<Self, LabError> {
        let mut service = Service::default();
        let log = Log::default();
        for &address in addresses {
            let (tcp, udp) = namespace
                .run(|| Ok((listen(address, true)?, bind_udp(address, true)?)))?
                .map_err(LabError::when(format!("start `{name}` on `{address}`")))?;
            let (owner, seen) = (name.to_owned(), log.clone());
            service.spawn(namespace, move |stop| {
                let handle = move |stream: TcpStream, peer, stop: &Stop| {
                    // An error here is the client's or the server's end of the connection.
                    let _ = handle_tcp(&owner, mode, &seen, &stream, peer, stop);
                };
                serve_tcp(&tcp, &stop, &Arc::new(handle));
            })?;
            let (owner, seen) = (name.to_owned(), log.clone());
            service.spawn(namespace, move |stop| {
                serve_udp(&udp, &stop, |datagram| {
                    handle_udp(&owner, mode, &seen, datagram.clone(), &stop);
                });
            })?;
        }
        Ok(Self {
            name: name.to_owned(),
            log,
            _service: service,
        })
    }

    /// The name that its own replies carry.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Everything that went through it so far, in order of arrival.
    pub fn seen(&self) -> Vec<Proxied> {
        self.log.entries()
    }
}

fn handle_tcp(
    name: &str,
    mode: Mode,
    log: &Log,
    stream: &TcpStream,
    peer: SocketAddr,
    stop: &Stop,
) -> io::Result<()> {
    let seen = Proxied {
        protocol: Protocol::Tcp,
        source: peer,
        original_destination: stream.local_addr()?,
    };
    log.push(seen.clone());
    match mode {
        Mode::Answer => answer_lines(stream, stop, |tag| own_reply(name, &seen, tag)),
        Mode::Forward { mark } => relay_tcp(stream, &seen, Some(peer.ip()), mark, stop),
    }
}

fn handle_udp(name: &str, mode: Mode, log: &Log, datagram: Datagram, stop: &Stop) {
    let seen = Proxied {
        protocol: Protocol::Udp,
        source: datagram.peer,
        original_destination: datagram.destination,
    };
    log.push(seen.clone());
    match mode {
        Mode::Answer => {
            let text = own_reply(name, &seen, datagram.tag()).to_string();
            // An answer that a filter stops is for the client to notice.
            let _ = answer_as_destination(&seen, text.as_bytes());
        }
        Mode::Forward { mark } => {
            let stop = stop.clone();
            // A thread for each, so that a slow server does not hold up other clients.
            std::thread::spawn(move || {
                ask_udp(seen.original_destination, &datagram.payload, mark, &stop)
                    .and_then(|answer| answer_as_destination(&seen, &answer))
            });
        }
    }
}

/// Sends a datagram to the client from the original destination.
///
/// The socket stays unconnected and is closed at once: a socket that stays open on the original
/// destination can take later datagrams away from the proxy.
fn answer_as_destination(seen: &Proxied, payload: &[u8]) -> io::Result<()> {
    let socket: Socket = new_socket(seen.original_destination, Type::DGRAM, true)?;
    socket.bind(&seen.original_destination.into())?;
    socket.send_to(payload, &seen.source.into())?;
    Ok(())
}
