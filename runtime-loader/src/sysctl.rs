//! Kernel settings that a bundle needs.

use std::fmt;
use std::fs;
use std::path::{Component, Path};

use polc_bundle::Sysctl;
use serde::Serialize;

use crate::netns::{Netns, NetnsError};

/// A kernel setting that is not as a bundle needs it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SysctlProblem {
    /// Its name, as `sysctl` takes it.
    pub key: String,
    /// The value found; none if the setting does not exist (yet), as for an interface that has
    /// not come up.
    pub found: Option<String>,
    /// The values that will do.
    pub wanted: Vec<String>,
    /// What breaks otherwise.
    pub reason: String,
}

impl SysctlProblem {
    /// The command that sets it right.
    pub fn remedy(&self) -> Option<String> {
        let value = self.wanted.first()?;
        let value = if value.contains(char::is_whitespace) {
            format!("'{value}'")
        } else {
            value.clone()
        };
        Some(format!("sysctl -w {}={value}", self.key))
    }
}

impl fmt::Display for SysctlProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let wanted: Vec<_> = self.wanted.iter().map(|v| format!("`{v}`")).collect();
        let wanted = wanted.join(" or ");
        match &self.found {
            Some(found) => write!(
                f,
                "`{}` is `{found}` and must be {wanted}: {}",
                self.key, self.reason
            ),
            None => write!(
                f,
                "`{}` does not exist here (yet) and must be {wanted} once it does: {}",
                self.key, self.reason
            ),
        }
    }
}

/// What a check found.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    /// The bundle must not be applied.
    pub(crate) fatal: Vec<SysctlProblem>,
    /// It may be.
    pub(crate) advisory: Vec<SysctlProblem>,
}

/// Compares the settings inside `netns`. A setting that does not exist is advisory.
pub(crate) fn check(netns: &Netns, sysctls: &[Sysctl]) -> Result<Findings, NetnsError> {
    let values = netns.run(|| sysctls.iter().map(read).collect::<Vec<_>>())?;
    let mut findings = Findings::default();
    for (sysctl, found) in sysctls.iter().zip(values) {
        if found.as_ref().is_some_and(|f| sysctl.values.contains(f)) {
            continue;
        }
        let fatal = sysctl.required && found.is_some();
        let problem = SysctlProblem {
            key: sysctl.key.clone(),
            found,
            wanted: sysctl.values.clone(),
            reason: sysctl.reason.clone(),
        };
        if fatal {
            findings.fatal.push(problem);
        } else {
            findings.advisory.push(problem);
        }
    }
    Ok(findings)
}

/// The value with single spaces; none if the setting cannot be read.
fn read(sysctl: &Sysctl) -> Option<String> {
    let key = Path::new(&sysctl.key);
    if !key.components().all(|c| matches!(c, Component::Normal(_))) {
        return None;
    }
    let value = fs::read_to_string(Path::new("/proc/sys").join(key)).ok()?;
    Some(value.split_whitespace().collect::<Vec<_>>().join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sysctl(key: &str, value: &str, required: bool) -> Sysctl {
        Sysctl {
            key: key.into(),
            values: vec![value.into()],
            reason: "it breaks".into(),
            required,
        }
    }

    #[test]
    fn a_wrong_value_is_fatal_only_when_required() {
        let netns = Netns::open(None).unwrap();
        let wrong = |required| vec![sysctl("kernel/ostype", "Plan9", required)];
        let findings = check(&netns, &wrong(true)).unwrap();
        assert_eq!(
            findings.fatal[0].to_string(),
            "`kernel/ostype` is `Linux` and must be `Plan9`: it breaks"
        );
        assert_eq!(
            findings.fatal[0].remedy().unwrap(),
            "sysctl -w kernel/ostype=Plan9"
        );
        let findings = check(&netns, &wrong(false)).unwrap();
        assert_eq!((findings.fatal.len(), findings.advisory.len()), (0, 1));
    }

    #[test]
    fn a_missing_setting_is_a_warning() {
        let netns = Netns::open(None).unwrap();
        for key in ["net/ipv4/conf/nope0/rp_filter", "../../etc/hostname"] {
            let findings = check(&netns, &[sysctl(key, "1", true)]).unwrap();
            assert!(findings.fatal.is_empty());
            assert_eq!(findings.advisory[0].found, None);
        }
    }

    #[test]
    fn a_right_value_is_silent() {
        let netns = Netns::open(None).unwrap();
        let findings = check(&netns, &[sysctl("kernel/ostype", "Linux", true)]).unwrap();
        assert!(findings.fatal.is_empty() && findings.advisory.is_empty());
    }
}
