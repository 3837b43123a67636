//! Servers that say who they are and whom they saw.

use std::net::SocketAddr;
use std::sync::Arc;

use super::service::{
    Reply, Service, answer_lines, bind_udp, listen, serve_tcp, serve_udp, wildcard,
};
use super::{LabError, Namespace, datagram};

/// A TCP and UDP server in a namespace. It answers each line (TCP) or datagram (UDP) with a
/// [`Reply`], from the address that the client used. It ends when dropped.
#[derive(Debug)]
pub struct EchoServer {
    name: String,
    _service: Service,
}

impl EchoServer {
    /// Starts a server on `port` of every address of both families.
    pub fn start(namespace: &Namespace, name: &str, port: u16) -> Result<Self, LabError> {
        Self::start_on(namespace, name, &wildcard(port))
    }

    /// Starts a server on these addresses, each for TCP and UDP. They listen when this returns.
    pub fn start_on(
        namespace: &Namespace,
        name: &str,
        addresses: &[SocketAddr],
    ) -> Result<Self, LabError> {
        let mut service = Service::default();
        for &address in addresses {
            let (tcp, udp) = namespace
                .run(|| Ok((listen(address, false)?, bind_udp(address, false)?)))?
                .map_err(LabError::when(format!("start `{name}` on `{address}`")))?;
            let owner = name.to_owned();
            service.spawn(namespace, move |stop| {
                let answer = move |stream: std::net::TcpStream, peer, stop: &_| {
                    let Ok(local) = stream.local_addr() else {
                        return;
                    };
                    let reply = |tag| reply(&owner, peer, local, tag);
                    // An error here is the client's: it closed or reset the connection.
                    let _ = answer_lines(&stream, stop, reply);
                };
                serve_tcp(&tcp, &stop, &Arc::new(answer));
            })?;
            let owner = name.to_owned();
            service.spawn(namespace, move |stop| {
                serve_udp(&udp, &stop, |received| {
                    let (peer, local) = (received.peer, received.destination);
                    let text = reply(&owner, peer, local, received.tag()).to_string();
                    // A reply that a filter stops is what tests look for; the client times out.
                    let _ = datagram::send_from(&udp, local.ip(), peer, text.as_bytes());
                });
            })?;
        }
        Ok(Self {
            name: name.to_owned(),
            _service: service,
        })
    }

    /// The name that its replies carry.
    pub fn name(&self) -> &str {
        &self.name
    }
}

fn reply(name: &str, peer: SocketAddr, local: SocketAddr, tag: String) -> Reply {
    Reply {
        name: name.to_owned(),
        peer,
        local,
        tag,
    }
}
