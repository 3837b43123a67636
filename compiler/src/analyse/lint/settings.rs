//! What a policy repository says about lint: which codes, how bad they are, and what lints need to
//! know of the network.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde::de::{Deserialize, Deserializer, Error as _};

use super::{Meta, Persona, lookup};
use crate::diagnostic::{Code, Diagnostic, Severity};
use crate::packet::{AddrSet, IntervalSet};

/// The settings of lint. Each has a default.
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// How much to say.
    pub persona: Persona,
    /// How bad a code is; a code named here is on, whatever the persona.
    pub levels: BTreeMap<Rule, Level>,
    /// Codes that no comment can silence.
    pub never_suppress: Vec<Rule>,
    /// The addresses of one's own networks.
    #[serde(rename = "own_prefixes", deserialize_with = "addresses")]
    pub own: AddrSet,
    /// The zones behind which anybody can be. When there are none: every zone that has no `net`
    /// and is called `wan`, `world`, `internet`, `outside` or `external`.
    #[serde(rename = "world_zones")]
    pub world: Vec<String>,
    /// TCP ports by which machines are administered.
    #[serde(deserialize_with = "ports")]
    pub admin_ports: IntervalSet<u64>,
    /// The oldest kernel that a policy is loaded into: major and minor version.
    #[serde(deserialize_with = "version")]
    pub min_kernel: (u32, u32),
    /// Where the pages of `docs/lints/` can be read; reports link to `POL107.md` and so on below it.
    pub docs_url: Option<String>,
    /// The only codes to look for, whatever the persona; all when empty. Asked for on the command
    /// line.
    #[serde(skip)]
    pub only: BTreeSet<Rule>,
}

/// The ports that administer machines, clusters and stores of data.
const ADMIN_PORTS: &[u64] = &[
    22, 23, 2375, 2379, 3306, 3389, 5432, 5900, 6379, 6443, 9200, 10250, 11211, 27017,
];

impl Default for Settings {
    fn default() -> Self {
        Self {
            persona: Persona::default(),
            levels: BTreeMap::new(),
            never_suppress: Vec::new(),
            own: AddrSet::empty(),
            world: Vec::new(),
            admin_ports: port_set(ADMIN_PORTS),
            min_kernel: (5, 10),
            docs_url: None,
            only: BTreeSet::new(),
        }
    }
}

impl Settings {
    /// Whether a code is to be looked for.
    pub fn wants(&self, meta: &'static Meta) -> bool {
        let rule = Rule(meta);
        if !self.only.is_empty() {
            return self.only.contains(&rule);
        }
        match self.levels.get(&rule) {
            Some(level) => *level != Level::Off,
            None => meta.persona <= self.persona,
        }
    }

    /// Gives a finding the severity that is asked for; whether it is to be shown. What keeps a
    /// policy from compiling stays an error.
    pub(super) fn admits(&self, finding: &mut Diagnostic) -> bool {
        let fatal = !matches!(finding.code, Code::Lint(_)) && finding.severity == Severity::Error;
        let Some(meta) = super::find(finding.code.id()).filter(|_| !fatal) else {
            return true;
        };
        let level = self.levels.get(&Rule(meta)).and_then(|l| l.severity());
        finding.severity = level.unwrap_or(finding.severity);
        self.wants(meta)
    }
}

/// A code, written by its number or name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rule(pub &'static Meta);

impl<'de> Deserialize<'de> for Rule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let word = String::deserialize(deserializer)?;
        lookup(&word).map(Self).map_err(D::Error::custom)
    }
}

/// How bad a code is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Not looked for.
    Off,
    /// Worth knowing.
    Note,
    /// Probably not what was meant.
    Warning,
    /// Wrong.
    Error,
}

impl Level {
    /// The severity; `None` when it is off.
    pub fn severity(self) -> Option<Severity> {
        match self {
            Self::Off => None,
            Self::Note => Some(Severity::Note),
            Self::Warning => Some(Severity::Warning),
            Self::Error => Some(Severity::Error),
        }
    }
}

fn addresses<'de, D: Deserializer<'de>>(deserializer: D) -> Result<AddrSet, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    texts.iter().try_fold(AddrSet::empty(), |set, text| {
        let wrong = || D::Error::custom(format!("`{text}` is not an address or prefix"));
        let one = prefix(text).ok_or_else(wrong)?;
        Ok(set.union(&one))
    })
}

/// The addresses of `192.0.2.0/24` or `192.0.2.1`.
fn prefix(text: &str) -> Option<AddrSet> {
    let (addr, len) = match text.split_once('/') {
        Some((addr, len)) => (addr, Some(len)),
        None => (text, None),
    };
    let addr: IpAddr = addr.parse().ok()?;
    match len {
        Some(len) => AddrSet::prefix(addr, len.parse().ok()?),
        None => Some(AddrSet::one(addr)),
    }
}

fn ports<'de, D: Deserializer<'de>>(deserializer: D) -> Result<IntervalSet<u64>, D::Error> {
    let ports = Vec::<u16>::deserialize(deserializer)?;
    Ok(port_set(
        &ports.into_iter().map(u64::from).collect::<Vec<_>>(),
    ))
}

fn port_set(ports: &[u64]) -> IntervalSet<u64> {
    IntervalSet::from_ranges(ports.iter().map(|port| (*port, *port)).collect())
}

/// `5.10`; in YAML, a text: the number 5.10 would be 5.1.
fn version<'de, D: Deserializer<'de>>(deserializer: D) -> Result<(u32, u32), D::Error> {
    let text = String::deserialize(deserializer)?;
    let wrong = || {
        D::Error::custom(format!(
            "`{text}` is not a kernel version such as `\"5.10\"`"
        ))
    };
    let (major, minor) = text.split_once('.').ok_or_else(wrong)?;
    let number = |text: &str| text.parse().map_err(|_| wrong());
    Ok((number(major)?, number(minor)?))
}
