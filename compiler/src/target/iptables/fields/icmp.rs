//! Type and code of an ICMP packet, which iptables asks for together.

use super::shape::{MOST, not, numbers, one_by_one, text};
use super::{Condition, Found};
use crate::field::ICMP;
use crate::packet::IntervalSet;
use crate::target::Capability;

/// The condition that an ICMP packet's type and code are among these, where they are asked for.
pub(in crate::target::iptables) fn icmp(
    types: Option<&IntervalSet<u64>>,
    codes: Option<&IntervalSet<u64>>,
    protocol: u64,
) -> Found {
    let v4 = protocol == ICMP;
    let words = if v4 {
        ("-m icmp", "--icmp-type")
    } else {
        ("-m icmp6", "--icmpv6-type")
    };
    let test = |negate, what: String| {
        let (module, option) = words;
        text(format!("{module} {}{option} {what}", not(negate)))
    };
    let all = IntervalSet::range(0, 255);
    let types = types.unwrap_or(&all);
    let rest = types.complement_below(255);
    if let Some(codes) = codes.filter(|c| !c.complement_below(255).is_empty()) {
        let many = types.count().saturating_mul(codes.count()) > MOST as u128;
        // To iptables 255 is any type on IPv4.
        if many || v4 && types.contains(255) {
            return Err(Capability::ManyValues);
        }
        let pair = |n: u64| numbers(codes).map(move |code| format!("{n}/{code}"));
        let pairs = numbers(types).flat_map(pair);
        return Ok(Condition::OneOf(
            pairs.map(|p| vec![test(false, p)]).collect(),
        ));
    }
    if rest.is_empty() {
        // The type may be anything, but there must be one.
        let first = "0/0".to_owned();
        let either = [false, true].map(|negate| vec![test(negate, first.clone())]);
        return Ok(Condition::OneOf(either.into()));
    }
    if v4 && types.contains(255) {
        let tests = numbers(&rest).map(|n| test(true, n.to_string()));
        return Ok(Condition::OneOf(vec![tests.collect()]));
    }
    one_by_one(types, 255, |negate, n| test(negate, n.to_string()))
}
