//! The number by which the kernel tells network namespaces apart for as long as the machine runs.

#![expect(
    unsafe_code,
    reason = "no library asks for this option of a socket: the one place for it"
)]

use std::io;
use std::os::fd::AsRawFd;

use nix::libc;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

/// The cookie of the calling thread's network namespace (`SO_NETNS_COOKIE`, since Linux 5.14).
///
/// # Errors
///
/// The kernel's, when it makes no socket or does not know the option.
pub(crate) fn netns_cookie() -> io::Result<u64> {
    let (family, kind) = (AddressFamily::Unix, SockType::Datagram);
    let socket = socket(family, kind, SockFlag::SOCK_CLOEXEC, None)?;
    let mut cookie = [0; 8];
    let mut length: libc::socklen_t = 8;
    // SAFETY: the kernel writes at most as many bytes as `length` says, which are there, and the
    // length.
    let failed = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_NETNS_COOKIE,
            cookie.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if failed == 0 {
        Ok(u64::from_ne_bytes(cookie))
    } else {
        Err(io::Error::last_os_error())
    }
}
