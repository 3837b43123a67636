//! Filling a BPF array through memory.
//!
//! A value of many megabytes is copied once this way; handed over in a call, the kernel copies it
//! twice and needs as much memory besides.

#![expect(
    unsafe_code,
    reason = "memory that the kernel shares is mapped, written and unmapped: the one place for it"
)]

use std::ffi::c_void;
use std::io;
use std::num::NonZeroUsize;
use std::os::fd::AsFd;
use std::ptr::NonNull;

use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};

/// Bytes that are written at once.
const PAGE: usize = 4096;
const ZEROES: [u8; PAGE] = [0; PAGE];

/// Memory that is shared with the kernel until it is dropped.
struct Mapping {
    start: NonNull<c_void>,
    length: NonZeroUsize,
}

impl Mapping {
    fn new(map: impl AsFd, length: NonZeroUsize) -> io::Result<Self> {
        let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        let flags = MapFlags::MAP_SHARED | MapFlags::MAP_POPULATE;
        // SAFETY: the kernel chooses the address, so that no memory in use is replaced, and refuses
        // what is longer than the map.
        let start = unsafe { mmap(None, length, access, flags, map, 0) }?;
        Ok(Self { start, length })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: it is what was mapped, and nothing refers to it any more.
        let unmapped = unsafe { munmap(self.start, self.length.get()) };
        debug_assert!(unmapped.is_ok(), "what is mapped can be unmapped");
    }
}

/// Writes `bytes` at the beginning of the values of an array that can be mapped (it was made with
/// `BPF_F_MMAPABLE`), that is still empty, and that no program reads yet.
///
/// # Errors
///
/// The kernel's, when the map cannot be mapped or is shorter, in whole pages, than `bytes`.
pub(crate) fn write(map: impl AsFd, bytes: &[u8]) -> io::Result<()> {
    let Some(length) = NonZeroUsize::new(bytes.len()) else {
        return Ok(());
    };
    let mapping = Mapping::new(map, length)?;
    let start = mapping.start.as_ptr().cast::<u8>();
    for (number, page) in bytes.chunks(PAGE).enumerate() {
        // A new map is all zeroes, and tables have much room that is not used.
        if ZEROES.starts_with(page) {
            continue;
        }
        // SAFETY: as many bytes were mapped for writing, and new memory overlaps with no other.
        unsafe {
            let to = start.add(number * PAGE);
            to.copy_from_nonoverlapping(page.as_ptr(), page.len());
        }
    }
    Ok(())
}
