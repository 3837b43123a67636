//! Programs for interfaces that come after an apply, and their addresses.
//!
//! Programs are attached to interfaces, so that one which appears later, or gets another name, has none
//! until somebody looks. Who watches is told by the kernel and looks at once. There still is a moment
//! in which such an interface has no program. The same goes for programs that know the addresses of
//! interfaces.

use std::io;
use std::os::fd::AsFd as _;
use std::time::Duration;

use netlink_sys::{Socket, SocketAddr, protocols};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::access::AccessError;
use crate::apply::{Applied, ApplyError, ApplyOptions, Changes, Renewed, renew};
use crate::netlink::address::{self, Primary};
use crate::netlink::link::{self, Layer};
use crate::netlink::{RouteConnection, is_errno};
use crate::netns::Netns;
use crate::routing::{self, RoutingError};
use crate::stop::Stop;
use crate::store::StoreError;

/// The groups of news about interfaces and their addresses (`RTNLGRP_LINK`, `RTNLGRP_IPV4_IFADDR`,
/// `RTNLGRP_IPV6_IFADDR`).
const GROUPS: [u32; 3] = [1, 5, 9];

/// How long to wait while somebody else changes the namespace.
const BUSY: Duration = Duration::from_millis(200);

/// What a watch has done.
#[derive(Debug)]
pub enum Event {
    /// Interfaces were given programs, or lost them.
    Applied(Applied),
    /// They could not be; it is tried again when the interfaces change again.
    Refused(ApplyError),
}

/// How a watch ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It was stopped; the policy stays in force.
    Stopped,
    /// There are no programs in force any more.
    Over,
}

/// What of an interface decides which programs it has, and what they know of it.
type Traits = (u32, String, Layer, [bool; 2], Option<Primary>);

/// Keeps the programs that were committed last in force at all interfaces of a namespace, until it is
/// stopped. `tell` hears of everything that it does.
pub fn watch(
    options: &ApplyOptions,
    stop: &Stop,
    tell: &mut dyn FnMut(&Event),
) -> Result<End, AccessError> {
    let netns = Netns::open(options.netns.as_deref())?;
    let news = netns.run(subscribe)?.map_err(listening)?;
    let mut connection = routing::open(&netns)?;
    let mut settled = None;
    loop {
        // What is told from here on is seen by the next round.
        forget(&news).map_err(listening)?;
        let now = traits(&mut connection).map_err(listening)?;
        let mut longest = PollTimeout::NONE;
        if settled.as_ref() != Some(&now) {
            match renew(options) {
                Err(ApplyError::Store(StoreError::Busy { .. })) => {
                    longest = PollTimeout::try_from(BUSY).unwrap_or(PollTimeout::ZERO);
                }
                Ok(Renewed::Over) => return Ok(End::Over),
                other => {
                    settled = Some(now);
                    match other {
                        Ok(Renewed::Applied(applied)) if is_news(&applied) => {
                            tell(&Event::Applied(*applied));
                        }
                        Err(error) => tell(&Event::Refused(error)),
                        Ok(_) => {}
                    }
                }
            }
        }
        if sleep(&news, stop, longest).map_err(listening)? {
            return Ok(End::Stopped);
        }
    }
}

/// Whether anything is to be said of an apply. Links of interfaces that are gone also go.
fn is_news(applied: &Applied) -> bool {
    applied.changes != Changes::default() || !applied.warnings.is_empty()
}

fn subscribe() -> io::Result<Socket> {
    let mut socket = Socket::new(protocols::NETLINK_ROUTE)?;
    socket.bind(&SocketAddr::new(0, 0))?;
    for group in GROUPS {
        socket.add_membership(group)?;
    }
    socket.set_non_blocking(true)?;
    Ok(socket)
}

/// Takes all news: that there are some is what counts, also where some were lost.
fn forget(news: &Socket) -> io::Result<()> {
    let mut datagram = [0_u8; 1];
    loop {
        match news.recv(&mut &mut datagram[..], 0) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) if !is_errno(&error, Errno::ENOBUFS) => return Err(error),
            _ => {}
        }
    }
}

/// What there is to have programs. It does not speak of programs, so that what a round does makes no
/// other.
fn traits(connection: &mut RouteConnection) -> io::Result<Vec<Traits>> {
    let interfaces = link::all(connection)?;
    let addresses = address::of(connection, &interfaces)?;
    let known = |index| addresses.get(&index).copied();
    Ok(interfaces
        .into_iter()
        .map(|i| (i.index, i.name, i.layer, [i.up, i.port], known(i.index)))
        .collect())
}

/// Waits for news; whether it shall stop instead.
fn sleep(news: &Socket, stop: &Stop, longest: PollTimeout) -> io::Result<bool> {
    let mut both = [
        PollFd::new(stop.as_fd(), PollFlags::POLLIN),
        PollFd::new(news.as_fd(), PollFlags::POLLIN),
    ];
    match poll(&mut both, longest) {
        Err(Errno::EINTR) => Ok(false),
        Err(errno) => Err(errno.into()),
        Ok(_) => Ok(both.first().and_then(PollFd::any).unwrap_or(false)),
    }
}

fn listening(source: io::Error) -> RoutingError {
    RoutingError::when("listen for news of interfaces")(source)
}
