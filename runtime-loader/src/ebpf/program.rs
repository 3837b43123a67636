//! Programs of all hooks, and what is done alike with them.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::AsFd as _;
use std::path::Path;

use aya::programs::cgroup_sock::CgroupSockAttachType;
use aya::programs::cgroup_sockopt::CgroupSockoptAttachType;
use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::tc::{SchedClassifierLink, TcAttachOptions};
use aya::programs::xdp::XdpLink;
use aya::programs::{
    CgroupSock, CgroupSockopt, LinkOrder, ProgramError, ProgramFd, ProgramInfo, SchedClassifier,
    TcAttachType, TcError, Xdp, XdpMode,
};
use aya_obj::generated::bpf_prog_type::{
    BPF_PROG_TYPE_CGROUP_SOCK, BPF_PROG_TYPE_CGROUP_SOCKOPT, BPF_PROG_TYPE_SCHED_CLS,
    BPF_PROG_TYPE_XDP,
};
use aya_obj::programs::XdpAttachType;
use nix::errno::Errno;
use nix::net::if_::if_indextoname;
use polc_bundle::{ProgramHook, ProgramStage};

use super::EbpfError;
use super::clsact::{self, FilterError};
use super::pins::{Pins, Point};
use crate::netlink::{RouteConnection, is_errno};
use crate::netns::Netns;

/// How often the programs of a hook are asked for when others change them meanwhile.
const QUERY_ATTEMPTS: u32 = 8;

/// How a point runs its program. What is pinned for the point tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// By a link (XDP, tcx), which is pinned.
    Link,
    /// By a filter at the qdisc `clsact`, which holds the program; that is pinned.
    Filter,
}

/// What is pinned for a point: how it runs its program, and the program's number.
pub(crate) fn pinned(path: &Path) -> Result<(Way, u32), EbpfError> {
    // What the kernel tells of an object begins with the number of its type, whether a link or a
    // program was asked for. That of tcx links is 11 and that of XDP links 6, where the programs
    // of filters have 3.
    let info = ProgramInfo::from_pin(path).map_err(EbpfError::pin("open", path))?;
    if info.program_type() == BPF_PROG_TYPE_SCHED_CLS {
        return Ok((Way::Filter, info.id()));
    }
    let link = PinnedLink::from_pin(path).map_err(EbpfError::pin("open", path))?;
    let info = FdLink::from(link).info();
    let id = info.map_err(EbpfError::pin("read", path))?.program_id();
    Ok((Way::Link, id))
}

/// Takes away what a point runs of our programs, which have the numbers `ours`, and its pin.
pub(crate) fn detach(
    connection: &mut RouteConnection,
    pins: &Pins,
    point: Point,
    ours: &BTreeSet<u32>,
) -> Result<(), EbpfError> {
    let path = pins.link(point);
    // First the filter: as long as the pin is there, the filter is found again.
    if path.exists() && pinned(&path)?.0 == Way::Filter {
        clsact::remove(connection, point, ours).map_err(EbpfError::Filters)?;
    }
    pins.remove_link(point)
}

/// A program that is in the kernel.
#[derive(Debug)]
pub(crate) enum Program {
    /// For the hook `xdp`.
    Xdp(Xdp),
    /// For the hooks `ingress` and `egress`.
    Packet(SchedClassifier),
    /// For the hook `sock_create`.
    Socket(CgroupSock),
    /// For the hook `getsockopt`.
    Option(CgroupSockopt),
}

impl Program {
    /// Opens a pinned program.
    pub(crate) fn open(path: &Path) -> Result<Self, EbpfError> {
        let open = || match ProgramInfo::from_pin(path)?.program_type() {
            BPF_PROG_TYPE_XDP => Xdp::from_pin(path, XdpAttachType::Interface).map(Self::Xdp),
            BPF_PROG_TYPE_CGROUP_SOCK => {
                CgroupSock::from_pin(path, CgroupSockAttachType::SockCreate).map(Self::Socket)
            }
            BPF_PROG_TYPE_CGROUP_SOCKOPT => {
                CgroupSockopt::from_pin(path, CgroupSockoptAttachType::Get).map(Self::Option)
            }
            _ => SchedClassifier::from_pin(path).map(Self::Packet),
        };
        open().map_err(EbpfError::pin("open", path))
    }

    /// What the kernel says about it.
    pub(crate) fn info(&self) -> Result<ProgramInfo, ProgramError> {
        match self {
            Self::Xdp(program) => program.info(),
            Self::Packet(program) => program.info(),
            Self::Socket(program) => program.info(),
            Self::Option(program) => program.info(),
        }
    }

    /// Gives the link of a point this program.
    pub(crate) fn update(&mut self, pins: &Pins, point: Point) -> Result<(), ProgramError> {
        let pinned = PinnedLink::from_pin(pins.link(point)).map_err(odd)?;
        let link = FdLink::from(pinned);
        // Dropping a link that was taken closes a descriptor; the pin keeps the link.
        match self {
            Self::Xdp(program) => {
                let id = program.attach_to_link(XdpLink::try_from(link).map_err(odd)?)?;
                program.take_link(id).map(drop)
            }
            Self::Packet(program) => {
                let link = SchedClassifierLink::try_from(link).map_err(odd)?;
                let id = program.attach_to_link(link)?;
                program.take_link(id).map(drop)
            }
            Self::Socket(_) | Self::Option(_) => Err(ProgramError::UnexpectedProgramType),
        }
    }

    /// Lets a filter of a point run it, in one step where the point runs another one of ours.
    pub(crate) fn put_filter(
        &mut self,
        connection: &mut RouteConnection,
        pins: &Pins,
        point: Point,
        ours: &BTreeSet<u32>,
    ) -> Result<(), FilterError> {
        let Self::Packet(program) = self else {
            return Err(ProgramError::UnexpectedProgramType.into());
        };
        let (pin, next) = (pins.link(point), pins.next_link(point));
        pins.remove_next_link(point).map_err(odd)?;
        // A filter is found by its pin, so that there is none without.
        let replaces = pin.exists();
        let pin = if replaces { next } else { pin };
        program.pin(pin).map_err(odd)?;
        let fd = program.fd()?.as_fd();
        clsact::put(connection, point, fd, ours)?;
        if replaces {
            pins.take_next_link(point)?;
        }
        Ok(())
    }

    /// Its descriptor.
    pub(crate) fn fd(&self) -> Result<&ProgramFd, ProgramError> {
        match self {
            Self::Xdp(program) => program.fd(),
            Self::Packet(program) => program.fd(),
            Self::Socket(program) => program.fd(),
            Self::Option(program) => program.fd(),
        }
    }

    /// Attaches it to a point, with a link that is pinned.
    pub(crate) fn attach(
        &mut self,
        netns: &Netns,
        pins: &Pins,
        point: Point,
    ) -> Result<(), ProgramError> {
        let attached = netns.run(|| match self {
            Self::Xdp(program) => attach_xdp(program, point.index),
            Self::Packet(program) => attach_tcx(program, pins, point),
            Self::Socket(_) | Self::Option(_) => Err(ProgramError::UnexpectedProgramType),
        });
        // Until it is pinned, the link goes with its descriptor.
        let link = attached.map_err(odd)??;
        link.pin(pins.link(point)).map(drop).map_err(odd)
    }
}

/// In the driver where it can, otherwise behind it.
fn attach_xdp(program: &mut Xdp, index: u32) -> Result<FdLink, ProgramError> {
    let id = program
        .attach_to_if_index(index, XdpMode::Driver)
        .or_else(|_| program.attach_to_if_index(index, XdpMode::Skb))?;
    FdLink::try_from(program.take_link(id)?).map_err(odd)
}

/// Behind what we have there of earlier stages, and before the programs of others, because one of
/// them that accepts a packet ends the row.
fn attach_tcx(
    program: &mut SchedClassifier,
    pins: &Pins,
    point: Point,
) -> Result<FdLink, ProgramError> {
    let hook = tcx(point.hook).ok_or(ProgramError::UnexpectedProgramType)?;
    let name = name(point.index)?;
    let mut attach = |order| {
        let order = TcAttachOptions::TcxOrder(order);
        program.attach_with_options(&name, hook, order)
    };
    let mut attached = None;
    for stage in ProgramStage::ALL.into_iter().rev() {
        let path = pins.link(Point { stage, ..point });
        let is_link = || pinned(&path).is_ok_and(|(way, _)| way == Way::Link);
        if stage < point.stage && path.exists() && is_link() {
            let link = FdLink::from(PinnedLink::from_pin(path).map_err(odd)?);
            let link = SchedClassifierLink::try_from(link).map_err(odd)?;
            attached = match attach(LinkOrder::after_link(&link).map_err(odd)?) {
                // The link was severed: it is nowhere to be behind.
                Err(error) if has_errno(&error, &[Errno::ENOENT]) => None,
                other => Some(other?),
            };
        }
        if attached.is_some() {
            break;
        }
    }
    let id = match attached {
        Some(id) => id,
        None => attach(LinkOrder::first())?,
    };
    FdLink::try_from(program.take_link(id)?).map_err(odd)
}

/// The numbers of the programs that a tcx hook runs.
pub(crate) fn running(netns: &Netns, point: Point) -> Result<Vec<u32>, ProgramError> {
    let Some(hook) = tcx(point.hook) else {
        return Ok(Vec::new());
    };
    let query = || {
        let (_, programs) = SchedClassifier::query_tcx(&name(point.index)?, hook)?;
        Ok(programs.iter().map(ProgramInfo::id).collect())
    };
    let attempt = || {
        let mut answer = query();
        for _ in 1..QUERY_ATTEMPTS {
            match answer {
                // A program has gone between its number and the question what it is.
                Err(error) if has_errno(&error, &[Errno::ENOENT]) => answer = query(),
                _ => break,
            }
        }
        match answer {
            // The interface is gone.
            Err(error) if has_errno(&error, &[Errno::ENXIO, Errno::ENODEV]) => Ok(Vec::new()),
            other => other,
        }
    };
    netns.run(attempt).map_err(odd)?
}

/// Whether the kernel has tcx hooks.
pub(crate) fn has_tcx(netns: &Netns) -> Result<bool, EbpfError> {
    let asked = netns.run(|| SchedClassifier::query_tcx("lo", TcAttachType::Ingress));
    match asked.map_err(odd).and_then(|answer| answer) {
        Err(error) if has_errno(&error, &[Errno::EINVAL]) => Ok(false),
        Err(error) => Err(EbpfError::Query {
            interface: "lo".to_owned(),
            source: Box::new(error),
        }),
        Ok(_) => Ok(true),
    }
}

fn tcx(hook: ProgramHook) -> Option<TcAttachType> {
    match hook {
        ProgramHook::Xdp | ProgramHook::SockCreate | ProgramHook::GetSockOpt => None,
        ProgramHook::Ingress => Some(TcAttachType::Ingress),
        ProgramHook::Egress => Some(TcAttachType::Egress),
    }
}

/// The name of an interface of this namespace.
fn name(index: u32) -> Result<String, ProgramError> {
    let name = if_indextoname(index).map_err(|errno| ProgramError::IOError(errno.into()))?;
    name.into_string().map_err(odd)
}

/// Whether a link's interface is gone.
pub(crate) fn is_severed(error: &ProgramError) -> bool {
    has_errno(error, &[Errno::ENOLINK])
}

fn has_errno(error: &ProgramError, errnos: &[Errno]) -> bool {
    system(error).is_some_and(|e| errnos.iter().any(|errno| is_errno(e, *errno)))
}

/// The error of the kernel in an error.
fn system(error: &ProgramError) -> Option<&io::Error> {
    match error {
        ProgramError::SyscallError(call) => Some(&call.io_error),
        ProgramError::IOError(error) | ProgramError::TcError(TcError::IoError(error)) => {
            Some(error)
        }
        _ => None,
    }
}

fn odd(error: impl std::error::Error + Send + Sync + 'static) -> ProgramError {
    ProgramError::IOError(io::Error::other(error))
}
