//! What the mangle chain and the NAT chain each do of the rules: see
//! [`netfilter::steer`](crate::target::netfilter::steer).

use super::{finish, for_protocols, goto};
use crate::ir::Mark;
use crate::target::iptables::Build;
use crate::target::iptables::action::set_mark;
use crate::target::iptables::tree::{Line, Table, Test, Then};
use crate::target::netfilter::check;
use crate::target::netfilter::label::OWN;
use crate::target::netfilter::sides::Hook;
use crate::target::netfilter::steer::{
    Labels, OUT, PRE, Plan, Restored, marks, of_host, plan, protocols,
};
use crate::target::{Capability, strict};

pub(super) fn chains(build: &mut Build) {
    let marks = marks(build.ir);
    build.table = Table::Mangle;
    build.proxy_chains();
    for rule in strict::moves(build.ir) {
        build.unsupported(Capability::StrictMoved, rule.span);
    }
    for rule in strict::remembers(build.ir) {
        build.unsupported(Capability::StrictAsked, rule.span);
    }
    if !build.ir.steer.is_empty() || build.notes_own {
        build.features.add("connlabel", "3.9");
    }
    let mut labels = Labels::new();
    for pair in [PRE, OUT] {
        let plan = plan(build.ir, &pair, &mut labels, !marks.is_empty());
        if let Some(span) = plan.excess {
            build.unsupported(Capability::ManyLimitedNat, span);
        }
        let arriving = pair.mangle == Hook::SteerPre;
        build.arriving = arriving;
        build.table = Table::Mangle;
        if arriving && plan.mangle {
            let lines = steer_pre(build, &plan, &marks);
            build.base("POLC-STEER-PRE", "PREROUTING", lines);
        } else if !arriving && (plan.mangle || build.notes_own) {
            let lines = steer_out(build, &plan, &marks);
            build.base("POLC-STEER-OUT", "OUTPUT", lines);
        }
        if plan.last_nat.is_some() {
            build.table = Table::Nat;
            build.features.add("NAT of IPv6", "3.7");
            let mut lines = build.loopback(pair.nat, plan.nat.iter().copied());
            build.judge_at(&mut lines, pair.nat, &plan.nat);
            finish(&mut lines, Then::Leave);
            if arriving {
                build.base("POLC-NAT-PRE", "PREROUTING", lines);
            } else {
                build.base("POLC-NAT-OUT", "OUTPUT", lines);
            }
        }
    }
}

/// Gives packets the marks of their flows again.
fn restore(marks: &[Restored], original: bool) -> Vec<Line> {
    let line = |r: &Restored| {
        let mut tests = vec![flow_mark(r.mark)];
        if original {
            tests.insert(0, Test::Text(ORIGINAL.to_owned()));
        }
        let set = set_mark(r.mark, false);
        set.into_iter().map(move |line| Line {
            tests: tests.clone(),
            ..line
        })
    };
    let wanted = marks.iter().filter(|r| r.original == original);
    wanted.flat_map(line).collect()
}

/// What belongs to no flow and opens none is not steered. Filter refuses it where it governs.
const NOT_STEERED: &str = "-m conntrack --ctstate INVALID";

const ORIGINAL: &str = "-m conntrack --ctdir ORIGINAL";

fn flow_mark(Mark { value, mask }: Mark) -> Test {
    Test::Text(format!("-m connmark --mark {:#x}/{mask:#x}", value & mask))
}

fn steer_pre(build: &mut Build, plan: &Plan, marks: &[Restored]) -> Vec<Line> {
    let ir = build.ir;
    let mut lines = Vec::new();
    let own = of_host(ir);
    let chains = build.proxy_chains.clone();
    for (id, (proxy, chain)) in ir.proxies.iter().zip(&chains).enumerate() {
        if own.contains(&id) {
            let Mark { value, mask } = proxy.mark;
            let mark = format!("-m mark --mark {:#x}/{mask:#x}", value & mask);
            let name = "lo".to_owned();
            let negate = false;
            let tests = vec![Test::In { negate, name }, Test::Text(mark)];
            let line = Line::new(tests, goto(chain));
            lines.extend(for_protocols(&protocols(proxy), &line));
        }
    }
    lines.extend(build.loopback(Hook::SteerPre, plan.in_mangle.iter().copied()));
    // Beside its meaning, this line keeps connection tracking in use.
    lines.push(invalid(build));
    // Before packets of a proxy's flows leave the chain.
    lines.extend(restore(marks, false));
    lines.extend(restore(marks, true));
    for (proxy, chain) in ir.proxies.iter().zip(&chains) {
        let tests = vec![Test::Text(ORIGINAL.to_owned()), flow_mark(proxy.mark)];
        let line = Line::new(tests, goto(chain));
        lines.extend(for_protocols(&protocols(proxy), &line));
    }
    lines.extend(build.divert());
    lines.push(Line::text(
        "-m conntrack --ctstate ESTABLISHED,RELATED",
        Then::Leave,
    ));
    lines.push(Line::text("-m conntrack --ctstatus CONFIRMED", Then::Leave));
    if !leaves_to_filter(build) {
        lines.extend(build.strict_tcp(&[]));
    }
    lines.extend(build.unconditional_icmp());
    for proxy in &ir.proxies {
        lines.extend(build.direct_access(proxy));
    }
    build.judge_at(&mut lines, Hook::SteerPre, &plan.in_mangle);
    finish(&mut lines, Then::Leave);
    lines
}

/// Packets that fit no flow. The policy may say nothing of some of them, and sections that judge each
/// packet may want some, and before routing iptables cannot tell which: filter refuses the others
/// then, and these are not steered.
fn invalid(build: &mut Build) -> Line {
    let governs = build.ir.governs;
    if leaves_to_filter(build) || !(governs.input && governs.forward) {
        Line::text(NOT_STEERED, Then::Leave)
    } else {
        build.invalid()
    }
}

/// Whether filter, and not steer, refuses what fits no flow.
fn leaves_to_filter(build: &mut Build) -> bool {
    let stateless = check::stateless_scopes(build.ir);
    let governs = build.ir.governs;
    let Some(first) = stateless.first() else {
        return false;
    };
    if !(governs.input && governs.forward) {
        build.unsupported(Capability::EarlyEgress, first.span);
    }
    true
}

fn steer_out(build: &mut Build, plan: &Plan, marks: &[Restored]) -> Vec<Line> {
    let ir = build.ir;
    let mut lines = Vec::new();
    if build.notes_own {
        lines.push(Line::label(OWN));
    }
    if !plan.mangle {
        return lines;
    }
    lines.extend(build.loopback(Hook::SteerOut, plan.in_mangle.iter().copied()));
    lines.push(Line::text(NOT_STEERED, Then::Leave));
    lines.extend(restore(marks, false));
    lines.push(Line::text("-m conntrack --ctdir REPLY", Then::Leave));
    let own = of_host(ir);
    for (_, proxy) in ir
        .proxies
        .iter()
        .enumerate()
        .filter(|(id, _)| own.contains(id))
    {
        let mut captured = set_mark(proxy.mark, false);
        captured.push(Line::new(vec![], Then::Leave));
        let chain = build.chain("captured", captured);
        let line = Line::new(vec![flow_mark(proxy.mark)], goto(&chain));
        lines.extend(for_protocols(&protocols(proxy), &line));
    }
    lines.extend(restore(marks, true));
    lines.push(Line::text("-m conntrack --ctstatus CONFIRMED", Then::Leave));
    // Filter refuses what sections that judge each packet do not want.
    if check::stateless_scopes(ir).is_empty() && ir.governs.output {
        lines.extend(build.strict_tcp(&[]));
    }
    lines.extend(build.unconditional_icmp());
    build.judge_at(&mut lines, Hook::SteerOut, &plan.in_mangle);
    finish(&mut lines, Then::Leave);
    lines
}
