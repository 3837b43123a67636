//! Files as they are in a commit.

use std::path::Path;
use std::process::Command;

use polc_compiler::Files;

/// The files of a revision, read with `git show`.
pub(crate) struct Revision {
    name: String,
}

impl Revision {
    pub(crate) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
        }
    }
}

impl Files for Revision {
    fn read(&self, path: &str) -> std::io::Result<String> {
        let path = Path::new(path);
        let dir = path.parent().filter(|d| !d.as_os_str().is_empty());
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        // `./` makes the path one below the directory, not below the top of the repository. A name
        // that begins with a dash cannot be an option, for the revision stands before it.
        let output = Command::new("git")
            .arg("-C")
            .arg(dir.unwrap_or(Path::new(".")))
            .args(["show", "--end-of-options"])
            .arg(format!("{}:./{file}", self.name))
            .output()?;
        if !output.status.success() {
            let message = String::from_utf8_lossy(&output.stderr);
            return Err(std::io::Error::other(message.trim().to_owned()));
        }
        String::from_utf8(output.stdout).map_err(std::io::Error::other)
    }
}
