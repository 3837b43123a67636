//! The marks of packets that a socket gets.

#![expect(
    unsafe_code,
    reason = "no library sets this option of a socket: the one place for it"
)]

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use nix::libc;

/// `SO_RCVMARK` of most architectures (include/uapi/asm-generic/socket.h), since Linux 5.19.
const RECEIVE_MARK: libc::c_int = 75;

/// Asks for the mark of each packet: it comes as a control message `SO_MARK`.
///
/// # Errors
///
/// The kernel's, when it does not know the option.
pub(crate) fn tell_marks(socket: &impl AsFd) -> io::Result<()> {
    let on: libc::c_int = 1;
    let length = libc::socklen_t::try_from(size_of_val(&on)).unwrap_or(libc::socklen_t::MAX);
    // SAFETY: the kernel reads as many bytes as `length` says, which are those of `on`.
    let failed = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            RECEIVE_MARK,
            (&raw const on).cast(),
            length,
        )
    };
    if failed == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
