//! Reports of what no lint needs to bring about for them to be tried.

use polc_compiler::analyse::lint::Fingerprints;
use polc_compiler::diagnostic::{Code, Diagnostic, Edit, Fix};
use polc_compiler::source::Span;
use polc_compiler::{Options, compile};
use serde_json::Value;

use super::{Checked, Finding, Format, Silence, render};
use crate::config::Config;
use crate::session::{Disk, Session};

const TEXT: &str = "to host {\n  allow ssh\n  allow dns\n  default deny\n}\n";

/// A finding about `allow dns` with everything that one can have, and one of no place.
fn checked() -> Checked {
    let compilation = compile("a b.pol", TEXT, &Disk, &Options::default());
    let file = compilation.policy.file;
    let span = |words: &str| {
        let start = TEXT.find(words).expect("it is there");
        Span::new(file, polc_grammar::span::Span::new(start, start + 5))
    };
    let (ssh, dns) = (span("allow ssh"), span("allow dns"));
    let full = Diagnostic::warning(Code::UnmatchableRule, "never", dns)
        .at("this one")
        .related(ssh, "takes all of it")
        .step(ssh, "`to-host#1` allows it")
        .note("a note")
        .help("delete it")
        .fix(Fix {
            safe: false,
            title: "deny it".to_owned(),
            edits: vec![Edit {
                span: dns,
                text: "deny".to_owned(),
            }],
        });
    let nowhere = Diagnostic {
        labels: Vec::new(),
        ..Diagnostic::error(Code::UnboundParam, "there is no parameter `x`", ssh)
    };
    let fingerprints = Fingerprints::new(&compilation);
    let findings = [(full, Some(Silence::Baseline)), (nowhere, None)];
    let findings = findings.map(|(diagnostic, silence)| Finding {
        fingerprint: fingerprints.of(&diagnostic),
        diagnostic,
        silence,
    });
    Checked {
        findings: findings.into(),
        session: Session {
            config: Config::default(),
            compilation,
        },
    }
}

#[test]
fn sarif_says_all_of_it() {
    let text = render(Format::Sarif, &[checked()]).expect("a log");
    let log: Value = serde_json::from_str(&text).expect("JSON");
    let schema = include_str!("../../tests/cli/schema/sarif-2.1.0-polc.json");
    let schema: Value = serde_json::from_str(schema).expect("JSON");
    let schema = jsonschema::validator_for(&schema).expect("a right schema");
    let errors: Vec<String> = schema.iter_errors(&log).map(|e| e.to_string()).collect();
    assert!(errors.is_empty(), "{errors:#?}");
    let results = &log["runs"][0]["results"];
    let step = &results[0]["codeFlows"][0]["threadFlows"][0]["locations"][0]["location"];
    assert_eq!(step["message"]["text"], "`to-host#1` allows it");
    assert_eq!(step["physicalLocation"]["region"]["startLine"], 2);
    let blocker = &results[0]["relatedLocations"][0];
    assert_eq!(blocker["message"]["text"], "takes all of it");
    assert_eq!(
        results[0]["message"]["text"],
        "never\nnote: a note\nhelp: delete it"
    );
    let change = &results[0]["fixes"][0]["artifactChanges"][0];
    assert_eq!(change["replacements"][0]["insertedContent"]["text"], "deny");
    assert_eq!(results[0]["suppressions"][0]["kind"], "external");
    let place = &results[1]["locations"][0]["physicalLocation"];
    assert_eq!(place["artifactLocation"]["uri"], "a%20b.pol");
    assert_eq!(place.get("region"), None);
}

#[test]
fn what_stands_nowhere_is_reported_all_the_same() {
    let checked = [checked()];
    let text = |format| render(format, &checked).expect("a report");
    assert_eq!(
        text(Format::Concise),
        "error POL008 unbound-param: there is no parameter `x`\n"
    );
    assert_eq!(
        text(Format::Github),
        "::error title=POL008 unbound-param::there is no parameter `x`\n"
    );
    let issues: Value = serde_json::from_str(&text(Format::Gitlab)).expect("JSON");
    assert_eq!(issues[0]["location"]["path"], "a b.pol");
    assert!(text(Format::Junit).contains("POL008 unbound-param a b.pol"));
    assert!(text(Format::Human).contains("there is no parameter `x`"));
}
