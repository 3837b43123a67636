//! Guard: every packet, before connection tracking.
//!
//! The kernel has put fragments together by then wherever something tracks connections, so a packet
//! is judged as a whole. Where nothing does, the kernel's own matches do not hold for later
//! fragments if they ask for anything behind the network header, as the language says.

use super::{finish, whole};
use crate::target::iptables::Build;
use crate::target::iptables::tree::{Table, Then};
use crate::target::netfilter::sides::Hook;

pub(super) fn chain(build: &mut Build) {
    let ir = build.ir;
    if ir.guard.is_empty() {
        return;
    }
    build.table = Table::Raw;
    let rules = whole(&ir.guard);
    let mut lines = build.loopback(Hook::Guard, rules.iter().copied());
    lines.extend(build.unconditional_icmp());
    build.judge_at(&mut lines, Hook::Guard, &rules);
    finish(&mut lines, Then::Leave);
    build.base("POLC-GUARD", "PREROUTING", lines);
}
