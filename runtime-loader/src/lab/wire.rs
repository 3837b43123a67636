//! Raw frames in and out of an interface.

use std::io::{self, IoSliceMut};
use std::net::IpAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, bind, recvfrom, recvmsg,
    send, setsockopt, socket, sockopt,
};
use nix::sys::time::TimeVal;

use super::{LabError, Namespace};

/// The largest frame read, in bytes.
const LARGEST: usize = 65_536;

/// Room for received frames, in bytes, so that bursts are not lost.
const RECEIVE_BUFFER: usize = 32 * 1024 * 1024;

/// How long one wait for a frame lasts before the deadline is looked at.
const POLL_MICROSECONDS: i64 = 20_000;

/// `PACKET_OUTGOING`: a frame that this host sent.
const OUTGOING: u8 = 4;

/// A packet socket on an interface: it sends frames as they are and sees every frame that
/// arrives from when it was opened, before any filter. Frames that the host itself sends are not
/// reported.
///
/// The kernel takes the outer VLAN tag off received frames.
#[derive(Debug)]
pub struct Wire {
    socket: OwnedFd,
}

/// What [`Wire::collect`] has seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// The frames wanted, in order of arrival.
    pub frames: Vec<Vec<u8>>,
    /// Whether the sentinel arrived; without it, frames may be missing.
    pub complete: bool,
}

impl Wire {
    /// Opens the interface.
    pub fn open(namespace: &Namespace, interface: &str) -> Result<Self, LabError> {
        namespace
            .run(|| open(interface))?
            .map(|socket| Self { socket })
            .map_err(LabError::when(format!("open `{interface}` for raw frames")))
    }

    /// Sends a frame.
    pub fn send(&self, frame: &[u8]) -> Result<(), LabError> {
        self.try_send(frame)
            .map_err(LabError::when("send a raw frame"))
    }

    /// Sends the frames one after the other, again and again, until `count` were sent or
    /// `longest` has passed; returns how many were sent.
    pub fn flood(
        &self,
        frames: &[Vec<u8>],
        count: u64,
        longest: Duration,
    ) -> Result<u64, LabError> {
        let end = Instant::now() + longest;
        let mut sent = 0;
        for frame in frames.iter().cycle() {
            if sent >= count || Instant::now() >= end {
                break;
            }
            self.send(frame)?;
            sent += 1;
        }
        Ok(sent)
    }

    /// The next frame that arrives, or `None` after `timeout`.
    pub fn receive(&self, timeout: Duration) -> Result<Option<Vec<u8>>, LabError> {
        let end = Instant::now() + timeout;
        let mut buffer = vec![0; LARGEST];
        loop {
            match self.receive_one(&mut buffer) {
                Ok(Some(length)) => {
                    buffer.truncate(length);
                    return Ok(Some(buffer));
                }
                Ok(None) if Instant::now() < end => {}
                Ok(None) => return Ok(None),
                Err(error) => return Err(LabError::when("receive a raw frame")(error)),
            }
        }
    }

    /// The frames that have arrived and were not taken yet.
    pub fn pending(&self) -> Result<Vec<Vec<u8>>, LabError> {
        let mut frames = Vec::new();
        let mut buffer = vec![0; LARGEST];
        while let Some((length, own)) = self
            .waiting(&mut buffer)
            .map_err(LabError::when("receive a raw frame"))?
        {
            if !own {
                frames.push(buffer.get(..length).unwrap_or_default().to_vec());
            }
        }
        Ok(frames)
    }

    /// The next frame that is there, and whether this host has sent it.
    fn waiting(&self, buffer: &mut [u8]) -> io::Result<Option<(usize, bool)>> {
        let fd = self.socket.as_raw_fd();
        let mut parts = [IoSliceMut::new(buffer)];
        match recvmsg::<LinkAddr>(fd, &mut parts, None, MsgFlags::MSG_DONTWAIT) {
            Ok(message) => {
                let own = message.address.is_some_and(|a| a.pkttype() == OUTGOING);
                Ok(Some((message.bytes, own)))
            }
            Err(Errno::EAGAIN | Errno::EINTR) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Collects the frames that `wanted` says yes to, until one arrives that `sentinel` says yes
    /// to (which is not kept) or `timeout` has passed.
    ///
    /// The sentinel is a frame that is sent last and let through in any case: once it is here,
    /// everything sent before it has arrived or was dropped.
    pub fn collect(
        &self,
        mut wanted: impl FnMut(&[u8]) -> bool,
        mut sentinel: impl FnMut(&[u8]) -> bool,
        timeout: Duration,
    ) -> Result<Collected, LabError> {
        let end = Instant::now() + timeout;
        let mut collected = Collected::default();
        while !collected.complete && Instant::now() < end {
            let left = end.saturating_duration_since(Instant::now());
            let Some(frame) = self.receive(left)? else {
                break;
            };
            if sentinel(&frame) {
                collected.complete = true;
            } else if wanted(&frame) {
                collected.frames.push(frame);
            }
        }
        Ok(collected)
    }

    fn try_send(&self, frame: &[u8]) -> io::Result<()> {
        let end = Instant::now() + Duration::from_secs(1);
        loop {
            match send(self.socket.as_raw_fd(), frame, MsgFlags::empty()) {
                Ok(_) => return Ok(()),
                // The device's queue is full for a moment.
                Err(Errno::ENOBUFS | Errno::EAGAIN) if Instant::now() < end => {
                    std::thread::yield_now();
                }
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// One frame from outside, or `None` if none came within the poll time.
    fn receive_one(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        match recvfrom::<LinkAddr>(self.socket.as_raw_fd(), buffer) {
            Ok((length, from)) => {
                let own = from.is_some_and(|from| from.pkttype() == OUTGOING);
                Ok((!own).then_some(length))
            }
            Err(Errno::EAGAIN | Errno::EINTR) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }
}

/// Whether `frame` is an IP packet (possibly tagged) to this address whose bytes contain `mark`:
/// what most collections look for.
pub fn carries(frame: &[u8], destination: IpAddr, mark: &[u8]) -> bool {
    let to = etherparse::SlicedPacket::from_ethernet(frame)
        .ok()
        .and_then(|packet| packet.net)
        .and_then(|net| match net {
            etherparse::NetSlice::Ipv4(ip) => Some(IpAddr::V4(ip.header().destination_addr())),
            etherparse::NetSlice::Ipv6(ip) => Some(IpAddr::V6(ip.header().destination_addr())),
            etherparse::NetSlice::Arp(_) => None,
        });
    let marked = mark.is_empty() || frame.windows(mark.len()).any(|part| part == mark);
    to == Some(destination) && marked
}

fn open(interface: &str) -> io::Result<OwnedFd> {
    let address = getifaddrs()?
        .filter(|entry| entry.interface_name == interface)
        .find_map(|entry| entry.address?.as_link_addr().copied())
        .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "no such interface"))?;
    let socket = socket(
        AddressFamily::Packet,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::EthAll,
    )?;
    // Without privileges over the machine, as much room as everybody may have.
    match setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER) {
        Err(Errno::EPERM) => setsockopt(&socket, sockopt::RcvBuf, &RECEIVE_BUFFER)?,
        other => other?,
    }
    let poll = TimeVal::new(0, POLL_MICROSECONDS);
    setsockopt(&socket, sockopt::ReceiveTimeout, &poll)?;
    bind(socket.as_raw_fd(), &address)?;
    drain(&socket);
    Ok(socket)
}

/// Drops what arrived (from every interface) between the socket's creation and its binding.
fn drain(socket: &OwnedFd) {
    let mut byte = [0; 1];
    while nix::sys::socket::recv(socket.as_raw_fd(), &mut byte, MsgFlags::MSG_DONTWAIT).is_ok() {}
}
