//! The Ethernet source.

use super::shape::{not, one_by_one, text};
use super::{Asked, Found};

pub(super) fn source(asked: &Asked) -> Found {
    one_by_one(asked.set, asked.field.largest(), |negate, value| {
        text(format!("-m mac {}--mac-source {}", not(negate), mac(value)))
    })
}

fn mac(value: u64) -> String {
    let bytes = [40, 32, 24, 16, 8, 0].map(|shift| format!("{:02x}", (value >> shift) & 0xff));
    bytes.join(":")
}
