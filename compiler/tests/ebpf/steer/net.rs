//! A network namespace with interfaces, addresses and routes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::process::Command;

/// The hardware address of all interfaces.
pub(super) const HARDWARE: [u8; 6] = [2, 0, 0, 0, 0, 1];

/// How many interfaces there are.
const INTERFACES: u16 = 12;

/// Addresses of this host that no interface has: all others lead elsewhere.
const OWN: [&str; 8] = [
    "10.0.0.1",
    "10.0.0.5",
    "10.0.1.1",
    "192.0.2.1",
    "fd00::1",
    "fd00::5",
    "fd00:1::1",
    "2001:db8::5",
];

/// The routing tables that random policies name.
const TABLES: std::ops::Range<u32> = 201..215;

/// An interface.
#[derive(Clone, Copy, Debug)]
pub(super) struct Interface {
    pub(super) index: u32,
    pub(super) v4: Ipv4Addr,
    pub(super) v6: Ipv6Addr,
}

/// The interfaces of the namespace.
#[derive(Debug)]
pub(super) struct Net {
    pub(super) interfaces: Vec<Interface>,
}

impl Net {
    /// Puts this thread into a namespace of its own.
    pub(super) fn new() -> Self {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        for path in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
            std::fs::write(format!("/proc/sys/net/{path}"), "1").unwrap();
        }
        let hardware = "02:00:00:00:00:01";
        let mut batch = vec!["link set lo up".to_owned()];
        let interfaces = (0..INTERFACES).map(|at| Interface {
            index: 0,
            v4: Ipv4Addr::new(10, 9, at as u8, 1),
            v6: Ipv6Addr::new(0xfd00, 9, 0, 0, 0, 0, at, 1),
        });
        let mut interfaces: Vec<Interface> = interfaces.collect();
        for (at, Interface { v4, v6, .. }) in interfaces.iter().enumerate() {
            batch.extend([
                format!("link add d{at} type veth peer name e{at}"),
                format!("link set d{at} address {hardware}"),
                format!("link set d{at} up"),
                format!("link set e{at} up"),
                format!("address add {v4}/32 dev d{at}"),
                format!("address add {v6}/128 dev d{at} nodad"),
            ]);
        }
        for addr in OWN {
            batch.push(format!("route add local {addr} dev lo table local"));
        }
        for table in std::iter::once(254).chain(TABLES) {
            for family in ["0.0.0.0/0", "::/0"] {
                batch.push(format!("route add {family} dev d0 table {table}"));
            }
        }
        ip(&batch);
        for (at, interface) in interfaces.iter_mut().enumerate() {
            let name = format!("d{at}");
            interface.index = nix::net::if_::if_nametoindex(name.as_str()).unwrap();
        }
        Self { interfaces }
    }

    /// Whether an address is one of this host.
    pub(super) fn is_own(&self, addr: IpAddr) -> bool {
        let of_interface = |i: &Interface| addr == IpAddr::from(i.v4) || addr == IpAddr::from(i.v6);
        addr.is_loopback()
            || OWN.iter().any(|own| own.parse() == Ok(addr))
            || self.interfaces.iter().any(of_interface)
    }

    /// The addresses that packets have.
    pub(super) fn addresses(&self) -> Vec<IpAddr> {
        let v4 = (0..8).map(|low| Ipv4Addr::new(10, 0, 0, low).into());
        let mapped = (0..4).map(|low| Ipv4Addr::new(10, 0, 1, low).into());
        let outer = (1..4).map(|low| Ipv4Addr::new(192, 0, 2, low).into());
        let v6 = (1..8).map(|low| Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, low).into());
        let other = [
            "203.0.113.9",
            "2001:db8::5",
            "2001:db8::6",
            "fd00:1::1",
            "fd00:1::2",
        ];
        let own = self.interfaces.iter().take(3);
        let own = own.flat_map(|i| [IpAddr::from(i.v4), i.v6.into()]);
        let other = other.iter().map(|text| text.parse().unwrap());
        v4.chain(mapped)
            .chain(outer)
            .chain(v6)
            .chain(other)
            .chain(own)
            .collect()
    }
}

/// Runs the tool for interfaces and routes.
fn ip(batch: &[String]) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, batch.join("\n")).unwrap();
    let output = Command::new("ip")
        .arg("-batch")
        .arg(file.path())
        .output()
        .unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{complaint}");
}
