//! What the kernel knows of a packet beside its bytes, and of its flow.

use super::shape::{not, ranges, text, words};
use super::{Asked, Condition};
use crate::packet::{IntervalSet, addr::prefixes};

const CT_STATES: [&str; 4] = ["NEW", "ESTABLISHED", "RELATED", "UNTRACKED"];
const DAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
/// `other` never gets as far as iptables.
const PKTTYPES: [&str; 3] = ["unicast", "broadcast", "multicast"];

/// The largest number that a user or group can have: the one behind it stands for none.
const LARGEST_ID: u64 = 0xffff_fffe;

pub(super) fn mark(asked: &Asked) -> Condition {
    marks(asked.set, "mark")
}

pub(super) fn ct_mark(asked: &Asked) -> Condition {
    marks(asked.set, "connmark")
}

/// Marks by their leading bits.
fn marks(set: &IntervalSet<u64>, module: &str) -> Condition {
    let max = u64::from(u32::MAX);
    let rest = set.complement_below(max);
    let parts = |set: &IntervalSet<u64>| -> Vec<(u128, u32)> {
        let ranges = set.ranges().iter();
        ranges.flat_map(|(a, b)| prefixes(*a, *b, 32)).collect()
    };
    let test = |negate, (value, len): (u128, u32)| {
        let mask = u32::MAX.checked_shl(32 - len).unwrap_or(0);
        text(format!(
            "-m {module} {}--mark {value:#x}/{mask:#x}",
            not(negate)
        ))
    };
    let (own, other) = (parts(set), parts(&rest));
    if !other.is_empty() && other.len() < own.len() {
        return Condition::OneOf(vec![other.into_iter().map(|p| test(true, p)).collect()]);
    }
    Condition::OneOf(own.into_iter().map(|p| vec![test(false, p)]).collect())
}

pub(super) fn pkttype(asked: &Asked) -> Condition {
    let set = asked.set;
    if IntervalSet::range(0, 2).is_subset(set) {
        return Condition::Always;
    }
    let named = PKTTYPES.iter().zip(0..).filter(|(_, n)| set.contains(*n));
    let one = |(word, _): (&&str, u64)| vec![text(format!("-m pkttype --pkt-type {word}"))];
    Condition::OneOf(named.map(one).collect())
}

/// The user or group that sent it.
pub(super) fn owner(asked: &Asked) -> Condition {
    let name = asked.field.name();
    let set = asked.set.intersection(&IntervalSet::range(0, LARGEST_ID));
    ranges(&set, |a, b| {
        let numbers = if a == b {
            a.to_string()
        } else {
            format!("{a}-{b}")
        };
        text(format!("-m owner --{name}-owner {numbers}"))
    })
}

pub(super) fn state(asked: &Asked) -> Condition {
    words(asked.set, &CT_STATES, "-m conntrack --ctstate")
}

pub(super) fn direction(asked: &Asked) -> Condition {
    let direction = if asked.set.contains(0) {
        "ORIGINAL"
    } else {
        "REPLY"
    };
    let test = text(format!("-m conntrack --ctdir {direction}"));
    Condition::OneOf(vec![vec![test]])
}

pub(super) fn hour(asked: &Asked) -> Condition {
    ranges(asked.set, |a, b| {
        let span = format!("--timestart {a:02}:00:00 --timestop {b:02}:59:59");
        text(format!("-m time {span}"))
    })
}

pub(super) fn day(asked: &Asked) -> Condition {
    words(asked.set, &DAYS, "-m time --weekdays")
}
