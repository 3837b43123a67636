//! Where objects are pinned.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use nix::mount::{MsFlags, mount};
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};
use polc_bundle::{ProgramHook, ProgramStage};

use super::EbpfError;
use crate::netns::Netns;

/// Where the file system for pinned objects is.
const BPFFS: &str = "/sys/fs/bpf";

/// The directory of links, beside those of generations.
const LINKS: &str = "links";

/// The directory of maps that outlive an apply, there too.
const STATE: &str = "state";

/// The pin of a generation's counters, beside those of its programs.
const COUNTERS: &str = "counters";

/// The pin of a generation's numbers of interfaces, there too.
pub(crate) const IFACES: &str = "ifaces";

/// The pin of the addresses that a generation knows of interfaces, there too.
pub(crate) const ADDRESSES: &str = "addresses";
/// The pin of a generation's numbers of users and groups, there too.
pub(crate) const PRINCIPALS: &str = "principals";

/// The directory of what holds the tables of a generation's large sets, there too.
const SETS: &str = "sets";

/// What is behind the name of a point whose pin is being replaced.
const NEXT: &str = "next";

/// A place where a program can run: a stage at a hook of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Point {
    /// The interface's number.
    pub(crate) index: u32,
    /// The hook.
    pub(crate) hook: ProgramHook,
    /// The stage.
    pub(crate) stage: ProgramStage,
}

impl Point {
    /// The name of its link.
    fn file_name(self) -> String {
        format!("{}-{}-{}", self.index, self.hook.word(), self.stage.word())
    }

    /// The point whose link has that name.
    fn of(file_name: &str) -> Option<Self> {
        let (index, words) = file_name.split_once('-')?;
        let (hook, stage) = words.split_once('-')?;
        Some(Self {
            index: index.parse().ok()?,
            hook: ProgramHook::ALL.into_iter().find(|h| h.word() == hook)?,
            stage: ProgramStage::ALL.into_iter().find(|s| s.word() == stage)?,
        })
    }
}

/// The pins of a network namespace.
#[derive(Debug)]
pub(crate) struct Pins {
    dir: PathBuf,
}

impl Pins {
    /// Those of `netns`, whether there are any or not. They go by the namespace's number, because
    /// the same namespace can be reached by several names.
    pub(crate) fn of(netns: &Netns) -> Self {
        let dir = Path::new(BPFFS).join("polc");
        Self {
            dir: dir.join(format!("net-{}", netns.inode())),
        }
    }

    /// Makes the directories, and mounts the file system if it is not there.
    pub(crate) fn make(&self, generation: &str) -> Result<(), EbpfError> {
        mount_bpffs()?;
        for dir in [LINKS, STATE, generation].map(|name| self.dir.join(name)) {
            fs::create_dir_all(&dir).map_err(EbpfError::pin("create", &dir))?;
        }
        Ok(())
    }

    /// Whether there are any.
    pub(crate) fn exist(&self) -> bool {
        self.dir.exists()
    }

    /// The pin of the link to a point, or of the program of the filter there.
    pub(crate) fn link(&self, point: Point) -> PathBuf {
        self.dir.join(LINKS).join(point.file_name())
    }

    /// What will be the pin of a point is made with a name that is no point's.
    pub(crate) fn next_link(&self, point: Point) -> PathBuf {
        let name = format!("{}-{NEXT}", point.file_name());
        self.dir.join(LINKS).join(name)
    }

    /// Makes it the pin of the point, in one step.
    pub(crate) fn take_next_link(&self, point: Point) -> io::Result<()> {
        fs::rename(self.next_link(point), self.link(point))
    }

    /// Takes it away.
    pub(crate) fn remove_next_link(&self, point: Point) -> Result<(), EbpfError> {
        remove_file(self.next_link(point))
    }

    /// The pin of the link of sockets to a hook.
    pub(crate) fn socket_link(&self, hook: ProgramHook) -> PathBuf {
        self.dir.join(LINKS).join(format!("cgroup-{}", hook.word()))
    }

    /// Takes that pin away, which detaches the program.
    pub(crate) fn remove_socket_link(&self, hook: ProgramHook) -> Result<(), EbpfError> {
        remove_file(self.socket_link(hook))
    }

    /// The pin of a map that outlives an apply.
    pub(crate) fn state(&self, name: &str) -> PathBuf {
        self.dir.join(STATE).join(name)
    }

    /// The pin of a generation's program.
    pub(crate) fn program(&self, generation: &str, name: &str) -> PathBuf {
        self.dir.join(generation).join(name)
    }

    /// The pin of a generation's counters.
    pub(crate) fn counters(&self, generation: &str) -> PathBuf {
        self.dir.join(generation).join(COUNTERS)
    }

    /// The pin of a generation's numbers of interfaces.
    pub(crate) fn ifaces(&self, generation: &str) -> PathBuf {
        self.dir.join(generation).join(IFACES)
    }

    /// The pin of the addresses that a generation knows of interfaces.
    pub(crate) fn addresses(&self, generation: &str) -> PathBuf {
        self.dir.join(generation).join(ADDRESSES)
    }

    /// The pin of a generation's numbers of users and groups.
    pub(crate) fn principals(&self, generation: &str) -> PathBuf {
        self.dir.join(generation).join(PRINCIPALS)
    }

    /// The pin of what holds the table of a generation's large set.
    pub(crate) fn set(&self, generation: &str, name: &str) -> PathBuf {
        self.dir.join(generation).join(SETS).join(name)
    }

    /// Makes the directory of these pins.
    pub(crate) fn make_sets(&self, generation: &str) -> Result<(), EbpfError> {
        let dir = self.dir.join(generation).join(SETS);
        fs::create_dir_all(&dir).map_err(EbpfError::pin("create", dir))
    }

    /// What is pinned for a generation is another one's from now on.
    pub(crate) fn rename(&self, generation: &str, to: &str) -> Result<(), EbpfError> {
        // What is left of an earlier attempt would be in the way.
        self.remove_generation(to)?;
        let [from, to] = [generation, to].map(|name| self.dir.join(name));
        fs::rename(&from, to).map_err(EbpfError::pin("rename", from))
    }

    /// The points that have a link or a filter.
    pub(crate) fn links(&self) -> Result<Vec<Point>, EbpfError> {
        let names = names(&self.dir.join(LINKS))?;
        let mut links: Vec<Point> = names.iter().filter_map(|n| Point::of(n)).collect();
        links.sort_unstable();
        Ok(links)
    }

    /// The names of the maps that outlive an apply.
    pub(crate) fn states(&self) -> Result<Vec<String>, EbpfError> {
        names(&self.dir.join(STATE))
    }

    /// The generations of which something is pinned.
    pub(crate) fn generations(&self) -> Result<Vec<String>, EbpfError> {
        let mut names = names(&self.dir)?;
        names.retain(|name| ![LINKS, STATE].contains(&name.as_str()));
        Ok(names)
    }

    /// The names of a generation's pinned programs.
    pub(crate) fn programs(&self, generation: &str) -> Result<Vec<String>, EbpfError> {
        let mut names = names(&self.dir.join(generation))?;
        names.retain(|name| {
            ![COUNTERS, IFACES, ADDRESSES, PRINCIPALS, SETS].contains(&name.as_str())
        });
        Ok(names)
    }

    /// Takes the pin of a point away. That detaches what a link runs, but not what a filter runs.
    pub(crate) fn remove_link(&self, point: Point) -> Result<(), EbpfError> {
        remove_file(self.link(point))
    }

    /// Takes the pin of a map away; the map stays as long as a program uses it.
    pub(crate) fn remove_state(&self, name: &str) -> Result<(), EbpfError> {
        remove_file(self.state(name))
    }

    /// Takes the pins of a generation away; links keep what they run.
    pub(crate) fn remove_generation(&self, generation: &str) -> Result<(), EbpfError> {
        remove_dir(&self.dir.join(generation))
    }

    /// Takes everything away.
    pub(crate) fn remove(&self) -> Result<(), EbpfError> {
        remove_dir(&self.dir)
    }
}

fn names(dir: &Path) -> Result<Vec<String>, EbpfError> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(EbpfError::pin("list", dir))?,
    };
    let name = |entry: io::Result<fs::DirEntry>| -> io::Result<String> {
        Ok(entry?.file_name().to_string_lossy().into_owned())
    };
    let names: io::Result<Vec<String>> = entries.map(name).collect();
    let mut names = names.map_err(EbpfError::pin("list", dir))?;
    names.sort();
    Ok(names)
}

fn remove_file(path: PathBuf) -> Result<(), EbpfError> {
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(EbpfError::pin("remove", path)(error))
        }
        _ => Ok(()),
    }
}

fn remove_dir(dir: &Path) -> Result<(), EbpfError> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(EbpfError::pin("remove", dir)(error))
        }
        _ => Ok(()),
    }
}

/// Mounts the file system if it is not mounted yet, once, whoever else tries at the same time.
fn mount_bpffs() -> Result<(), EbpfError> {
    let failed = |source: io::Error| EbpfError::Mount {
        path: BPFFS.into(),
        source,
    };
    if is_bpffs() {
        return Ok(());
    }
    if !in_machines_mount_namespace() {
        return Err(EbpfError::MountNamespace);
    }
    let parent = File::open("/sys/fs").map_err(failed)?;
    let _lock =
        Flock::lock(parent, FlockArg::LockExclusive).map_err(|(_, errno)| failed(errno.into()))?;
    if is_bpffs() {
        return Ok(());
    }
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("bpf"), BPFFS, Some("bpf"), flags, Some("mode=0700"))
        .map_err(|errno| failed(errno.into()))
}

fn is_bpffs() -> bool {
    statfs(BPFFS).is_ok_and(|found| found.filesystem_type() == BPF_FS_MAGIC)
}

/// Whether what is mounted here stays; true where that cannot be known.
fn in_machines_mount_namespace() -> bool {
    let machine = fs::read_link("/proc/1/ns/mnt");
    let own = fs::read_link("/proc/thread-self/ns/mnt");
    !matches!((machine, own), (Ok(machine), Ok(own)) if machine != own)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_found_again_by_their_names() {
        for hook in ProgramHook::ALL {
            for stage in ProgramStage::ALL {
                let point = Point {
                    index: 7,
                    hook,
                    stage,
                };
                assert_eq!(Point::of(&point.file_name()), Some(point));
            }
        }
        for other in [
            "7",
            "7-xdp",
            "-xdp-guard",
            "x-xdp-guard",
            "7-xdp-guard-next",
            "cgroup-sock_create",
        ] {
            assert_eq!(Point::of(other), None, "{other}");
        }
    }
}
