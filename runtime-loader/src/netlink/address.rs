//! Addresses of interfaces.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage, AddressScope};

use super::RouteConnection;
use super::link::{Interface, LOOPBACK};

/// An address of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Address {
    index: u32,
    ip: IpAddr,
    /// Whether others than neighbours can send to it.
    global: bool,
    flags: AddressFlags,
}

/// The addresses by which others know an interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Primary {
    /// Of IPv4.
    pub(crate) v4: Option<Ipv4Addr>,
    /// Of IPv6.
    pub(crate) v6: Option<Ipv6Addr>,
}

/// The primary addresses of those of the interfaces that have some, by number.
pub(crate) fn of(
    connection: &mut RouteConnection,
    interfaces: &[Interface],
) -> io::Result<BTreeMap<u32, Primary>> {
    let found = connection.dump(|| RouteNetlinkMessage::GetAddress(AddressMessage::default()))?;
    let addresses: Vec<Address> = found.into_iter().filter_map(address).collect();
    let loopback = interfaces.iter().find(|i| i.name == LOOPBACK);
    let mut primary = primary(&addresses, loopback.map(|i| i.index));
    // One may have come since the interfaces were listed.
    primary.retain(|index, _| interfaces.iter().any(|i| i.index == *index));
    Ok(primary)
}

fn address(message: RouteNetlinkMessage) -> Option<Address> {
    let RouteNetlinkMessage::NewAddress(message) = message else {
        return None;
    };
    let (mut own, mut far) = (None, None);
    let mut flags = AddressFlags::from_bits_retain(message.header.flags.bits().into());
    for attribute in message.attributes {
        match attribute {
            AddressAttribute::Local(address) => own = Some(address),
            // The peer's where there is one.
            AddressAttribute::Address(address) => far = Some(address),
            AddressAttribute::Flags(all) => flags = all,
            _ => {}
        }
    }
    Some(Address {
        index: message.header.index,
        ip: own.or(far)?,
        global: message.header.scope == AddressScope::Universe,
        flags,
    })
}

/// The primary addresses of the interfaces that have some; `loopback` is the number of `lo`.
///
/// That is the first global one that is not secondary; of IPv6 neither temporary, deprecated nor still
/// being tried, and rather one that stays than one that was lent. `lo` has a loopback address.
fn primary(addresses: &[Address], loopback: Option<u32>) -> BTreeMap<u32, Primary> {
    let mut fit: Vec<&Address> = addresses.iter().filter(|a| is_fit(a, loopback)).collect();
    fit.sort_by_key(|a| a.ip.is_ipv6() && !a.flags.contains(AddressFlags::Permanent));
    let mut primary: BTreeMap<u32, Primary> = BTreeMap::new();
    for found in fit {
        let of_interface = primary.entry(found.index).or_default();
        match found.ip {
            IpAddr::V4(address) => _ = of_interface.v4.get_or_insert(address),
            IpAddr::V6(address) => _ = of_interface.v6.get_or_insert(address),
        }
    }
    primary
}

fn is_fit(found: &Address, loopback: Option<u32>) -> bool {
    let reached = if loopback == Some(found.index) {
        found.ip.is_loopback()
    } else {
        found.global
    };
    // Of IPv6, a secondary address is a temporary one.
    let unfit = match found.ip {
        IpAddr::V4(_) => AddressFlags::Secondary,
        IpAddr::V6(_) => {
            AddressFlags::Secondary
                | AddressFlags::Tentative
                | AddressFlags::Dadfailed
                | AddressFlags::Deprecated
        }
    };
    reached && !found.flags.intersects(unfit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(index: u32, address: &str, flags: AddressFlags) -> Address {
        Address {
            index,
            ip: address.parse().unwrap(),
            global: true,
            flags,
        }
    }

    #[test]
    fn helpers_and_guests_are_passed_over() {
        use AddressFlags as Flags;
        let lent = Flags::empty();
        let linked = |address| Address {
            global: false,
            ..found(2, address, Flags::Permanent)
        };
        let addresses = [
            found(1, "198.51.100.1", Flags::Permanent),
            found(1, "127.0.0.1", Flags::Permanent),
            found(1, "::1", Flags::Permanent),
            linked("169.254.0.1"),
            found(2, "192.0.2.9", Flags::Secondary),
            found(2, "192.0.2.1", lent),
            found(2, "192.0.2.2", Flags::Permanent),
            linked("fe80::1"),
            found(2, "2001:db8::1", Flags::Secondary),
            found(2, "2001:db8::2", Flags::Tentative | Flags::Permanent),
            found(2, "2001:db8::3", Flags::Deprecated | Flags::Permanent),
            found(2, "2001:db8::4", Flags::Dadfailed | Flags::Permanent),
            found(2, "2001:db8::5", lent),
            found(2, "2001:db8::6", Flags::Permanent),
            found(2, "2001:db8::7", Flags::Permanent),
            found(3, "2001:db8::8", lent),
            found(4, "2001:db8::9", Flags::Tentative),
        ];
        let primary = primary(&addresses, Some(1));
        let shown = |index| {
            let primary: &Primary = primary.get(&index)?;
            let text = |a: Option<IpAddr>| a.map_or("none".to_owned(), |a| a.to_string());
            let (v4, v6) = (primary.v4.map(IpAddr::V4), primary.v6.map(IpAddr::V6));
            Some(format!("{} {}", text(v4), text(v6)))
        };
        assert_eq!(shown(1).unwrap(), "127.0.0.1 ::1");
        assert_eq!(shown(2).unwrap(), "192.0.2.1 2001:db8::6");
        assert_eq!(shown(3).unwrap(), "none 2001:db8::8");
        assert_eq!(shown(4), None);
    }
}
