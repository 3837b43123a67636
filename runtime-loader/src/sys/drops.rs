//! What the kernel counts of a socket.

#![expect(
    unsafe_code,
    reason = "no library asks for this option of a socket: the one place for it"
)]

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use nix::libc;

/// How many numbers `SO_MEMINFO` gives, and which of them it is (`SK_MEMINFO_DROPS`).
const NUMBERS: usize = 9;
const DROPS: usize = 8;

/// How many packets that were for the socket it did not take (`SO_MEMINFO`, since Linux 4.12).
///
/// # Errors
///
/// The kernel's, when it does not know the option.
pub(crate) fn dropped(socket: &impl AsFd) -> io::Result<u64> {
    let mut numbers = [0_u32; NUMBERS];
    let size = size_of_val(&numbers);
    let mut length = libc::socklen_t::try_from(size).unwrap_or(libc::socklen_t::MAX);
    // SAFETY: the kernel writes at most as many bytes as `length` says, which are there, and the
    // length.
    let failed = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_MEMINFO,
            numbers.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if failed == 0 {
        Ok(numbers.get(DROPS).copied().unwrap_or(0).into())
    } else {
        Err(io::Error::last_os_error())
    }
}
