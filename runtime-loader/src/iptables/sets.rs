//! Sets of ipset.

use std::collections::BTreeSet;
use std::thread::sleep;
use std::time::Duration;

use super::tools::{if_installed, run};
use super::{IptablesError, SET_PREFIXES, is_plain};
use crate::netns::Netns;

/// The program.
pub(super) const PROGRAM: &str = "ipset";

/// How often the destruction of a set is tried: the kernel lets go of rules, and thereby of their sets, some
/// time after they are gone.
const TRIES: u32 = 25;

/// How long between two tries.
const PAUSE: Duration = Duration::from_millis(20);

/// The policy's sets that the kernel has.
pub(super) fn names(netns: &Netns) -> Result<BTreeSet<String>, IptablesError> {
    let listed = run(netns, "list sets", PROGRAM, &["list", "-name"], None);
    let listed = if_installed(listed)?.unwrap_or_default();
    let ours = listed.lines().filter(|name| is_ours(name));
    Ok(ours.map(str::to_owned).collect())
}

/// Makes and fills sets. What is there with the same name stays, with its contents.
pub(super) fn load(netns: &Netns, text: &str) -> Result<(), IptablesError> {
    if commands(text).next().is_none() {
        return Ok(());
    }
    let arguments = ["restore", "-exist"];
    run(netns, "load sets", PROGRAM, &arguments, Some(text)).map(drop)
}

/// Destroys sets that no rule asks any more; those that stay, each with the reason.
pub(super) fn destroy(netns: &Netns, names: &[String]) -> Vec<(String, String)> {
    let mut left = Vec::new();
    for name in names {
        let destroy = || run(netns, "destroy a set", PROGRAM, &["destroy", name], None);
        let mut outcome = destroy();
        for _ in 1..TRIES {
            if outcome.is_ok() {
                break;
            }
            sleep(PAUSE);
            outcome = destroy();
        }
        left.extend(outcome.err().map(|error| (name.clone(), error.to_string())));
    }
    left
}

/// Whether a text makes and fills nothing but a policy's sets.
pub(super) fn is_own(text: &str) -> bool {
    commands(text).all(|line| {
        let mut words = line.split(' ');
        matches!(words.next(), Some("create" | "add")) && words.next().is_some_and(is_ours)
    })
}

fn commands(text: &str) -> impl Iterator<Item = &str> {
    let lines = text.lines();
    lines.filter(|line| !line.is_empty() && !line.starts_with('#'))
}

fn is_ours(name: &str) -> bool {
    SET_PREFIXES.iter().any(|prefix| name.starts_with(prefix)) && is_plain(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_of_others_are_not_for_a_bundle_to_fill() {
        assert!(is_own(""));
        assert!(is_own(
            "# sets\ncreate polc4-a-01 hash:net family inet\nadd polc4-a-01 10.0.0.0/8\n"
        ));
        for text in [
            "add blocklist 10.0.0.1",
            "flush polc4-a",
            "destroy",
            "create polc4-a\"b hash:net",
        ] {
            assert!(!is_own(text), "{text}");
        }
    }
}
