//! SARIF 2.1.0, as code scanning services read it.
//!
//! Rules are all codes that have a page, so that their indices do not depend on what was found; codes
//! of the compiler without a page follow when they are needed.

use std::collections::BTreeMap;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use polc_compiler::analyse::lint::{self, Meta};
use polc_compiler::diagnostic::{Code, Diagnostic, Fix, FlowStep, Label, Precision, Severity};
use polc_compiler::source::{SourceMap, Span};
use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{Checked, Finding, Identities, Place, Silence, message};

const SCHEMA: &str =
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json";

/// The most locations of a result, and steps of a packet's way, that services keep.
const MOST: usize = 1000;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Log {
    #[serde(rename = "$schema")]
    schema: &'static str,
    version: &'static str,
    runs: [Run; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Run {
    tool: Value,
    column_kind: &'static str,
    results: Vec<Found>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Found {
    rule_id: &'static str,
    rule_index: usize,
    level: &'static str,
    message: Value,
    locations: Vec<Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    related_locations: Vec<Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    code_flows: Vec<Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    fixes: Vec<Value>,
    partial_fingerprints: BTreeMap<&'static str, String>,
    suppressions: Vec<Value>,
}

/// The rules of the log: id and description, with the place of each.
#[derive(Default)]
struct Rules {
    indices: BTreeMap<&'static str, usize>,
    list: Vec<Value>,
}

impl Rules {
    fn add(&mut self, id: &'static str, rule: Value) {
        self.indices.insert(id, self.list.len());
        self.list.push(rule);
    }

    fn index(&mut self, code: Code) -> usize {
        if !self.indices.contains_key(code.id()) {
            self.add(code.id(), plain_rule(code));
        }
        self.indices.get(code.id()).copied().unwrap_or_default()
    }
}

pub(super) fn render(checked: &[Checked]) -> Result<String, serde_json::Error> {
    let mut rules = Rules::default();
    let settings = checked.first().map(|c| &c.session.config.lint);
    let docs = settings.and_then(|s| s.docs_url.as_deref());
    for meta in lint::all() {
        rules.add(meta.id, rule(meta, docs));
    }
    let mut identities = Identities::default();
    let mut results = Vec::new();
    for checked in checked {
        for finding in &checked.findings {
            let rule_index = rules.index(finding.diagnostic.code);
            results.push(found(checked, finding, rule_index, &mut identities));
        }
    }
    let log = Log {
        schema: SCHEMA,
        version: "2.1.0",
        runs: [Run {
            tool: json!({ "driver": {
                "name": "polc",
                "version": env!("CARGO_PKG_VERSION"),
                "semanticVersion": env!("CARGO_PKG_VERSION"),
                "rules": rules.list,
            }}),
            column_kind: "unicodeCodePoints",
            results,
        }],
    };
    serde_json::to_string_pretty(&log).map(|text| text + "\n")
}

fn rule(meta: &'static Meta, docs: Option<&str>) -> Value {
    let page = meta.page();
    let about = page.split("\n## ").next().unwrap_or(&page).trim();
    let precision = match meta.precision {
        Precision::Exact => "very-high",
        Precision::Syntactic => "high",
        Precision::Heuristic => "medium",
    };
    let mut rule = json!({
        "id": meta.id,
        "name": meta.name,
        "shortDescription": { "text": meta.summary },
        "fullDescription": { "text": about },
        "help": { "text": page, "markdown": meta.document() },
        "defaultConfiguration": {
            "enabled": meta.persona == lint::Persona::Default,
            "level": level(meta.severity),
        },
        "properties": {
            "tags": [meta.tag(), meta.persona.name()],
            "precision": precision,
        },
    });
    if let (Some(docs), Some(rule)) = (docs, rule.as_object_mut()) {
        let uri = format!("{}/{}.md", docs.trim_end_matches('/'), meta.id);
        rule.insert("helpUri".to_owned(), uri.into());
    }
    rule
}

/// A code of the compiler without a page.
fn plain_rule(code: Code) -> Value {
    json!({
        "id": code.id(),
        "name": code.name(),
        "shortDescription": { "text": code.summary() },
        "fullDescription": { "text": code.summary() },
        "help": { "text": code.summary() },
        "defaultConfiguration": { "level": "error" },
        "properties": { "tags": ["language"], "precision": "very-high" },
    })
}

fn level(severity: Severity) -> &'static str {
    severity.name()
}

fn found(
    checked: &Checked,
    finding: &Finding,
    rule_index: usize,
    identities: &mut Identities,
) -> Found {
    let (d, sources) = (&finding.diagnostic, checked.sources());
    let primary = match d.labels.first() {
        Some(label) => location(label, sources),
        None => json!({ "physicalLocation": { "artifactLocation": artifact(&checked.file()) } }),
    };
    let others = d.labels.iter().skip(1).chain(&d.related).take(MOST);
    let related = others.zip(1..).map(|(label, id)| {
        let mut place = location(label, sources);
        if let Some(place) = place.as_object_mut() {
            place.insert("id".to_owned(), id.into());
        }
        place
    });
    let mut partial_fingerprints =
        BTreeMap::from([("polcFingerprint/v1", identities.id(&finding.fingerprint))]);
    if let Some(hash) = d.place().map(|place| line_hash(place, sources)) {
        partial_fingerprints.insert("primaryLocationLineHash", hash);
    }
    Found {
        rule_id: d.code.id(),
        rule_index,
        level: level(d.severity),
        message: json!({ "text": message(d) }),
        locations: vec![primary],
        related_locations: related.collect(),
        code_flows: code_flow(d, sources).into_iter().collect(),
        fixes: d.fix.iter().map(|f| fix(f, sources)).collect(),
        partial_fingerprints,
        suppressions: finding.silence.iter().map(suppression).collect(),
    }
}

fn location(label: &Label, sources: &SourceMap) -> Value {
    let mut location = json!({ "physicalLocation": physical(label.span, sources) });
    if let (false, Some(location)) = (label.text.is_empty(), location.as_object_mut()) {
        location.insert("message".to_owned(), json!({ "text": label.text }));
    }
    location
}

fn physical(span: Span, sources: &SourceMap) -> Value {
    let place = Place::of(span, sources);
    json!({ "artifactLocation": artifact(&place.file), "region": region(&place) })
}

fn region(place: &Place) -> Value {
    json!({
        "startLine": place.line,
        "startColumn": place.column,
        "endLine": place.end_line,
        "endColumn": place.end_column,
    })
}

/// What stands for itself in the path of a URI.
const PATH: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'/')
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// A file: relative to the working directory, or absolute when it is not below it.
fn artifact(name: &str) -> Value {
    let path = utf8_percent_encode(name, PATH);
    if name.starts_with('/') {
        json!({ "uri": format!("file://{path}") })
    } else {
        json!({ "uri": path.to_string() })
    }
}

fn code_flow(diagnostic: &Diagnostic, sources: &SourceMap) -> Option<Value> {
    let step = |step: &FlowStep| {
        let text = json!({ "text": step.text });
        json!({ "location": { "physicalLocation": physical(step.span, sources), "message": text } })
    };
    let steps: Vec<Value> = diagnostic.flow.iter().take(MOST).map(step).collect();
    (!steps.is_empty()).then(|| json!({ "threadFlows": [{ "locations": steps }] }))
}

fn fix(fix: &Fix, sources: &SourceMap) -> Value {
    let mut files: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for edit in &fix.edits {
        let place = Place::of(edit.span, sources);
        let replacement = json!({
            "deletedRegion": region(&place),
            "insertedContent": { "text": edit.text },
        });
        files.entry(place.file).or_default().push(replacement);
    }
    let changes = files.iter().map(|(file, replacements)| {
        json!({ "artifactLocation": artifact(file), "replacements": replacements })
    });
    json!({
        "description": { "text": fix.title },
        "artifactChanges": changes.collect::<Vec<_>>(),
    })
}

fn suppression(silence: &Silence) -> Value {
    match silence {
        Silence::Comment(Some(reason)) => json!({ "kind": "inSource", "justification": reason }),
        Silence::Comment(None) => json!({ "kind": "inSource" }),
        Silence::Baseline => json!({ "kind": "external", "justification": "in the baseline" }),
    }
}

/// A hash of the line's text, with the how-manieth line of this text it is.
fn line_hash(place: Span, sources: &SourceMap) -> String {
    let text = sources.get(place.file).map_or("", |s| &s.text);
    let (line, _) = sources.position(place);
    let lines: Vec<&str> = text.lines().map(str::trim).take(line).collect();
    let own = lines.last().copied().unwrap_or_default();
    let nth = lines.iter().filter(|l| **l == own).count().max(1);
    let digest = Sha256::digest(own.as_bytes());
    let bytes = digest.iter().take(8);
    let hash = bytes.fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
    format!("{hash}:{nth}")
}
