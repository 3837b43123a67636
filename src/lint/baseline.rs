//! Findings that were there before, listed in a file.

use std::collections::BTreeMap;
use std::path::Path;

use polc_compiler::analyse::lint::{self, Fingerprint};
use serde::{Deserialize, Serialize};

use crate::exit::{Error, Outcome, Result};
use crate::report::{Checked, Finding, Silence};

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Baseline {
    version: u32,
    findings: Vec<Fingerprint>,
}

const VERSION: u32 = 1;

/// Lists what counts.
pub(super) fn write(path: &Path, checked: &[Checked]) -> Result {
    if !checked.iter().all(super::compiles) {
        for checked in checked {
            checked.session.report();
        }
        return Ok(Outcome::DoesNotCompile);
    }
    let findings = checked.iter().flat_map(|c| &c.findings);
    let active = findings.filter(|f| f.silence.is_none());
    let mut findings: Vec<Fingerprint> = active.map(|f| f.fingerprint.clone()).collect();
    findings.sort();
    let count = findings.len();
    let baseline = Baseline {
        version: VERSION,
        findings,
    };
    let text = serde_json::to_string_pretty(&baseline).map_err(|e| Error::environment(&e))?;
    std::fs::write(path, text + "\n")
        .map_err(|e| Error::Environment(format!("cannot write `{}`: {e}", path.display())))?;
    let count = super::number(count, "finding");
    eprintln!("listed {count} in `{}`", path.display());
    Ok(Outcome::Clean)
}

/// Silences what the file lists, and says which of its entries are no longer found.
pub(super) fn subtract(checked: &mut [Checked], path: &Path) -> std::result::Result<(), Error> {
    let name = path.display();
    let wrong = |e: &dyn std::error::Error| Error::Usage(format!("`{name}`: {e}"));
    let text = std::fs::read_to_string(path).map_err(|e| wrong(&e))?;
    let baseline: Baseline = serde_json::from_str(&text).map_err(|e| wrong(&e))?;
    if baseline.version != VERSION {
        let version = baseline.version;
        return Err(Error::Usage(format!(
            "`{name}` has version {version}; polc reads version {VERSION}"
        )));
    }
    let mut known = counted(baseline.findings.iter());
    for checked in checked.iter_mut() {
        for finding in &mut checked.findings {
            if finding.silence.is_none() && take(&mut known, finding) {
                finding.silence = Some(Silence::Baseline);
            }
        }
    }
    let stale = known
        .iter()
        .filter(|(f, count)| **count > 0 && judged(f, checked));
    for (
        Fingerprint {
            code, policy, rule, ..
        },
        count,
    ) in stale
    {
        let rule = if rule.is_empty() {
            String::new()
        } else {
            format!(", rule `{rule}`")
        };
        eprintln!("`{name}` is stale: {count} × {code} of policy `{policy}`{rule} is gone");
    }
    Ok(())
}

/// How often each fingerprint is there.
pub(super) fn counted<'f>(
    fingerprints: impl Iterator<Item = &'f Fingerprint>,
) -> BTreeMap<Fingerprint, usize> {
    let mut counts = BTreeMap::new();
    for fingerprint in fingerprints {
        *counts.entry(fingerprint.clone()).or_default() += 1;
    }
    counts
}

/// Whether a finding is among the known ones, from which it is taken.
pub(super) fn take(known: &mut BTreeMap<Fingerprint, usize>, finding: &Finding) -> bool {
    match known.get_mut(&finding.fingerprint) {
        Some(count) if *count > 0 => {
            *count -= 1;
            true
        }
        _ => false,
    }
}

/// Whether an entry could have been found in this run: its policy was looked at, and for its code.
fn judged(entry: &Fingerprint, checked: &[Checked]) -> bool {
    checked.iter().any(|checked| {
        let looked_for = |meta| checked.session.config.lint.wants(meta);
        checked.session.compilation.policy.name == entry.policy
            && lint::find(&entry.code).is_none_or(looked_for)
    })
}
