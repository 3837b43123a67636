//! Programs for sockets, at the root of the control groups.
//!
//! They run for all processes of the machine, and leave alone what is not of the network namespace whose cookie
//! they were told.
//!
//! As at interfaces, a link stays when the policy changes and gets another program, in one step.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use aya::Ebpf;
use aya::maps::Array;
use aya::programs::links::{FdLink, PinnedLink};
use aya_obj::generated::bpf_attach_type::{BPF_CGROUP_GETSOCKOPT, BPF_CGROUP_INET_SOCK_CREATE};
use polc_bundle::{Manifest, ProgramHook};

use super::EbpfError;
use super::pins::Pins;
use super::program::Program;
use super::seen::Seen;
use crate::netns::Netns;
use crate::sys;

/// Where the calling process's mounts are listed.
const MOUNTS: &str = "/proc/self/mountinfo";

/// The namespace of control groups of the calling process, and what that of the machine is called.
const CGROUP_NAMESPACE: &str = "/proc/self/ns/cgroup";
const MACHINES: &str = "cgroup:[4026531835]";

/// The map with the cookie of the network namespace.
const NETNS: &str = "netns";

/// In the place of an interface's name, for people.
pub(crate) const SOCKETS: &str = "sockets";

/// Why control groups or sockets cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CgroupError {
    /// The mounts cannot be read.
    #[error("cannot read `{MOUNTS}`: {0}")]
    Mounts(#[source] io::Error),
    /// There is no file system of control groups.
    #[error("no file system of the kind `cgroup2` is mounted here")]
    NotMounted,
    /// What is mounted is a part of the machine's.
    #[error("the control groups here are not those of the machine")]
    Namespace,
    /// The root cannot be opened.
    #[error("cannot open `{path}`: {source}")]
    Root {
        /// Where it is.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A program cannot be attached.
    #[error("cannot attach `{program}` to the control groups ({hook}): {source}")]
    Attach {
        /// The program.
        program: String,
        /// At which hook.
        hook: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The kernel does not say which network namespace this is.
    #[error("cannot read the cookie of the network namespace: {0}")]
    Cookie(#[source] io::Error),
    /// A program does not run after it was attached.
    #[error("the control groups do not run `{0}` after it was attached")]
    NotRunning(String),
}

impl CgroupError {
    /// What can be done about it.
    pub(super) fn help(&self) -> Option<&'static str> {
        match self {
            Self::NotMounted => Some("run `mount -t cgroup2 none /sys/fs/cgroup`"),
            Self::Namespace => {
                Some("run polc outside of the container, with `--netns NAME` for its network")
            }
            Self::Cookie(_) => {
                Some("rules by group need Linux 5.14 or later, proxies and `redirect` 5.15")
            }
            _ => None,
        }
    }
}

/// The directory of the root of the machine's control groups (version 2).
pub(crate) fn root() -> Result<PathBuf, CgroupError> {
    let namespace = fs::read_link(CGROUP_NAMESPACE);
    if namespace.is_ok_and(|name| name != Path::new(MACHINES)) {
        return Err(CgroupError::Namespace);
    }
    let mounts = fs::read(MOUNTS).map_err(CgroupError::Mounts)?;
    let mut lines = mounts.split(|byte| *byte == b'\n');
    lines.find_map(mounted).ok_or(CgroupError::NotMounted)
}

/// Where a line of the list of mounts says that the root of all control groups is, if it does.
fn mounted(line: &[u8]) -> Option<PathBuf> {
    let mut words = line.split(|byte| *byte == b' ');
    let (part, place) = (words.nth(3)?, words.next()?);
    let mut behind = words.skip_while(|word| *word != b"-");
    let kind = behind.nth(1)?;
    (kind == b"cgroup2" && part == b"/").then(|| plain(place).into())
}

/// A path without the digits that stand for spaces in the list of mounts.
fn plain(word: &[u8]) -> OsString {
    let mut path = Vec::new();
    let mut rest = word;
    while let Some((first, behind)) = rest.split_first() {
        let digits = behind.get(..3).filter(|_| *first == b'\\');
        let digits = digits.and_then(|digits| std::str::from_utf8(digits).ok());
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 8).ok());
        path.push(byte.unwrap_or(*first));
        rest = match byte {
            Some(_) => behind.get(3..).unwrap_or_default(),
            None => behind,
        };
    }
    OsString::from_vec(path)
}

/// The programs of a bundle that sockets should run.
pub(crate) fn wanted(manifest: &Manifest) -> BTreeMap<ProgramHook, &str> {
    let programs = manifest.programs.iter();
    let wanted = programs.filter_map(|p| Some((p.hook, p.name.as_deref()?)));
    wanted
        .filter(|(hook, _)| ProgramHook::SOCKETS.contains(hook))
        .collect()
}

/// The cookie that the programs of a bundle have to know, if there are any.
pub(crate) fn cookie(manifest: &Manifest, netns: &Netns) -> Result<Option<u64>, EbpfError> {
    if wanted(manifest).is_empty() {
        return Ok(None);
    }
    // Where they cannot be attached, nothing should be changed.
    root()?;
    let read = netns.run(sys::netns_cookie);
    let read = read.map_err(|error| CgroupError::Cookie(io::Error::other(error)))?;
    Ok(Some(read.map_err(CgroupError::Cookie)?))
}

/// Tells the programs of an object which network namespace theirs is.
pub(crate) fn tell(loaded: &mut Ebpf, cookie: u64) -> Result<(), EbpfError> {
    let map = loaded.map_mut(NETNS);
    let map = map.ok_or_else(|| EbpfError::NoMap(NETNS.to_owned()))?;
    let set = || Array::<_, u64>::try_from(map)?.set(0, cookie, 0);
    set().map_err(EbpfError::map(NETNS))
}

/// The numbers of the programs that sockets run.
pub(crate) fn running(pins: &Pins) -> Result<BTreeMap<ProgramHook, u32>, EbpfError> {
    let mut running = BTreeMap::new();
    for hook in ProgramHook::SOCKETS {
        let path = pins.socket_link(hook);
        if path.exists() {
            let link = PinnedLink::from_pin(&path).map_err(EbpfError::pin("open", &path))?;
            let info = FdLink::from(link).info();
            let id = info.map_err(EbpfError::pin("read", path))?.program_id();
            running.insert(hook, id);
        }
    }
    Ok(running)
}

/// Whether sockets run what a bundle says.
pub(crate) fn as_wanted(seen: &Seen, manifest: &Manifest, generation: &str) -> bool {
    missing(seen, manifest, generation).next().is_none()
        && unwanted(seen, manifest).next().is_none()
}

/// What sockets should run of a generation, and do not.
pub(crate) fn missing<'m>(
    seen: &Seen,
    manifest: &'m Manifest,
    generation: &str,
) -> impl Iterator<Item = (ProgramHook, &'m str)> {
    let wanted = wanted(manifest).into_iter();
    wanted.filter(move |(hook, name)| !runs(seen, *hook, name, generation))
}

/// The hooks of sockets that shall have no program and have one.
pub(crate) fn unwanted(seen: &Seen, manifest: &Manifest) -> impl Iterator<Item = ProgramHook> {
    let wanted = wanted(manifest);
    let running = seen.sockets.keys().copied();
    running.filter(move |hook| !wanted.contains_key(hook))
}

/// Whether sockets run that program of that generation.
fn runs(seen: &Seen, hook: ProgramHook, name: &str, generation: &str) -> bool {
    let id = seen.sockets.get(&hook);
    let program = id.and_then(|id| seen.programs.get(id));
    program.is_some_and(|p| p.generation == generation && p.name == name)
}

/// Changes what sockets run, and remembers how.
pub(crate) struct Sockets<'s> {
    pins: &'s Pins,
    before: &'s BTreeMap<ProgramHook, u32>,
    /// The programs pinned before, by number, so that they can be put back.
    old: BTreeMap<u32, Program>,
    changed: BTreeSet<ProgramHook>,
}

impl<'s> Sockets<'s> {
    pub(crate) fn new(pins: &'s Pins, before: &'s Seen, old: BTreeMap<u32, Program>) -> Self {
        Self {
            pins,
            before: &before.sockets,
            old,
            changed: BTreeSet::new(),
        }
    }

    /// Lets sockets run a program.
    pub(crate) fn put(
        &mut self,
        hook: ProgramHook,
        (name, program): (&str, &Program),
    ) -> Result<(), EbpfError> {
        self.changed.insert(hook);
        put(self.pins, hook, (name, program))
    }

    /// Takes the program of a hook away.
    pub(crate) fn take(&mut self, hook: ProgramHook) -> Result<(), EbpfError> {
        self.changed.insert(hook);
        self.pins.remove_socket_link(hook)
    }

    /// Puts everything back; what could not be put back.
    pub(crate) fn undo(mut self) -> Vec<String> {
        let mut problems = Vec::new();
        for hook in std::mem::take(&mut self.changed) {
            if let Err(error) = self.take_back(hook) {
                let hook = hook.word();
                problems.push(format!("the program of {SOCKETS} ({hook}): {error}"));
            }
        }
        problems
    }

    fn take_back(&mut self, hook: ProgramHook) -> Result<(), EbpfError> {
        let Some(id) = self.before.get(&hook) else {
            return self.pins.remove_socket_link(hook);
        };
        let name = format!("number {id}");
        match self.old.get(id) {
            Some(program) => put(self.pins, hook, (&name, program)),
            None => Err(EbpfError::NoProgram(name)),
        }
    }
}

fn put(pins: &Pins, hook: ProgramHook, (name, program): (&str, &Program)) -> Result<(), EbpfError> {
    let failed = |source| CgroupError::Attach {
        program: name.to_owned(),
        hook: hook.word(),
        source,
    };
    let pin = pins.socket_link(hook);
    let program = program.fd().map_err(io::Error::other).map_err(failed)?;
    if pin.exists() {
        return Ok(sys::update_pinned_link(&pin, program.as_fd()).map_err(failed)?);
    }
    let path = root()?;
    let root = File::open(&path).map_err(|source| CgroupError::Root { path, source })?;
    let attach_type = match hook {
        ProgramHook::GetSockOpt => BPF_CGROUP_GETSOCKOPT,
        _ => BPF_CGROUP_INET_SOCK_CREATE,
    };
    let link = sys::link_to_cgroup(program.as_fd(), root, attach_type as u32).map_err(failed)?;
    sys::pin_link(link, &pin).map_err(EbpfError::pin("pin", pin))
}

/// What is below the root of the control groups under a path, which may begin and end with slashes.
pub(crate) fn directory(path: &[u8]) -> Result<PathBuf, CgroupError> {
    let path = path.trim_ascii();
    let parts = path.split(|byte| *byte == b'/').filter(|p| !p.is_empty());
    let mut directory = root()?;
    for part in parts {
        directory.push(std::ffi::OsStr::from_bytes(part));
    }
    Ok(directory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_is_found_among_mounts() {
        let mounted = |line: &str| mounted(line.as_bytes());
        for (line, found) in [
            (
                "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw",
                Some("/sys/fs/cgroup"),
            ),
            (
                "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw",
                Some("/sys/fs/cgroup/unified"),
            ),
            (
                "41 31 0:38 / /mnt/my\\040groups rw shared:1 master:2 - cgroup2 none rw",
                Some("/mnt/my groups"),
            ),
            ("41 31 0:38 /a /mnt rw - cgroup2 none rw", None),
            (
                "32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu",
                None,
            ),
            ("", None),
        ] {
            assert_eq!(mounted(line), found.map(PathBuf::from), "{line}");
        }
    }
}
