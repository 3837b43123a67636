//! The programs of one variant.

use std::io;

use polc_bundle::Family;

use super::{IptablesError, Variant};
use crate::netns::Netns;
use crate::process;

/// Both families, in the order in which they are changed.
pub(super) const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

/// How long a program waits for another one that changes rules, in seconds.
const WAIT: &str = "10";

/// The programs of one variant in a network namespace.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tools<'a> {
    pub(crate) netns: &'a Netns,
    pub(crate) variant: Variant,
}

impl Tools<'_> {
    /// Every rule, chain and counter of a family, as `iptables-save -c` writes them.
    pub(super) fn save(&self, family: Family) -> Result<String, IptablesError> {
        self.run("list rules", family, "save", &["-c"], None)
    }

    /// Has a text carried out, each of its tables in one commit. Chains that it does not
    /// declare stay.
    pub(super) fn restore(&self, family: Family, text: &str) -> Result<(), IptablesError> {
        let arguments = ["--noflush", "--wait", WAIT];
        self.run("load rules", family, "restore", &arguments, Some(text))
            .map(drop)
    }

    fn run(
        &self,
        action: &'static str,
        family: Family,
        what: &str,
        arguments: &[&str],
        input: Option<&str>,
    ) -> Result<String, IptablesError> {
        let program = format!("{}-{}-{what}", tool(family), self.variant.name());
        run(self.netns, action, &program, arguments, input)
    }
}

/// The variant of the program that is called `iptables` here.
pub(super) fn usual(netns: &Netns) -> Result<Variant, IptablesError> {
    let said = run(netns, "say its version", "iptables", &["--version"], None)?;
    Ok(if said.contains("nf_tables") {
        Variant::Nft
    } else {
        Variant::Legacy
    })
}

pub(super) fn tool(family: Family) -> &'static str {
    match family {
        Family::V4 => "iptables",
        Family::V6 => "ip6tables",
    }
}

/// Runs a program to its end; what it said on its standard output.
pub(super) fn run(
    netns: &Netns,
    action: &'static str,
    program: &str,
    arguments: &[&str],
    input: Option<&str>,
) -> Result<String, IptablesError> {
    let started: io::Result<_> = process::run(netns, program, arguments, input)?;
    let output = started.map_err(|source| IptablesError::Start {
        program: program.to_owned(),
        source,
    })?;
    process::succeeded(&output).map_err(|message| IptablesError::Refused {
        program: program.to_owned(),
        action,
        message,
    })
}

/// An answer, or none if the program is not installed.
pub(super) fn if_installed<T>(
    answer: Result<T, IptablesError>,
) -> Result<Option<T>, IptablesError> {
    match answer {
        Err(IptablesError::Start { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            Ok(None)
        }
        other => other.map(Some),
    }
}
