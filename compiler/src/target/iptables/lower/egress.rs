//! Egress: the source address of a flow that leaves.

use super::{finish, whole};
use crate::target::iptables::Build;
use crate::target::iptables::tree::{Table, Test, Then};
use crate::target::netfilter::label::OWN;
use crate::target::netfilter::sides::Hook;

pub(super) fn chain(build: &mut Build) {
    let ir = build.ir;
    if ir.egress.is_empty() {
        return;
    }
    build.table = Table::Nat;
    let asks = |c: &crate::ir::Cube| !c.ingress.is_any();
    if ir.egress.iter().any(|r| r.cubes.iter().any(asks)) {
        build
            .features
            .add("ingress interface in postrouting", "5.7");
    }
    let rules = whole(&ir.egress);
    let mut lines = build.loopback(Hook::Post, rules.iter().copied());
    build.judge_at(&mut lines, Hook::Post, &rules);
    finish(&mut lines, Then::Leave);
    build.base("POLC-NAT-POST", "POSTROUTING", lines);
}

impl Build<'_> {
    /// Whether this host has sent the packet. iptables cannot ask for no ingress interface: steer
    /// notes it in the flow's label.
    pub(in crate::target::iptables) fn sent_by_host(&mut self, here: bool) -> Test {
        self.notes_own = true;
        let not = if here { "" } else { "! " };
        Test::Text(format!("-m connlabel {not}--label {OWN}"))
    }
}
