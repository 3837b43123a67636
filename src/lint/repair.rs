//! Making the safe fixes.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use polc_compiler::Files;
use polc_compiler::diagnostic::{Fix, fix};
use similar::TextDiff;

use super::{Args, compiles, examine, number};
use crate::exit::Error;
use crate::report::Checked;
use crate::session::Disk;

/// A fix can make room for another; no policy needs as many rounds as this.
const MOST_ROUNDS: usize = 100;

/// Files as they would be, by their canonical path.
#[derive(Clone, Default)]
pub(super) struct Mended(BTreeMap<PathBuf, Change>);

/// A file's text before and now.
#[derive(Clone)]
struct Change {
    name: String,
    before: String,
    now: String,
}

impl Files for Mended {
    fn read(&self, path: &str) -> std::io::Result<String> {
        match self.0.get(&Path::new(path).canonicalize()?) {
            Some(change) => Ok(change.now.clone()),
            None => Disk.read(path),
        }
    }
}

/// Makes every safe fix of the policies and of what they use, until there is none left. If a policy
/// that compiles would no longer, nothing is mended.
pub(super) fn mend(paths: &[PathBuf], args: &Args) -> Result<Mended, Error> {
    let mut mended = Mended::default();
    let mut fixed = 0;
    for path in paths {
        for _ in 0..MOST_ROUNDS {
            let checked = examine(path, args, &mended)?;
            let before = mended.clone();
            let count = step(&checked, &mut mended);
            if count == 0 {
                break;
            }
            if !compiles(&examine(path, args, &mended)?) {
                let name = path.display();
                eprintln!(
                    "`{name}` would no longer compile: the rest of its fixes are left to you"
                );
                mended = before;
                break;
            }
            fixed += count;
        }
    }
    for path in paths {
        if !compiles(&examine(path, args, &mended)?) && compiles(&examine(path, args, &Disk)?) {
            let name = path.display();
            eprintln!("`{name}` would no longer compile: nothing was mended");
            return Ok(Mended::default());
        }
    }
    let files = mended.0.len();
    if fixed > 0 && !args.repair.diff {
        let (fixed, files) = (number(fixed, "finding"), number(files, "file"));
        eprintln!("mended {fixed} in {files}");
    }
    Ok(mended)
}

/// Makes the fixes that can be made at once; how many.
fn step(checked: &Checked, mended: &mut Mended) -> usize {
    let fixes: Vec<&Fix> = checked
        .active()
        .filter_map(|d| d.fix.as_ref())
        .filter(|fix| fix.safe)
        .collect();
    let edits = fixes.iter().flat_map(|fix| &fix.edits);
    let touched: BTreeSet<_> = edits.map(|edit| edit.span.file).collect();
    let mut count = 0;
    for file in touched {
        let Some(source) = checked.sources().get(file) else {
            continue;
        };
        let edits = fix::compatible(fixes.iter().copied(), file);
        let mut text = fix::apply(&source.text, &edits);
        if text == *source.text {
            continue;
        }
        // What was formatted stays so.
        if polc_grammar::format(&source.text).is_ok_and(|f| f == *source.text) {
            text = polc_grammar::format(&text).unwrap_or(text);
        }
        let name = source.name.to_string();
        let Ok(path) = Path::new(&name).canonicalize() else {
            continue;
        };
        let change = mended.0.entry(path).or_insert_with(|| Change {
            name,
            before: source.text.to_string(),
            now: String::new(),
        });
        change.now = text;
        count += fixes
            .iter()
            .filter(|fix| fix.edits.iter().all(|edit| edits.contains(&edit)))
            .count();
    }
    count
}

impl Mended {
    /// What would change, as a unified diff.
    pub(super) fn diff(&self) -> String {
        let diff = |Change { name, before, now }: &Change| {
            TextDiff::from_lines(before, now)
                .unified_diff()
                .header(&format!("a/{name}"), &format!("b/{name}"))
                .to_string()
        };
        self.0.values().map(diff).collect()
    }

    /// Writes the files, each at once.
    pub(super) fn write(&self) -> Result<(), Error> {
        for (path, Change { name, now, .. }) in &self.0 {
            replace(path, now)
                .map_err(|e| Error::Environment(format!("cannot write `{name}`: {e}")))?;
        }
        Ok(())
    }
}

/// Puts a text in place of a file's, so that nobody sees half of it.
fn replace(path: &Path, text: &str) -> std::io::Result<()> {
    let dir = path.parent().unwrap_or(Path::new("/"));
    let mut file = tempfile::NamedTempFile::new_in(dir)?;
    file.write_all(text.as_bytes())?;
    file.as_file()
        .set_permissions(path.metadata()?.permissions())?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}
