//! A case for each kind of change and each stage.

use super::{Diff, Kind, Limits, diff};
use crate::{Compilation, Files, Options, compile};

struct NoFiles;

impl Files for NoFiles {
    fn read(&self, path: &str) -> std::io::Result<String> {
        Err(std::io::Error::other(path.to_owned()))
    }
}

fn compiled(text: &str) -> Compilation {
    let options = Options {
        as_of: "2026-01-01".to_owned(),
        ..Options::default()
    };
    let out = compile("p.pol", text, &NoFiles, &options);
    assert!(out.ir.is_some(), "{:?}\n{text}", out.diagnostics);
    out
}

fn difference(a: &str, b: &str) -> Diff {
    let (a, b) = (compiled(a), compiled(b));
    let out = diff(
        (&a.policy, a.ir.as_ref().unwrap()),
        (&b.policy, b.ir.as_ref().unwrap()),
        Limits::default(),
    );
    assert!(out.defects.is_empty(), "{:?}", out.defects);
    out
}

/// Each change as its kind and its count.
fn summary(a: &str, b: &str) -> Vec<(Kind, String)> {
    let out = difference(a, b);
    assert_eq!(out.unknown, None);
    let changes = out.changes.iter();
    changes
        .map(|c| (c.kind, c.count.as_ref().unwrap().to_string()))
        .collect()
}

fn one(kind: Kind, count: u128) -> Vec<(Kind, String)> {
    vec![(kind, count.to_string())]
}

const PORTS: u128 = 65536;
const V4: u128 = 1 << 32;

#[test]
fn what_is_written_otherwise_is_the_same() {
    let a = "to host { allow ssh from 10.0.0.0/8 as a  allow web as b  default deny }";
    let b = "set n = { 10.0.0.0/9, 10.128.0.0/9 }\n\
             to host { allow web as b2 owner x  allow tcp/22 from @n as a  default deny }";
    let out = difference(a, b);
    assert!(out.is_equal());
    assert!(difference(a, a).is_equal());
}

#[test]
fn a_rule_that_is_added_allows() {
    let a = "to host { allow ssh  default deny }";
    let b = "to host { allow ssh  allow tcp/80 from 10.0.0.0/8 only v4  default deny }";
    assert_eq!(summary(a, b), one(Kind::Allowed, (1 << 24) * V4 * PORTS));
    assert_eq!(summary(b, a), one(Kind::Denied, (1 << 24) * V4 * PORTS));
    let c = "to host { allow ssh  reject tcp/80 from 10.0.0.0/8 only v4  default deny }";
    assert_eq!(summary(a, c), one(Kind::Refused, (1 << 24) * V4 * PORTS));
}
