//! Giving interfaces the programs of a generation, and taking that back.

use std::collections::BTreeMap;
use std::io;

use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::xdp::XdpLink;
use aya::programs::{ProgramError, Xdp, XdpMode};
use nix::errno::Errno;

use super::EbpfError;
use super::pins::Pins;
use super::seen::{Seen, Wanted};
use crate::netlink::is_errno;
use crate::netns::Netns;

/// Something that was done to an interface.
#[derive(Clone, Debug)]
enum Change {
    /// It had no program of ours.
    Attached,
    /// It has another program than this one, by number.
    Replaced(u32),
    /// It has none any more; it had this one.
    Detached(u32),
}

/// Changes interfaces one by one, and remembers how.
pub(crate) struct Switch<'s> {
    netns: &'s Netns,
    pins: &'s Pins,
    /// What was there before.
    before: &'s Seen,
    /// The programs pinned before, by number, so that they can be put back.
    old: BTreeMap<u32, Xdp>,
    made: Vec<(u32, Change)>,
}

impl<'s> Switch<'s> {
    pub(crate) fn new(
        netns: &'s Netns,
        pins: &'s Pins,
        before: &'s Seen,
        old: BTreeMap<u32, Xdp>,
    ) -> Self {
        Self {
            netns,
            pins,
            before,
            old,
            made: Vec::new(),
        }
    }

    /// Lets an interface run a program.
    pub(crate) fn put(&mut self, wanted: &Wanted, program: &mut Xdp) -> Result<(), EbpfError> {
        let index = wanted.index;
        let failed = |source| EbpfError::Attach {
            program: wanted.program.clone(),
            interface: wanted.interface.clone(),
            source: Box::new(source),
        };
        if let Some(old) = self.before.running.get(&index) {
            match update(self.pins, index, program) {
                Err(error) if is_severed(&error) => {}
                other => {
                    other.map_err(failed)?;
                    self.made.push((index, Change::Replaced(*old)));
                    return Ok(());
                }
            }
        }
        self.pins.remove_link(index)?;
        attach(self.netns, self.pins, index, program).map_err(failed)?;
        self.made.push((index, Change::Attached));
        Ok(())
    }

    /// Takes the program of an interface away.
    pub(crate) fn take(&mut self, index: u32, running: u32) -> Result<(), EbpfError> {
        self.pins.remove_link(index)?;
        self.made.push((index, Change::Detached(running)));
        Ok(())
    }

    /// Puts everything back, the last change first; what could not be put back.
    pub(crate) fn undo(mut self) -> Vec<String> {
        let mut problems = Vec::new();
        for (index, change) in std::mem::take(&mut self.made).into_iter().rev() {
            if let Err(error) = self.take_back(index, &change) {
                let name = self.before.name(index);
                problems.push(format!("the program of `{name}`: {error}"));
            }
        }
        problems
    }

    fn take_back(&mut self, index: u32, change: &Change) -> Result<(), EbpfError> {
        let (Change::Replaced(id) | Change::Detached(id)) = change else {
            return self.pins.remove_link(index);
        };
        let gone = || EbpfError::NoProgram(format!("number {id}"));
        let program = self.old.get_mut(id).ok_or_else(gone)?;
        let put_back = match change {
            Change::Detached(_) => attach(self.netns, self.pins, index, program),
            _ => update(self.pins, index, program),
        };
        put_back.map_err(|source| EbpfError::Attach {
            program: format!("number {id}"),
            interface: self.before.name(index),
            source: Box::new(source),
        })
    }
}

/// Gives the link to an interface another program.
fn update(pins: &Pins, index: u32, program: &mut Xdp) -> Result<(), ProgramError> {
    let pinned = PinnedLink::from_pin(pins.link(index)).map_err(odd)?;
    let link = XdpLink::try_from(FdLink::from(pinned)).map_err(odd)?;
    let id = program.attach_to_link(link)?;
    // Dropping it closes a descriptor; the pin keeps the link.
    program.take_link(id).map(drop)
}

/// Attaches a program to an interface: in the driver where it can, otherwise behind it.
fn attach(netns: &Netns, pins: &Pins, index: u32, program: &mut Xdp) -> Result<(), ProgramError> {
    let attached = netns.run(|| {
        program
            .attach_to_if_index(index, XdpMode::Driver)
            .or_else(|_| program.attach_to_if_index(index, XdpMode::Skb))
    });
    let id = attached.map_err(odd)??;
    let link = FdLink::try_from(program.take_link(id)?).map_err(odd)?;
    // Until it is pinned, the link goes with its descriptor.
    link.pin(pins.link(index)).map(drop).map_err(odd)
}

/// Whether a link's interface is gone.
fn is_severed(error: &ProgramError) -> bool {
    matches!(error, ProgramError::SyscallError(call) if is_errno(&call.io_error, Errno::ENOLINK))
}

fn odd(error: impl std::error::Error + Send + Sync + 'static) -> ProgramError {
    ProgramError::IOError(io::Error::other(error))
}
