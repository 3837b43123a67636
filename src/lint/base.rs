//! What is new since a revision of the git repository.

use std::io;
use std::path::Path;
use std::process::Command;

use polc_compiler::Files;

use super::{Args, baseline, compiles, examine};
use crate::exit::Error;
use crate::report::Checked;

/// Files as a revision has them.
struct Revision<'r> {
    name: &'r str,
}

impl Files for Revision<'_> {
    fn read(&self, path: &str) -> io::Result<String> {
        let path = Path::new(path);
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
        let dir = dir.unwrap_or(Path::new("."));
        let file = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        // Asked in the file's own directory, so that links and `..` mean what they mean there. A
        // directory that is gone holds nothing that is asked for now.
        let object = format!("{}:./{}", self.name, file.to_string_lossy());
        let output = git(dir).args(["show", &object]).output()?;
        if !output.status.success() {
            return Err(io::ErrorKind::NotFound.into());
        }
        String::from_utf8(output.stdout).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))
    }
}

/// `git` in a directory. A hook's own idea of where the repository is holds for another directory.
fn git(dir: &Path) -> Command {
    let mut git = Command::new("git");
    git.env_remove("GIT_DIR").env_remove("GIT_WORK_TREE");
    git.arg("-C").arg(dir);
    git
}

/// Takes out what was found at `revision` already. A policy that was not there then, or did not
/// compile, is new as a whole.
pub(super) fn subtract(checked: &mut [Checked], revision: &str, args: &Args) -> Result<(), Error> {
    for checked in checked {
        let policy = &checked.session.compilation.policy;
        let name = checked
            .sources()
            .get(policy.file)
            .map(|s| s.name.to_string());
        let Some(name) = name else { continue };
        let path = Path::new(&name);
        verify(path, revision)?;
        let files = Revision { name: revision };
        if files.read(&name).is_err() {
            continue;
        }
        let before = examine(path, args, &files)?;
        if !compiles(&before) {
            eprintln!("`{name}` did not compile at `{revision}`: all of its findings are shown");
            continue;
        }
        let active = before.findings.iter().filter(|f| f.silence.is_none());
        let mut known = baseline::counted(active.map(|f| &f.fingerprint));
        let fatal = !compiles(checked);
        checked.findings.retain(|finding| {
            fatal || finding.silence.is_some() || !baseline::take(&mut known, finding)
        });
    }
    Ok(())
}

/// Checks that the revision exists in the repository of a file.
fn verify(path: &Path, revision: &str) -> Result<(), Error> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
    let output = git(dir.unwrap_or(Path::new(".")))
        .args(["rev-parse", "--quiet", "--verify", "--end-of-options"])
        .arg(format!("{revision}^{{commit}}"))
        .output()
        .map_err(|e| Error::Environment(format!("cannot run `git`: {e}")))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.trim();
    Err(if said.is_empty() {
        Error::Usage(format!("there is no revision `{revision}`"))
    } else {
        Error::Environment(format!("`git`: {said}"))
    })
}
