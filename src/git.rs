//! Files as a revision of a git repository has them.

use std::io;
use std::path::Path;
use std::process::Command;

use polc_compiler::Files;

use crate::exit::Error;

/// A revision.
pub(crate) struct Revision<'r> {
    name: &'r str,
}

impl<'r> Revision<'r> {
    /// The revision of that name in the repository of a file; an error when there is none.
    pub(crate) fn of(path: &Path, name: &'r str) -> Result<Self, Error> {
        let output = git(directory(path))
            .args(["rev-parse", "--quiet", "--verify", "--end-of-options"])
            .arg(format!("{name}^{{commit}}"))
            .output()
            .map_err(|e| Error::Environment(format!("cannot run `git`: {e}")))?;
        if output.status.success() {
            return Ok(Self { name });
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let said = said.trim();
        Err(if said.is_empty() {
            Error::Usage(format!("there is no revision `{name}`"))
        } else {
            Error::Environment(format!("`git`: {said}"))
        })
    }
}

impl Files for Revision<'_> {
    fn read(&self, path: &str) -> io::Result<String> {
        let path = Path::new(path);
        let file = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        // Asked in the file's own directory, so that links and `..` mean what they mean there. A
        // directory that is gone holds nothing that is asked for now.
        let object = format!("{}:./{}", self.name, file.to_string_lossy());
        let output = git(directory(path))
            .args(["show", "--end-of-options", &object])
            .output()?;
        if !output.status.success() {
            let message = String::from_utf8_lossy(&output.stderr);
            return Err(io::Error::new(
                io::ErrorKind::NotFound,
                message.trim().to_owned(),
            ));
        }
        String::from_utf8(output.stdout).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))
    }
}

fn directory(path: &Path) -> &Path {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
    dir.unwrap_or(Path::new("."))
}

/// `git` in a directory. A hook's own idea of where the repository is holds for another directory.
fn git(dir: &Path) -> Command {
    let mut git = Command::new("git");
    git.env_remove("GIT_DIR").env_remove("GIT_WORK_TREE");
    git.arg("-C").arg(dir);
    git
}
