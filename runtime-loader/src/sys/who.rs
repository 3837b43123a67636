//! Being somebody else, on one thread.

#![expect(
    unsafe_code,
    reason = "libraries change the group of all threads: the one place for one of them"
)]

use std::io;

use nix::libc;
use nix::unistd::{Gid, Uid, setfsuid};

/// Makes the calling thread, and only it, one of another group and user; sockets that it makes then
/// are theirs. It keeps its privileges, but for those about files.
///
/// # Errors
///
/// The kernel's; also when there is no such user or group in the user namespace.
pub(crate) fn become_on_this_thread(uid: Option<u32>, gid: Option<u32>) -> io::Result<()> {
    if let Some(gid) = gid {
        // SAFETY: the call takes three numbers and touches no memory of ours.
        let failed = unsafe { libc::syscall(libc::SYS_setresgid, gid, gid, gid) };
        if failed != 0 || Gid::current().as_raw() != gid {
            return Err(io::Error::last_os_error());
        }
    }
    if let Some(uid) = uid {
        let wanted = Uid::from_raw(uid);
        setfsuid(wanted);
        // It reports no error, but what it was before: asked again, what it is.
        if setfsuid(wanted) != wanted {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
    }
    Ok(())
}
