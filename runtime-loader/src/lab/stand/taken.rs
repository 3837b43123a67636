//! What the sockets of proxies have got.

use std::io;
use std::net::SocketAddr;

use socket2::Type;

use super::Stand;
use crate::lab::LabError;
use crate::lab::sink::{Sink, TCP};

/// How many packets a socket of a proxy has got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Where it listens.
    pub at: SocketAddr,
    /// Whether it is a TCP socket; else it is a UDP socket.
    pub tcp: bool,
    /// Packets since it was last asked.
    pub packets: u64,
}

/// A socket of a proxy.
#[derive(Debug)]
pub(super) struct Listening {
    sink: Sink,
    at: SocketAddr,
    tcp: bool,
    /// What it had got when it was last asked.
    before: u64,
}

impl Listening {
    /// Opens it in the namespace of the calling thread.
    pub(super) fn open(proxy: &str, at: SocketAddr, kind: Type) -> io::Result<Self> {
        Ok(Self {
            sink: Sink::open_here(at, kind, Some(proxy.to_owned()))?,
            at,
            tcp: kind == TCP,
            before: 0,
        })
    }
}

impl Stand {
    /// What each socket of a proxy has got since this was last asked. A TCP socket counts all packets that
    /// reach it, of connections or not.
    pub fn taken(&mut self) -> Result<Vec<Taken>, LabError> {
        let taken = |listening: &mut Listening| {
            let all = listening.sink.taken()?;
            let packets = all.saturating_sub(listening.before);
            listening.before = all;
            Ok(Taken {
                at: listening.at,
                tcp: listening.tcp,
                packets,
            })
        };
        self.listening.iter_mut().map(taken).collect()
    }
}
