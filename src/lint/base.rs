//! What is new since a revision of the git repository.

use std::path::Path;

use polc_compiler::Files as _;

use super::{Args, baseline, compiles, examine};
use crate::exit::Error;
use crate::git::Revision;
use crate::report::Checked;

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
        let files = Revision::of(path, revision)?;
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
