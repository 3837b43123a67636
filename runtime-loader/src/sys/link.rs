//! Links of control groups: making them, pinning them, giving them another program.

#![expect(
    unsafe_code,
    reason = "no library does it for all programs of sockets: the one place for it"
)]

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use aya_obj::generated::bpf_cmd::{
    self, BPF_LINK_CREATE, BPF_LINK_UPDATE, BPF_OBJ_GET, BPF_OBJ_PIN,
};
use nix::libc;

/// What the kernel is told of a new link (`link_create` of `union bpf_attr`).
#[repr(C)]
struct Create {
    program: RawFd,
    target: RawFd,
    attach_type: u32,
    flags: u32,
}

/// Of another program (`link_update`).
#[repr(C)]
struct Update {
    link: RawFd,
    program: RawFd,
    flags: u32,
    old_program: RawFd,
}

/// Of a pin.
#[repr(C)]
struct Pin {
    path: u64,
    object: RawFd,
    flags: u32,
}

/// Asks the kernel for something that is told by `arguments`, one of the structures above.
fn bpf<T>(command: bpf_cmd, arguments: &T) -> io::Result<libc::c_long> {
    // SAFETY: the kernel reads as many bytes as it is told that there are; the path that a structure refers
    // to lives as long as that, and a descriptor is only a number.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_ref(arguments),
            size_of::<T>(),
        )
    };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

fn descriptor(result: libc::c_long) -> io::Result<OwnedFd> {
    let number = RawFd::try_from(result).map_err(io::Error::other)?;
    // SAFETY: the kernel has just made it for the caller.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

fn text(path: &Path) -> io::Result<CString> {
    Ok(CString::new(path.as_os_str().as_bytes())?)
}

/// Attaches a program to a control group, beside those of others. It stays as long as the link does.
///
/// # Errors
///
/// The kernel's, when the program is not for that hook, or somebody else wants to be alone there.
pub(crate) fn link_to_cgroup(
    program: impl AsFd,
    cgroup: impl AsFd,
    attach_type: u32,
) -> io::Result<OwnedFd> {
    let arguments = Create {
        program: program.as_fd().as_raw_fd(),
        target: cgroup.as_fd().as_raw_fd(),
        attach_type,
        flags: 0,
    };
    descriptor(bpf(BPF_LINK_CREATE, &arguments)?)
}

/// Pins a link.
///
/// # Errors
///
/// The kernel's, when the path is not in a file system for pinned objects or there is something.
pub(crate) fn pin_link(link: impl AsFd, path: &Path) -> io::Result<()> {
    let path = text(path)?;
    let arguments = Pin {
        path: path.as_ptr() as u64,
        object: link.as_fd().as_raw_fd(),
        flags: 0,
    };
    bpf(BPF_OBJ_PIN, &arguments).map(drop)
}

/// Lets a pinned link run another program from now on, in one step.
///
/// # Errors
///
/// The kernel's, when the program is for another hook, or no link is pinned there.
pub(crate) fn update_pinned_link(path: &Path, program: impl AsFd) -> io::Result<()> {
    let path = text(path)?;
    let link = descriptor(bpf(
        BPF_OBJ_GET,
        &Pin {
            path: path.as_ptr() as u64,
            object: 0,
            flags: 0,
        },
    )?)?;
    let arguments = Update {
        link: link.as_raw_fd(),
        program: program.as_fd().as_raw_fd(),
        flags: 0,
        old_program: 0,
    };
    bpf(BPF_LINK_UPDATE, &arguments).map(drop)
}
