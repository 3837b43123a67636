//! Laboratories of people who are not root.

use std::fs;
use std::io;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{getegid, geteuid};

use super::LabError;

/// Makes this process root of a user namespace of its own, with mounts of its own and an empty
/// `/run`. It can then make network namespaces and rule over them, but over nothing else, and be
/// nobody but itself. It must not have started threads.
pub fn be_root_of_a_user_namespace() -> Result<(), LabError> {
    let (user, group) = (geteuid(), getegid());
    let become_root = || -> io::Result<()> {
        unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS)?;
        fs::write("/proc/self/setgroups", "deny")?;
        fs::write("/proc/self/uid_map", format!("0 {user} 1"))?;
        fs::write("/proc/self/gid_map", format!("0 {group} 1"))?;
        let none = None::<&str>;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
        mount(Some("tmpfs"), "/run", Some("tmpfs"), MsFlags::empty(), none)?;
        Ok(())
    };
    become_root().map_err(LabError::when("make a user namespace"))
}
