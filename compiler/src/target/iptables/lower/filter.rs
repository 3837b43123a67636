//! Filter: whether a flow to, through or from this host may be.

use super::{finish, goto, whole};
use crate::ir::Governs;
use crate::target::Capability;
use crate::target::iptables::Build;
use crate::target::iptables::matches::Alt;
use crate::target::iptables::tree::{Line, Table, Test, Then};
use crate::target::netfilter::check;
use crate::target::netfilter::label::ADMITTED;
use crate::target::netfilter::sides::{Hook, Place};

pub(super) fn chains(build: &mut Build) {
    for rule in check::moved_egress(build.ir) {
        build.unsupported(Capability::MovedEgress, rule.span);
    }
    build.table = Table::Filter;
    let Governs {
        input,
        forward,
        output,
    } = build.ir.governs;
    if input {
        chain(build, "POLC-INPUT", "INPUT", Hook::Input);
    }
    if forward {
        chain(build, "POLC-FORWARD", "FORWARD", Hook::Forward);
    }
    if output {
        chain(build, "POLC-OUTPUT", "OUTPUT", Hook::Output);
    }
}

fn chain(build: &mut Build, name: &str, builtin: &'static str, hook: Hook) {
    let ir = build.ir;
    let rules = whole(&ir.filter);
    let lo = build.loopback(hook, rules.iter().copied());
    let names_lo = lo.iter().any(|l| matches!(l.then, Some(Then::Goto(_))));
    let mut judged = Vec::new();
    build.judge_at(&mut judged, hook, &rules);
    finish(&mut judged, Then::Drop);

    let judges_lo = names_lo && hook == Hook::Input;
    let mut lines = Vec::new();
    if !names_lo {
        lines.extend(lo.clone());
    }
    let stateless = stateless(build, hook);
    if stateless.is_empty() {
        lines.extend(flow_lookup(build, judges_lo));
        lines.extend(build.strict_tcp(&[]));
        lines.extend(admitted(build));
        lines.extend(build.unconditional_icmp());
    } else {
        lines.extend(build.unconditional_icmp());
        if let Some(label) = admitted(build) {
            lines.extend(build.strict_tcp(&label.tests));
            lines.push(label);
        }
        let chain = build.chain(&name.to_lowercase(), judged);
        for Alt { tests, excludes } in stateless {
            if excludes.is_empty() {
                lines.push(Line::new(tests, goto(&chain)));
                continue;
            }
            let excluded = |test| Line::new(vec![test], Then::Return);
            let mut inner: Vec<Line> = excludes.into_iter().map(excluded).collect();
            inner.push(Line::new(vec![], goto(&chain)));
            let unless = build.chain("unless", inner);
            lines.push(Line::new(tests, Then::Jump(unless)));
        }
        lines.extend(flow_lookup(build, judges_lo));
        lines.extend(build.strict_tcp(&[]));
        judged = vec![Line::new(vec![], goto(&chain))];
    }
    if names_lo {
        lines.extend(lo);
    }
    lines.extend(judged);
    build.base(name, builtin, lines);
}

/// Packets of flows that were judged before follow them. With `judges_lo` this is the input chain,
/// and rules name loopback traffic, whose flows were confirmed on their way out.
fn flow_lookup(build: &mut Build, judges_lo: bool) -> [Line; 3] {
    let mut confirmed = Line::text("-m conntrack --ctstatus CONFIRMED", Then::Accept);
    if judges_lo {
        let name = "lo".to_owned();
        let elsewhere = Test::In { negate: true, name };
        confirmed.tests.insert(0, elsewhere);
    }
    [
        build.invalid(),
        Line::text("-m conntrack --ctstate ESTABLISHED,RELATED", Then::Accept),
        // The second packet of a flow that nobody has answered yet.
        confirmed,
    ]
}

/// Flows that steer has admitted, if it admits any.
fn admitted(build: &Build) -> Option<Line> {
    let test = format!("-m connlabel --label {ADMITTED}");
    check::admits(build.ir).then(|| Line::text(&test, Then::Accept))
}

/// The conditions of packets that are judged one by one.
fn stateless(build: &mut Build, hook: Hook) -> Vec<Alt> {
    let place = Place {
        hook,
        loopback: false,
    };
    let mut out = Vec::new();
    for scope in check::stateless_scopes(build.ir) {
        out.extend(build.alternatives(&scope, place).list);
    }
    out
}
