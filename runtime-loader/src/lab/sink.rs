//! Sockets that take packets and say nothing.

use std::io;
use std::net::SocketAddr;

use socket2::{SockFilter, Socket, Type};

use super::service::new_socket;
use super::{LabError, Namespace};
use crate::sys;

/// The kinds of sockets.
pub(super) const TCP: Type = Type::STREAM;
pub(super) const UDP: Type = Type::DGRAM;

/// A filter that keeps nothing of a packet: `BPF_RET | BPF_K` with 0.
const NOTHING: u16 = 0x06;

/// A socket whose filter drops what it gets. The kernel counts it, and answers nothing.
#[derive(Debug)]
pub(super) struct Sink {
    socket: Socket,
    /// The proxy whose it is.
    pub(super) name: Option<String>,
}

impl Sink {
    /// Opens a socket; that of a proxy is transparent.
    pub(super) fn open(
        namespace: &Namespace,
        at: SocketAddr,
        kind: Type,
        name: Option<String>,
    ) -> Result<Self, LabError> {
        namespace
            .run(|| Self::open_here(at, kind, name))?
            .map_err(LabError::when(format!("listen at `{at}`")))
    }

    /// The same, in the namespace of the calling thread.
    pub(super) fn open_here(at: SocketAddr, kind: Type, name: Option<String>) -> io::Result<Self> {
        let socket = new_socket(at, kind, name.is_some())?;
        socket.attach_filter(&[SockFilter::new(NOTHING, 0, 0, 0)])?;
        socket.bind(&at.into())?;
        if kind == TCP {
            socket.listen(1)?;
        }
        Ok(Self { socket, name })
    }

    /// How many packets it got.
    pub(super) fn taken(&self) -> Result<u64, LabError> {
        sys::dropped(&self.socket).map_err(LabError::when("ask what a socket got"))
    }
}
