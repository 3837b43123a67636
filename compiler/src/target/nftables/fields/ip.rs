//! What of the IP header is not the same in both families.

use polc_bundle::Family;

use super::key::{Key, Style, of};
use super::{Asked, Condition};
use crate::packet::IntervalSet;
use crate::target::nftables::tree::{Match, Values};

const LENGTH: Key = of("ip length", Style::Decimal, Family::V4);
const LENGTH6: Key = of("ip6 length", Style::Decimal, Family::V6);
const FRAG_OFF: Key = of("ip frag-off", Style::Hex, Family::V4);

/// The packet's length. The IPv6 header states that of what follows it.
pub(super) fn length(asked: &Asked) -> Condition {
    match asked.family {
        Some(Family::V6) => asked.among(LENGTH6, &shift_down(asked.set, 40), asked.field.largest()),
        _ => asked.value(LENGTH),
    }
}

/// Whether the packet is a fragment: IPv4 has bits for it, IPv6 an extension header.
pub(super) fn fragment(asked: &Asked) -> Condition {
    let wanted = match (asked.set.contains(0), asked.set.contains(1)) {
        (true, true) => return Condition::Always,
        (_, one) => one,
    };
    Condition::If(match asked.family {
        Some(Family::V6) => Match::Text(
            if wanted {
                "exthdr frag exists"
            } else {
                "exthdr frag missing"
            }
            .to_owned(),
        ),
        _ => Match::Test {
            key: FRAG_OFF,
            negate: wanted,
            values: Values::Masked {
                mask: 0x3fff,
                value: 0,
            },
        },
    })
}

fn shift_down(set: &IntervalSet<u64>, by: u64) -> IntervalSet<u64> {
    set.ranges()
        .iter()
        .filter(|(_, last)| *last >= by)
        .map(|(first, last)| (first.saturating_sub(by), last - by))
        .collect()
}
