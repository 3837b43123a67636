//! Fields of the TCP header.

use super::shape::{not, ranges, text};
use super::{Asked, Condition};
use crate::packet::IntervalSet;
use crate::target::iptables::tree::Test;

/// The option that announces the maximum segment size. `tcpmss` takes what a later fragment has for a header
/// (`net/netfilter/xt_tcpmss.c`), and drops what it cannot read: `tcp` holds for none.
pub(super) fn mss(asked: &Asked) -> Condition {
    let test = |a, b| text(format!("-m tcp -m tcpmss --mss {a}:{b}"));
    ranges(asked.set, test)
}

/// The six flags that `--tcp-flags` knows, lowest first, and the two that `ecn` does.
const TCP_FLAGS: [&str; 6] = ["FIN", "SYN", "RST", "PSH", "ACK", "URG"];
const ECE: u64 = 0x40;
const CWR: u64 = 0x80;

/// All eight flags.
pub(super) fn flags(asked: &Asked) -> Condition {
    let mut terms = Vec::new();
    ternary(asked.set, &mut (0..8).collect(), 0, 0, &mut terms);
    Condition::OneOf(terms.into_iter().map(flags_test).collect())
}

/// The tests that `flags & mask == value`.
fn flags_test((mask, value): (u64, u64)) -> Vec<Test> {
    let names = |bits: u64| {
        let named = TCP_FLAGS.iter().enumerate();
        let list: Vec<&str> = named
            .filter(|(bit, _)| bits >> bit & 1 == 1)
            .map(|(_, name)| *name)
            .collect();
        if list.is_empty() {
            "NONE".to_owned()
        } else {
            list.join(",")
        }
    };
    // Without any of the six it asks whether there is a TCP header.
    let six = format!("-m tcp --tcp-flags {} {}", names(mask), names(value));
    let mut out = vec![text(six)];
    let more = [(ECE, "ece"), (CWR, "cwr")];
    let asked: Vec<String> = more
        .iter()
        .filter(|(bit, _)| mask & bit != 0)
        .map(|(bit, word)| format!("{}--ecn-tcp-{word}", not(value & bit == 0)))
        .collect();
    if !asked.is_empty() {
        out.push(text(format!("-m ecn {}", asked.join(" "))));
    }
    out
}

/// Writes `set`, of the numbers whose bits under `mask` are `value`, as terms of that form, no two of
/// which have a number in common. `free` are the bits that are not decided yet.
fn ternary(
    set: &IntervalSet<u64>,
    free: &mut Vec<u32>,
    mask: u64,
    value: u64,
    out: &mut Vec<(u64, u64)>,
) {
    let numbers = |free: &[u32]| -> Vec<u64> {
        free.iter().fold(vec![value], |list, bit| {
            let with = list.iter().map(|n| n | 1 << bit);
            list.iter().copied().chain(with).collect()
        })
    };
    let undecided = free.clone();
    // A bit that makes no difference is not asked about.
    free.retain(|bit| {
        let others: Vec<u32> = undecided.iter().copied().filter(|b| b != bit).collect();
        let same = |n: &u64| set.contains(*n) == set.contains(n | 1 << bit);
        !numbers(&others).iter().all(same)
    });
    let Some(bit) = free.pop() else {
        if set.contains(value) {
            out.push((mask, value));
        }
        return;
    };
    for wanted in [0, 1 << bit] {
        ternary(set, &mut free.clone(), mask | 1 << bit, value | wanted, out);
    }
}
