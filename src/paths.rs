//! Which files a command is about.

use std::path::{Path, PathBuf};

use crate::exit::Error;

/// The policies among `paths`: files as they are, directories searched for `*.pol`, in order of
/// name. Hidden directories are left out.
pub(crate) fn policies(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Error> {
    let mut found = Vec::new();
    for path in paths {
        if path.is_dir() {
            search(path, &mut found)?;
        } else {
            found.push(path.clone());
        }
    }
    if found.is_empty() {
        let names: Vec<String> = paths.iter().map(|p| format!("`{}`", p.display())).collect();
        return Err(Error::Usage(format!(
            "there is no `.pol` file in {}",
            names.join(", ")
        )));
    }
    Ok(found)
}

fn search(dir: &Path, found: &mut Vec<PathBuf>) -> Result<(), Error> {
    let wrong = |e: std::io::Error| Error::Usage(format!("cannot read `{}`: {e}", dir.display()));
    let entries: std::io::Result<Vec<_>> = std::fs::read_dir(dir).map_err(wrong)?.collect();
    let mut entries: Vec<PathBuf> = entries
        .map_err(wrong)?
        .iter()
        .map(std::fs::DirEntry::path)
        .collect();
    entries.sort();
    for path in entries {
        let hidden = path
            .file_name()
            .is_some_and(|n| n.to_string_lossy().starts_with('.'));
        if path.is_dir() && !hidden {
            search(&path, found)?;
        } else if path.extension().is_some_and(|e| e == "pol") {
            found.push(path);
        }
    }
    Ok(())
}
