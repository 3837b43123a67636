//! Network namespaces: opening them and working inside them.
//!
//! A namespace is entered with `setns(CLONE_NEWNET)` on a thread of its own and nothing else is
//! switched, so that `/sys`, control groups and pinned objects stay visible.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::sched::{CloneFlags, setns, unshare};

/// Where named namespaces are kept.
pub(crate) const NETNS_DIR: &str = "/run/netns";

/// The network namespace of the calling thread.
pub(crate) const CURRENT_NETNS: &str = "/proc/thread-self/ns/net";

/// The network namespace of the machine (or container): that of its first process.
const MACHINE_NETNS: &str = "/proc/1/ns/net";

/// Why a network namespace cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum NetnsError {
    /// The name is not one that `ip netns` could have made.
    #[error("`{0}` is not a network namespace name: give a name listed by `ip netns list`")]
    Name(String),
    /// There is none of that name.
    #[error("there is no network namespace `{0}`: `ip netns list` shows those that exist")]
    Missing(String),
    /// It could not be opened or entered.
    #[error("cannot enter the network namespace `{name}`: {source}")]
    Enter {
        /// Its name or path.
        name: String,
        /// Why.
        source: io::Error,
    },
}

/// An open network namespace.
#[derive(Debug)]
pub(crate) struct Netns {
    name: Option<String>,
    file: File,
    inode: u64,
}

impl Netns {
    /// Opens the namespace `name`, or the calling thread's own.
    pub(crate) fn open(name: Option<&str>) -> Result<Self, NetnsError> {
        let path = match name {
            Some(name) => path_of(name)?,
            None => PathBuf::from(CURRENT_NETNS),
        };
        let shown = name.unwrap_or(CURRENT_NETNS);
        let file = File::open(&path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => NetnsError::Missing(shown.to_owned()),
            _ => enter_error(shown, source),
        })?;
        let inode = file
            .metadata()
            .map_err(|source| enter_error(shown, source))?
            .ino();
        Ok(Self {
            name: name.map(str::to_owned),
            file,
            inode,
        })
    }

    /// Makes a namespace that has no name in the system, and is gone with the value.
    ///
    /// It takes `CAP_SYS_ADMIN`.
    pub(crate) fn scratch() -> Result<Self, NetnsError> {
        let name = "a new one";
        let made = std::thread::scope(|scope| {
            let made = scope.spawn(|| {
                unshare(CloneFlags::CLONE_NEWNET)?;
                File::open(CURRENT_NETNS)
            });
            made.join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        let inode = |file: &File| Ok(file.metadata()?.ino());
        let (file, inode) = made
            .and_then(|file| inode(&file).map(|inode| (file, inode)))
            .map_err(|source| enter_error(name, source))?;
        Ok(Self {
            name: Some(name.to_owned()),
            file,
            inode,
        })
    }

    /// Its number, unique among the namespaces that exist.
    pub(crate) fn inode(&self) -> u64 {
        self.inode
    }

    /// A file name for its state: stable across restarts for the machine's own namespace and
    /// for named ones.
    pub(crate) fn key(&self) -> String {
        match &self.name {
            Some(name) => format!("name-{name}"),
            None if inode_of(Path::new(MACHINE_NETNS)) == Some(self.inode) => "host".to_owned(),
            None => format!("net-{}", self.inode),
        }
    }

    /// Runs `work` inside the namespace and returns what it returns.
    ///
    /// A namespace without a name is the calling thread's own: it is not entered, because even
    /// that takes a capability. It must be used on the thread that opened it.
    pub(crate) fn run<R: Send>(&self, work: impl FnOnce() -> R + Send) -> Result<R, NetnsError> {
        match &self.name {
            None => Ok(work()),
            Some(name) => run_inside(&self.file, work).map_err(|source| enter_error(name, source)),
        }
    }
}

/// Runs `work` on a thread that entered the namespace; panics are passed on.
pub(crate) fn run_inside<R: Send>(
    namespace: &impl AsFd,
    work: impl FnOnce() -> R + Send,
) -> io::Result<R> {
    let fd = namespace.as_fd();
    std::thread::scope(|scope| {
        let inside = scope.spawn(move || {
            setns(fd, CloneFlags::CLONE_NEWNET)?;
            Ok(work())
        });
        match inside.join() {
            Ok(outcome) => outcome,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// The path of a named namespace.
pub(crate) fn path_of(name: &str) -> Result<PathBuf, NetnsError> {
    let plain = !name.is_empty() && name != "." && name != ".." && !name.contains(['/', '\0']);
    if plain {
        Ok(Path::new(NETNS_DIR).join(name))
    } else {
        Err(NetnsError::Name(name.to_owned()))
    }
}

fn inode_of(path: &Path) -> Option<u64> {
    std::fs::metadata(path).ok().map(|metadata| metadata.ino())
}

fn enter_error(name: &str, source: io::Error) -> NetnsError {
    NetnsError::Enter {
        name: name.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        for name in ["", ".", "..", "a/b", "/proc/1/ns/net"] {
            assert!(matches!(path_of(name), Err(NetnsError::Name(_))), "{name}");
        }
        assert_eq!(path_of("lab").unwrap(), Path::new("/run/netns/lab"));
    }

    #[test]
    fn a_missing_namespace_is_named() {
        let error = Netns::open(Some("polc-no-such-namespace")).unwrap_err();
        assert!(error.to_string().contains("polc-no-such-namespace"));
    }

    #[test]
    fn the_own_namespace_needs_no_name() {
        let own = Netns::open(None).unwrap();
        assert_eq!(Some(own.inode()), inode_of(Path::new(CURRENT_NETNS)));
    }
}
