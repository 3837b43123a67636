//! Fields of the IP header, which `u32` reads: several ranges at once, of the same bytes in both
//! families but for the offset.

use polc_bundle::Family;

use super::shape::{not, text};
use super::{Asked, Condition};
use crate::field::IpBits;
use crate::packet::IntervalSet;
use crate::target::iptables::tree::Test;

/// The most ranges of one `u32` test.
const U32_RANGES: usize = 10;

/// Bits of the header.
pub(super) fn bits(asked: &Asked, bits: IpBits) -> Condition {
    let piece = bits.piece(asked.family == Family::V6, 32);
    debug_assert!(
        piece.is_some(),
        "`{}` is in several words",
        asked.field.name()
    );
    let Some((before, behind)) = piece else {
        return Condition::Never;
    };
    let shift = if behind > 0 {
        format!(">>{behind}")
    } else {
        String::new()
    };
    let mask = if behind + bits.count < 32 {
        format!("&{:#X}", bits.largest())
    } else {
        String::new()
    };
    let expr = format!("{before}{shift}{mask}");
    network(asked, &expr, asked.set)
}

/// The packet's length. The IPv6 header states that of what follows it.
pub(super) fn length(asked: &Asked) -> Condition {
    let header = IntervalSet::range(0, 39);
    match asked.family {
        Family::V4 => network(asked, "0&0xFFFF", asked.set),
        Family::V6 if asked.set.is_subset(&header) => Condition::Never,
        Family::V6 => network(asked, "4>>16", &shift_down(asked.set, 40)),
    }
}

fn network(asked: &Asked, expr: &str, set: &IntervalSet<u64>) -> Condition {
    let max = asked.field.largest();
    if set.complement_below(max).is_empty() {
        Condition::Always
    } else {
        u32_test(expr, set, max)
    }
}

/// Bytes of the network header: a few ranges in one test.
fn u32_test(expr: &str, set: &IntervalSet<u64>, max: u64) -> Condition {
    let rest = set.complement_below(max);
    let list = |ranges: &[(u64, u64)]| {
        let range = |(a, b): &(u64, u64)| {
            if a == b {
                format!("{a:#x}")
            } else {
                format!("{a:#x}:{b:#x}")
            }
        };
        ranges.iter().map(range).collect::<Vec<_>>().join(",")
    };
    let test = |negate, ranges: &[(u64, u64)]| {
        text(format!(
            "-m u32 {}--u32 {expr}={}",
            not(negate),
            list(ranges)
        ))
    };
    if rest.ranges().len() < set.ranges().len() {
        let tests = rest.ranges().chunks(U32_RANGES).map(|c| test(true, c));
        return Condition::OneOf(vec![tests.collect()]);
    }
    let chunks = set.ranges().chunks(U32_RANGES);
    Condition::OneOf(chunks.map(|c| vec![test(false, c)]).collect())
}

fn shift_down(set: &IntervalSet<u64>, by: u64) -> IntervalSet<u64> {
    set.ranges()
        .iter()
        .filter(|(_, last)| *last >= by)
        .map(|(first, last)| (first.saturating_sub(by), last - by))
        .collect()
}

/// Whether the packet is a fragment: IPv4 has bits for it, IPv6 an extension header.
pub(super) fn fragment(asked: &Asked) -> Condition {
    let wanted = match (asked.set.contains(0), asked.set.contains(1)) {
        (true, true) => return Condition::Always,
        (_, one) => one,
    };
    let test = is_fragment(asked.family, wanted);
    Condition::OneOf(vec![vec![test]])
}

/// The test that a packet is a fragment, or is not.
pub(in crate::target::iptables) fn is_fragment(family: Family, wanted: bool) -> Test {
    text(match family {
        Family::V4 => format!("-m u32 {}--u32 4&0x3FFF=0x0", not(wanted)),
        Family::V6 => format!("-m ipv6header {}--header frag --soft", not(!wanted)),
    })
}
