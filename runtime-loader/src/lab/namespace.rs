//! Network namespaces that remove themselves.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::atomic::{AtomicU32, Ordering};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};

use super::LabError;
use crate::netlink::{RouteConnection, link};
use crate::netns::{CURRENT_NETNS, NETNS_DIR, run_inside};
use crate::sys;

/// Settings of a new namespace that make addresses usable at once and answers prompt: no
/// duplicate address detection, no router discovery, no rate limit on ICMP errors.
const SETTINGS: [(&str, &str); 7] = [
    ("net/ipv6/conf/default/accept_dad", "0"),
    ("net/ipv6/conf/default/dad_transmits", "0"),
    ("net/ipv6/conf/default/router_solicitations", "0"),
    ("net/ipv6/conf/default/accept_ra", "0"),
    ("net/ipv6/conf/all/accept_dad", "0"),
    // Not `icmp_ratelimit=0`: that also empties the bucket for "no route" errors.
    ("net/ipv4/icmp_ratemask", "0"),
    ("net/ipv6/icmp/ratelimit", "0"),
];

/// Whether this process may make namespaces.
pub fn running_as_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// A network namespace with `lo` up. It has a name, so that `ip netns` and `--netns` find it, and
/// is removed with everything in it when the value is dropped.
#[derive(Debug)]
pub struct Namespace {
    name: String,
    path: PathBuf,
    file: File,
}

impl Namespace {
    /// Makes a namespace called `polc-PID-N`.
    pub fn new() -> Result<Self, LabError> {
        let (name, path) = reserve_name()?;
        let bound = bind_new_namespace(&path);
        let file = bound.and_then(|()| File::open(&path));
        let namespace = match file {
            Ok(file) => Self { name, path, file },
            Err(error) => {
                release(&path);
                return Err(LabError::when("make a network namespace")(error));
            }
        };
        for (key, value) in SETTINGS {
            namespace.sysctl(key, value)?;
        }
        namespace.set_link_up("lo", true)?;
        Ok(namespace)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The number by which programs of the kernel know it.
    pub fn cookie(&self) -> Result<u64, LabError> {
        self.run(sys::netns_cookie)?
            .map_err(LabError::when(format!("ask who `{}` is", self.name)))
    }

    /// Its open file.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Runs `work` inside on a thread of its own and returns its result. Threads and processes
    /// that `work` starts stay inside; sockets that it opens belong to the namespace. A panic
    /// in `work` is passed on.
    pub fn run<R: Send>(&self, work: impl FnOnce() -> R + Send) -> Result<R, LabError> {
        run_inside(&self.file, work).map_err(LabError::when(format!("enter `{}`", self.name)))
    }

    /// Starts a process inside. Only its network namespace differs from the caller's.
    pub fn spawn(&self, command: &mut Command) -> Result<Child, LabError> {
        let shown = command.get_program().to_string_lossy().into_owned();
        self.run(|| command.spawn())?
            .map_err(LabError::when(format!("start `{shown}`")))
    }

    /// Runs a process inside to its end and returns its standard output; a failing exit is an
    /// error that holds its standard error.
    pub fn output(&self, program: &str, arguments: &[&str]) -> Result<String, LabError> {
        let output = self.run(|| Command::new(program).args(arguments).output())?;
        let when =
            |what: &str| LabError::when(format!("{what} `{program} {}`", arguments.join(" ")));
        let output = output.map_err(when("start"))?;
        if output.status.success() {
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        } else {
            let message = String::from_utf8_lossy(&output.stderr).into_owned();
            Err(when("complete")(io::Error::other(message)))
        }
    }

    /// Sets a kernel setting, named as below `/proc/sys`: `net/ipv4/ip_forward`.
    pub fn sysctl(&self, key: &str, value: &str) -> Result<(), LabError> {
        let path = Path::new("/proc/sys").join(key);
        self.run(|| fs::write(path, value))?
            .map_err(LabError::when(format!("set `{key}` to `{value}`")))
    }

    /// Sets an interface up or down.
    pub fn set_link_up(&self, name: &str, up: bool) -> Result<(), LabError> {
        self.netlink(&format!("set `{name}` up or down"), |connection| {
            link::set_up(connection, name, up)
        })
    }

    /// Runs `work` with a netlink connection to this namespace.
    pub(crate) fn netlink<R>(
        &self,
        what: &str,
        work: impl FnOnce(&mut RouteConnection) -> io::Result<R>,
    ) -> Result<R, LabError> {
        let connection = self.run(RouteConnection::route)?;
        connection
            .and_then(|mut connection| work(&mut connection))
            .map_err(LabError::when(format!("{what} in `{}`", self.name)))
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        release(&self.path);
    }
}

/// Creates the file that a namespace will be mounted on, under a name nobody else uses.
fn reserve_name() -> Result<(String, PathBuf), LabError> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    fs::create_dir_all(NETNS_DIR).map_err(LabError::when(format!("create `{NETNS_DIR}`")))?;
    loop {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("polc-{}-{number}", std::process::id());
        let path = Path::new(NETNS_DIR).join(&name);
        match OpenOptions::new().write(true).create_new(true).open(&path) {
            Ok(_) => return Ok((name, path)),
            // Left behind by a killed process that had this number.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => {
                return Err(LabError::when(format!("create `{}`", path.display()))(
                    error,
                ));
            }
        }
    }
}

/// Makes a namespace on a thread that then ends; the mount keeps it alive.
fn bind_new_namespace(path: &Path) -> io::Result<()> {
    std::thread::scope(|scope| {
        let maker = scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET)?;
            mount(
                Some(CURRENT_NETNS),
                path,
                None::<&str>,
                MsFlags::MS_BIND,
                None::<&str>,
            )?;
            Ok(())
        });
        maker
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Takes the mount and its file away. There is nobody to tell about a failure: the next use of
/// the same name skips what is left.
fn release(path: &Path) {
    let _ = umount2(path, MntFlags::MNT_DETACH);
    let _ = fs::remove_file(path);
}
