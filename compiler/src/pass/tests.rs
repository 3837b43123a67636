//! Checks that inline tests speak of things that the policy has.

use polc_grammar::ast::{Flow, Qualifier, Spanned, TestStep};

use crate::diagnostic::{Code, Diagnostic};
use crate::field::{PROTOCOLS, protocol_number, type_names, type_numbers};
use crate::ir::Ir;
use crate::policy::{Policy, Test};
use crate::resolve::nearest;
use crate::source::Span;

/// Reports rules and proxies that tests name and nothing defines, and protocols that do not exist.
pub fn check(policy: &Policy, ir: &Ir, diagnostics: &mut Vec<Diagnostic>) {
    for test in &policy.tests {
        for step in &test.test.steps {
            let (flow, qualifiers) = match &step.node {
                TestStep::Expect {
                    flow, qualifiers, ..
                }
                | TestStep::Send {
                    flow, qualifiers, ..
                } => (flow, qualifiers),
            };
            check_flow(flow, test, diagnostics);
            for qualifier in qualifiers {
                check_qualifier(qualifier, test, ir, diagnostics);
            }
        }
    }
}

fn check_flow(flow: &Flow, test: &Test, diagnostics: &mut Vec<Diagnostic>) {
    let (proto, kind) = match flow.proto.node.split_once('/') {
        Some((proto, kind)) => (proto, Some(kind)),
        None => (flow.proto.node.as_str(), None),
    };
    let span = Span {
        file: test.span.file,
        start: flow.proto.span.start,
        end: flow.proto.span.end,
    };
    let known = protocol_number(proto).is_some() || proto == "proto";
    if !known {
        let title = format!("there is no protocol `{proto}`");
        let names: Vec<String> = PROTOCOLS.iter().map(|(n, _)| (*n).to_owned()).collect();
        diagnostics.push(unknown(title, proto, &names, span));
    }
    let number = |text: &str| text.parse::<u8>().is_ok();
    if proto == "proto" && !kind.is_some_and(number) {
        let title = "`proto` needs a number from 0 to 255";
        diagnostics
            .push(Diagnostic::error(Code::BadExpectation, title, span).help("write `proto/47`"));
    }
    let icmp = matches!(proto, "icmp" | "icmpv6");
    if let Some(kind) = kind
        && icmp
        && type_numbers(kind).is_none()
    {
        let title = format!("there is no ICMP type `{kind}`");
        let names: Vec<String> = type_names().map(str::to_owned).collect();
        diagnostics.push(unknown(title, kind, &names, span));
    }
}

fn check_qualifier(
    qualifier: &Spanned<Qualifier>,
    test: &Test,
    ir: &Ir,
    diagnostics: &mut Vec<Diagnostic>,
) {
    let (kind, name) = match &qualifier.node {
        Qualifier::Rule(name) => ("rule", name),
        Qualifier::Via(name) => ("proxy", name),
        _ => return,
    };
    let names: Vec<String> = match kind {
        "rule" => ir.rules().map(|(_, r)| r.name.to_string()).collect(),
        _ => ir.proxies.iter().map(|p| p.name.to_string()).collect(),
    };
    if !names.contains(&name.node) {
        let span = Span {
            file: test.span.file,
            start: name.span.start,
            end: name.span.end,
        };
        let title = format!("there is no {kind} `{}`", name.node);
        diagnostics.push(unknown(title, &name.node, &names, span));
    }
}

fn unknown(title: String, name: &str, names: &[String], span: Span) -> Diagnostic {
    let diagnostic = Diagnostic::error(Code::BadExpectation, title, span);
    match (nearest(name, names), names) {
        (Some(near), _) => diagnostic.help(format!("did you mean `{near}`?")),
        (None, []) => diagnostic.help("the policy has none"),
        (None, _) => diagnostic.help(format!("there are `{}`", names.join("`, `"))),
    }
}
