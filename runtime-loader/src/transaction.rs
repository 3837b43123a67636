//! The one text that takes the kernel's table from what it holds to what a bundle says.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use polc_bundle::{Bundle, Object, ObjectKind};

use crate::nft::{FAMILY, TABLE};

/// The script in a bundle.
pub(crate) const SCRIPT: &str = "policy.nft";

/// The target whose bundles have a script.
pub(crate) const TARGET: &str = "nftables";

/// How every script begins. It keeps base chains in place and touches no table but one.
const HEAD: &str = "table inet polc {\n}\nflush table inet polc\n";

/// Why a bundle is not one to load.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BundleProblem {
    /// It was built for something else.
    #[error(
        "the bundle was built for the target `{found}`, this loader applies `{TARGET}`, `{}` and `{}`",
        crate::iptables::TARGET,
        crate::ebpf::TARGET
    )]
    Target {
        /// What for.
        found: String,
    },
    /// There is no script in it.
    #[error("the bundle has no file `{SCRIPT}`")]
    NoScript,
    /// There is no object in it.
    #[error("the bundle has no file `{}`", crate::ebpf::load::OBJECT)]
    NoObject,
    /// The script does not begin as it must.
    #[error("`{SCRIPT}` does not begin by opening and flushing the table `{FAMILY} {TABLE}`")]
    Head,
    /// The kernel's table holds a name that cannot be written in a script.
    #[error("the table `{FAMILY} {TABLE}` holds an object with the odd name `{name}`")]
    OddName {
        /// The name.
        name: String,
    },
}

/// The script of a bundle that this loader may load.
pub(crate) fn script(bundle: &Bundle) -> Result<&str, BundleProblem> {
    let target = &bundle.manifest().target;
    if target != TARGET {
        return Err(BundleProblem::Target {
            found: target.clone(),
        });
    }
    let script = bundle.file(SCRIPT).ok_or(BundleProblem::NoScript)?;
    let body = skip_comments(script);
    if body.starts_with(HEAD) {
        Ok(script)
    } else {
        Err(BundleProblem::Head)
    }
}

/// The objects in the kernel's table that the bundle does not list, in the order in which they
/// can be deleted: maps first, because their verdicts refer to chains, then what only rules
/// refer to.
pub(crate) fn stale(bundle: &Bundle, present: &BTreeSet<Object>) -> Vec<Object> {
    let wanted: BTreeSet<_> = bundle.manifest().objects.iter().collect();
    let order = [
        ObjectKind::Map,
        ObjectKind::Chain,
        ObjectKind::Set,
        ObjectKind::Limit,
        ObjectKind::Counter,
    ];
    let of_kind = |kind| {
        present
            .iter()
            .filter(move |object| object.kind == kind)
            .filter(|object| !wanted.contains(object))
    };
    order.into_iter().flat_map(of_kind).cloned().collect()
}

/// The whole transaction: the bundle's script, then the deletion of what is stale.
pub(crate) fn text(script: &str, stale: &[Object]) -> Result<String, BundleProblem> {
    let mut text = script.to_owned();
    if !text.ends_with('\n') {
        text.push('\n');
    }
    for object in stale {
        let name = &object.name;
        if !is_identifier(name) {
            return Err(BundleProblem::OddName { name: name.clone() });
        }
        // Writing to a `String` cannot fail.
        let _ = writeln!(
            text,
            "delete {} {FAMILY} {TABLE} {name}",
            object.kind.word()
        );
    }
    Ok(text)
}

/// Whether `nft` reads `name` as one word that is not a number.
fn is_identifier(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/' | '\\'))
}

fn skip_comments(mut script: &str) -> &str {
    while script.starts_with(['#', '\n']) {
        script = script.split_once('\n').map_or("", |(_, rest)| rest);
    }
    script
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn bundle(target: &str, script: &str, objects: Vec<Object>) -> Bundle {
        let mut manifest = crate::testing::manifest();
        manifest.target = target.into();
        manifest.objects = objects;
        let files = BTreeMap::from([(SCRIPT.to_owned(), script.to_owned())]);
        Bundle::new(manifest, files).unwrap()
    }

    fn object(kind: ObjectKind, name: &str) -> Object {
        Object {
            kind,
            name: name.into(),
        }
    }

    #[test]
    fn only_scripts_for_the_one_table_are_loaded() {
        let with_comment = format!("# by polc\n\n{HEAD}");
        assert!(script(&bundle(TARGET, &with_comment, vec![])).is_ok());
        assert_eq!(
            script(&bundle(TARGET, "flush ruleset\n", vec![])),
            Err(BundleProblem::Head)
        );
        assert!(matches!(
            script(&bundle("other", HEAD, vec![])),
            Err(BundleProblem::Target { found }) if found == "other"
        ));
    }

    #[test]
    fn stale_objects_go_in_an_order_that_works() {
        let kept = object(ObjectKind::Set, "kept");
        let bundle = bundle(TARGET, HEAD, vec![kept.clone()]);
        let present = BTreeSet::from([
            object(ObjectKind::Counter, "c"),
            object(ObjectKind::Limit, "l"),
            object(ObjectKind::Chain, "kept"),
            object(ObjectKind::Map, "m"),
            object(ObjectKind::Set, "s"),
            kept,
        ]);
        let stale = stale(&bundle, &present);
        let text = text(HEAD, &stale).unwrap();
        assert_eq!(
            text.strip_prefix(HEAD).unwrap(),
            "delete map inet polc m\n\
             delete chain inet polc kept\n\
             delete set inet polc s\n\
             delete limit inet polc l\n\
             delete counter inet polc c\n"
        );
    }

    #[test]
    fn a_name_from_the_kernel_is_never_a_command() {
        let odd = [object(ObjectKind::Set, "x; flush ruleset")];
        assert!(matches!(
            text(HEAD, &odd),
            Err(BundleProblem::OddName { .. })
        ));
    }
}
