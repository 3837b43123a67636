//! Ports.

use super::key::{Key, Style, TH_DPORT, TH_SPORT, transport};
use super::{Asked, Condition};

/// The port of the packet's protocol, or of any.
pub(super) fn port(asked: &Asked) -> Condition {
    let name = asked.field.name();
    let any = if name == "sport" { TH_SPORT } else { TH_DPORT };
    let key = known(name, asked.protocol.unwrap_or(0)).unwrap_or(any);
    asked.value(key)
}

/// The port of one protocol, where nft has an expression for it.
fn known(field: &str, protocol: u64) -> Option<Key> {
    let expr = match (field, protocol) {
        ("dport", 6) => "tcp dport",
        ("sport", 6) => "tcp sport",
        ("dport", 17) => "udp dport",
        ("sport", 17) => "udp sport",
        ("dport", 33) => "dccp dport",
        ("sport", 33) => "dccp sport",
        ("dport", 132) => "sctp dport",
        ("sport", 132) => "sctp sport",
        ("dport", 136) => "udplite dport",
        ("sport", 136) => "udplite sport",
        _ => return None,
    };
    Some(transport(expr, Style::Decimal, None))
}
