//! The table through the `nft` program.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Output;

use polc_bundle::{Object, ObjectKind};
use serde_json::Value;

use super::{Counter, FAMILY, GENERATION_CHAIN, NftError, TABLE, TableAccess, generation_in};
use crate::netns::Netns;
use crate::process;

/// The `nft` program in a network namespace.
#[derive(Debug)]
pub(crate) struct NftBinary<'a> {
    netns: &'a Netns,
}

impl<'a> NftBinary<'a> {
    pub(crate) fn new(netns: &'a Netns) -> Self {
        Self { netns }
    }

    /// Has a script checked by `nft` and the kernel; nothing is changed.
    pub(crate) fn check(&self, script: &str) -> Result<(), NftError> {
        let output = self.run(&["-c", "-f", "-"], Some(script))?;
        succeeded("accept the ruleset", &output).map(|_| ())
    }

    /// Loads a script in one transaction.
    ///
    /// An error does not mean that nothing was changed: `nft` can fail after its commit. Read
    /// the generation back.
    pub(crate) fn load(&self, script: &str) -> Result<(), NftError> {
        let output = self.run(&["-f", "-"], Some(script))?;
        succeeded("load the ruleset", &output).map(|_| ())
    }

    /// The table's named objects of the kinds that a manifest lists; none without table.
    pub(crate) fn objects(&self) -> Result<BTreeSet<Object>, NftError> {
        if !self.exists()? {
            return Ok(BTreeSet::new());
        }
        let arguments = ["-t", "-j", "list", "table", FAMILY, TABLE];
        Ok(self.list(&arguments)?.iter().filter_map(object).collect())
    }

    fn list(&self, arguments: &[&str]) -> Result<Vec<Value>, NftError> {
        let output = self.run(arguments, None)?;
        parse_list(&succeeded("list the table", &output)?)
    }

    fn run(&self, arguments: &[&str], input: Option<&str>) -> Result<Output, NftError> {
        process::run(self.netns, "nft", arguments, input)?.map_err(NftError::Start)
    }
}

impl TableAccess for NftBinary<'_> {
    fn exists(&self) -> Result<bool, NftError> {
        let tables = self.list(&["-j", "list", "tables", FAMILY])?;
        Ok(tables.iter().any(|entry| {
            entry
                .get("table")
                .is_some_and(|table| text(table, "name") == Some(TABLE))
        }))
    }

    fn generation(&self) -> Result<Option<String>, NftError> {
        let chain = Object {
            kind: ObjectKind::Chain,
            name: GENERATION_CHAIN.to_owned(),
        };
        if !self.objects()?.contains(&chain) {
            return Ok(None);
        }
        let rules = self.list(&["-j", "list", "chain", FAMILY, TABLE, GENERATION_CHAIN])?;
        Ok(rules
            .iter()
            .filter_map(|entry| text(entry.get("rule")?, "comment"))
            .find_map(generation_in))
    }

    fn counters(&self) -> Result<BTreeMap<String, Counter>, NftError> {
        if !self.exists()? {
            return Ok(BTreeMap::new());
        }
        let entries = self.list(&["-j", "list", "counters", "table", FAMILY, TABLE])?;
        Ok(entries.iter().filter_map(counter).collect())
    }

    fn delete(&self) -> Result<bool, NftError> {
        if !self.exists()? {
            return Ok(false);
        }
        self.load(&format!("delete table {FAMILY} {TABLE}\n"))?;
        Ok(true)
    }
}

fn succeeded(action: &'static str, output: &Output) -> Result<String, NftError> {
    process::succeeded(output).map_err(|message| NftError::Refused { action, message })
}

fn parse_list(json: &str) -> Result<Vec<Value>, NftError> {
    let unreadable = |e: &dyn std::fmt::Display| NftError::Answer(e.to_string());
    let mut value: Value = serde_json::from_str(json).map_err(|e| unreadable(&e))?;
    match value.get_mut("nftables").map(Value::take) {
        Some(Value::Array(entries)) => Ok(entries),
        _ => Err(unreadable(&"there is no list `nftables` in it")),
    }
}

fn text<'v>(value: &'v Value, key: &str) -> Option<&'v str> {
    value.get(key)?.as_str()
}

fn object(entry: &Value) -> Option<Object> {
    let kinds = [
        ("chain", ObjectKind::Chain),
        ("set", ObjectKind::Set),
        ("map", ObjectKind::Map),
        ("limit", ObjectKind::Limit),
        ("counter", ObjectKind::Counter),
    ];
    kinds.into_iter().find_map(|(key, kind)| {
        Some(Object {
            kind,
            name: text(entry.get(key)?, "name")?.to_owned(),
        })
    })
}

fn counter(entry: &Value) -> Option<(String, Counter)> {
    let object = entry.get("counter")?;
    // `nft` writes figures above the largest signed number as negative ones.
    let signed = |value: &Value| value.as_i64().map(i64::cast_unsigned);
    let number = |key: &str| {
        let value = object.get(key)?;
        value.as_u64().or_else(|| signed(value))
    };
    let figures = Counter {
        packets: number("packets")?,
        bytes: number("bytes")?,
    };
    Some((text(object, "name")?.to_owned(), figures))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn named_objects_are_told_from_rules() {
        let json = r#"{"nftables": [{"metainfo": {"version": "1.0.6"}},
            {"table": {"family": "inet", "name": "polc"}},
            {"chain": {"family": "inet", "table": "polc", "name": "input"}},
            {"rule": {"family": "inet", "chain": "input", "expr": [{"counter": "c"}]}},
            {"map": {"family": "inet", "name": "m", "map": "verdict"}}]}"#;
        let objects: Vec<_> = parse_list(json)
            .unwrap()
            .iter()
            .filter_map(object)
            .collect();
        let named = |kind, name: &str| Object {
            kind,
            name: name.into(),
        };
        assert_eq!(
            objects,
            [
                named(ObjectKind::Chain, "input"),
                named(ObjectKind::Map, "m")
            ]
        );
    }

    #[test]
    fn counters_have_both_figures() {
        let json = r#"{"nftables": [{"counter": {"name": "c1", "packets": 3, "bytes": 180}}]}"#;
        let counters: Vec<_> = parse_list(json)
            .unwrap()
            .iter()
            .filter_map(counter)
            .collect();
        let counted = Counter {
            packets: 3,
            bytes: 180,
        };
        assert_eq!(counters, [("c1".to_owned(), counted)]);
    }

    #[test]
    fn an_unreadable_answer_is_an_error() {
        assert!(matches!(parse_list("nonsense"), Err(NftError::Answer(_))));
        assert!(matches!(parse_list("{}"), Err(NftError::Answer(_))));
    }
}
