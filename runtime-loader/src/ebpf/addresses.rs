//! The addresses of this host's interfaces, for programs that send packets from them or to them.

use std::collections::BTreeMap;
use std::path::Path;

use super::pins::ADDRESSES;
use super::{EbpfError, mirror};
use crate::netlink::address::Primary;

/// What programs read of an interface, in the numbers of the machine: the address of IPv4, 0, the lower and
/// the upper half of that of IPv6. An address that it does not have is 0.
type Value = [u64; 4];

/// Gives the map pinned at `path`, if there is one, the addresses of all interfaces that have some.
pub(crate) fn fill(path: &Path, addresses: &BTreeMap<u32, Primary>) -> Result<(), EbpfError> {
    if !path.exists() {
        return Ok(());
    }
    mirror::fill((path, ADDRESSES), &values(addresses))
}

/// Whether the map pinned at `path`, if there is one, has these addresses and no others.
pub(crate) fn filled(path: &Path, addresses: &BTreeMap<u32, Primary>) -> Result<bool, EbpfError> {
    if !path.exists() {
        return Ok(true);
    }
    mirror::shows((path, ADDRESSES), &values(addresses))
}

fn values(addresses: &BTreeMap<u32, Primary>) -> BTreeMap<u32, Value> {
    let pairs = addresses.iter();
    pairs
        .map(|(index, primary)| (*index, value(primary)))
        .collect()
}

fn value(primary: &Primary) -> Value {
    let v4 = primary.v4.map_or(0, u32::from);
    let v6 = primary.v6.map_or(0, u128::from);
    let half = |number: u128| u64::try_from(number & u128::from(u64::MAX)).unwrap_or(0);
    [u64::from(v4), 0, half(v6), half(v6 >> 64)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_numbers() {
        let of = |v4: Option<&str>, v6: Option<&str>| {
            value(&Primary {
                v4: v4.map(|a| a.parse().unwrap()),
                v6: v6.map(|a| a.parse().unwrap()),
            })
        };
        assert_eq!(
            of(Some("192.0.2.1"), Some("2001:db8:1:2:3:4:5:6")),
            [0xc000_0201, 0, 0x0003_0004_0005_0006, 0x2001_0db8_0001_0002]
        );
        assert_eq!(of(Some("127.0.0.1"), None), [0x7f00_0001, 0, 0, 0]);
        assert_eq!(of(None, Some("::1")), [0, 0, 1, 0]);
    }
}
