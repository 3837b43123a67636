//! `polc.yaml`: the settings of a policy repository.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use polc_compiler::analyse::lint;
use serde::Deserialize;

use crate::exit::Error;

/// The name of the file.
const NAME: &str = "polc.yaml";

/// What the file can say. Everything has a default.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Config {
    /// The targets that `polc check` compiles for.
    pub(crate) targets: Vec<String>,
    /// Values of parameters; the command line's `--param` goes before them.
    pub(crate) params: BTreeMap<String, String>,
    /// Numbers of users that policies name.
    pub(crate) users: BTreeMap<String, u32>,
    /// Numbers of groups that policies name.
    pub(crate) groups: BTreeMap<String, u32>,
    /// The group that log entries go to.
    pub(crate) log_group: u16,
    /// Whether every rule counts, not only those that say `count`.
    pub(crate) count_all: bool,
    /// How a rule's table of keys is sized when the policy does not say.
    pub(crate) max_keys: u32,
    /// How many flows programs remember: so many that were answered, and so many that were not.
    pub(crate) max_flows: u32,
    /// What `polc lint` looks for, and what it has to know.
    pub(crate) lint: lint::Settings,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            targets: vec!["nftables".to_owned()],
            params: BTreeMap::new(),
            users: BTreeMap::new(),
            groups: BTreeMap::new(),
            log_group: 5,
            count_all: false,
            max_keys: 65_536,
            max_flows: 131_072,
            lint: lint::Settings::default(),
        }
    }
}

impl Config {
    /// The settings for a policy: those of the nearest `polc.yaml` in its directory or above, or
    /// the defaults.
    pub(crate) fn of(policy: &Path) -> Result<Self, Error> {
        let Some(path) = find(policy) else {
            return Ok(Self::default());
        };
        let wrong = |what: String| Error::Usage(format!("`{}`: {what}", path.display()));
        let text = std::fs::read_to_string(&path).map_err(|e| wrong(e.to_string()))?;
        serde_yaml::from_str(&text).map_err(|e| wrong(e.to_string()))
    }
}

fn find(policy: &Path) -> Option<PathBuf> {
    let absolute = std::path::absolute(policy).ok()?;
    absolute
        .ancestors()
        .skip(1)
        .map(|dir| dir.join(NAME))
        .find(|path| path.is_file())
}
