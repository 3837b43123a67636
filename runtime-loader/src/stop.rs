//! Being told to end.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::SignalFd;

/// Tells work that goes on that the process is told to end (SIGINT, SIGTERM), so that it can take back what it has made.
#[derive(Debug)]
pub struct Stop(SignalFd);

impl Stop {
    /// From now on the signals wait to be seen here, in this thread and those that it starts. Programs that they start
    /// are ended by them all the same.
    pub fn on_signals() -> io::Result<Self> {
        let mut signals = SigSet::empty();
        signals.add(Signal::SIGINT);
        signals.add(Signal::SIGTERM);
        signals.thread_block()?;
        Ok(Self(SignalFd::new(&signals)?))
    }

    /// Whether one has come. It stays so.
    pub fn has_come(&self) -> bool {
        let mut only = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
        poll(&mut only, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
    }
}

impl AsFd for Stop {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
