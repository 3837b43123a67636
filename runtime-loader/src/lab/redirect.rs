//! A proxy for traffic whose destination was rewritten (`redirect`, `dnat`).

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use socket2::SockRef;

use super::proxy::{Log, Mode, Protocol, Proxied, own_reply, relay_tcp};
use super::service::{Service, Stop, answer_lines, listen, serve_tcp, wildcard};
use super::{LabError, Namespace};

/// A TCP proxy that asks connection tracking for the original destination
/// (`SO_ORIGINAL_DST`, both families). There is no such way for UDP. It ends when dropped.
#[derive(Debug)]
pub struct RedirectProxy {
    name: String,
    log: Log,
    _service: Service,
}

impl RedirectProxy {
    /// Starts a proxy on `port` of every address of both families.
    pub fn start(
        namespace: &Namespace,
        name: &str,
        port: u16,
        mode: Mode,
    ) -> Result<Self, LabError> {
        Self::start_on(namespace, name, &wildcard(port), mode)
    }

    /// Starts a proxy on these addresses. They listen when this returns. In [`Mode::Forward`] it
    /// uses its own address towards the server.
    pub fn start_on(
        namespace: &Namespace,
        name: &str,
        addresses: &[SocketAddr],
        mode: Mode,
    ) -> Result<Self, LabError> {
        let mut service = Service::default();
        let log = Log::default();
        for &address in addresses {
            let tcp = namespace
                .run(|| listen(address, false))?
                .map_err(LabError::when(format!("start `{name}` on `{address}`")))?;
            let (owner, seen) = (name.to_owned(), log.clone());
            service.spawn(namespace, move |stop| {
                let handle = move |stream: TcpStream, peer, stop: &Stop| {
                    // An error here is the client's or the server's end of the connection.
                    let _ = handle_tcp(&owner, mode, &seen, &stream, peer, stop);
                };
                serve_tcp(&tcp, &stop, &Arc::new(handle));
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
        original_destination: original_destination(stream, peer)?,
    };
    log.push(seen.clone());
    match mode {
        Mode::Answer => answer_lines(stream, stop, |tag| own_reply(name, &seen, tag)),
        Mode::Forward { mark } => relay_tcp(stream, &seen, None, mark, stop),
    }
}

/// The destination before it was rewritten.
fn original_destination(stream: &TcpStream, peer: SocketAddr) -> io::Result<SocketAddr> {
    let socket = SockRef::from(stream);
    let address = if peer.is_ipv4() {
        socket.original_dst_v4()
    } else {
        socket.original_dst_v6()
    }?;
    address.as_socket().ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            "the original destination has no IP address",
        )
    })
}
