//! An entry of the ring, as programs write it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use polc_bundle::ProgramHook;

/// The length of an entry, in bytes.
pub const LENGTH: usize = 64;

/// What became of a logged packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// It goes on.
    Allow,
    /// It is gone.
    Deny,
    /// It is gone, and the sender is told.
    Reject,
}

impl Verdict {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::Reject => "reject",
        }
    }
}

/// A packet that a rule has logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// When, in nanoseconds since the machine started (`CLOCK_MONOTONIC`).
    pub time: u64,
    /// The number of the rule, as [`RuleEntry::log_id`](polc_bundle::RuleEntry::log_id).
    pub log_id: u32,
    /// The number of the interface by which the packet came or shall leave.
    pub interface: u32,
    /// How long the packet is, in bytes.
    pub bytes: u32,
    /// Where it was seen.
    pub hook: ProgramHook,
    /// What the rule decided; none if it only logs.
    pub verdict: Option<Verdict>,
    /// The number of the protocol above IP.
    pub protocol: u8,
    /// The source address. Both addresses are of one family.
    pub source: IpAddr,
    /// The destination address.
    pub destination: IpAddr,
    /// The source port; 0 in protocols without ports.
    pub source_port: u16,
    /// The destination port; 0 in protocols without ports.
    pub destination_port: u16,
}

/// Why bytes are no entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EntryError {
    /// They are too many or too few.
    #[error("a log entry has {found} bytes, not {LENGTH}")]
    Length {
        /// How many there are.
        found: usize,
    },
    /// A number in them has no meaning.
    #[error("a log entry has {value} as its {field}")]
    Value {
        /// `hook`, `family` or `verdict`.
        field: &'static str,
        /// The number.
        value: u8,
    },
}

impl Entry {
    /// Reads an entry: numbers in the machine's byte order, addresses as in the packet.
    ///
    /// ```text
    ///  0 time 8 · 8 log id 4 · 12 interface 4 · 16 bytes 4 · 20 hook 1 · 21 family 1
    /// 22 protocol 1 · 23 verdict 1 · 24 source 16 · 40 destination 16 · 56 source port 2
    /// 58 destination port 2 · 60 reserved 4
    /// ```
    pub fn parse(bytes: &[u8]) -> Result<Self, EntryError> {
        let bytes: &[u8; LENGTH] = bytes
            .try_into()
            .map_err(|_| EntryError::Length { found: bytes.len() })?;
        let [hook, family, protocol, verdict] = part(bytes, 20);
        let wrong = |field, value| EntryError::Value { field, value };
        Ok(Self {
            time: u64::from_ne_bytes(part(bytes, 0)),
            log_id: u32::from_ne_bytes(part(bytes, 8)),
            interface: u32::from_ne_bytes(part(bytes, 12)),
            bytes: u32::from_ne_bytes(part(bytes, 16)),
            hook: match hook {
                0 => ProgramHook::Xdp,
                1 => ProgramHook::Ingress,
                2 => ProgramHook::Egress,
                other => return Err(wrong("hook", other)),
            },
            verdict: match verdict {
                0 => None,
                1 => Some(Verdict::Allow),
                2 => Some(Verdict::Deny),
                3 => Some(Verdict::Reject),
                other => return Err(wrong("verdict", other)),
            },
            protocol,
            source: address(family, bytes, 24).ok_or(wrong("family", family))?,
            destination: address(family, bytes, 40).ok_or(wrong("family", family))?,
            source_port: u16::from_ne_bytes(part(bytes, 56)),
            destination_port: u16::from_ne_bytes(part(bytes, 58)),
        })
    }
}

fn address(family: u8, bytes: &[u8; LENGTH], at: usize) -> Option<IpAddr> {
    match family {
        4 => Some(Ipv4Addr::from(part::<4>(bytes, at)).into()),
        6 => Some(Ipv6Addr::from(part::<16>(bytes, at)).into()),
        _ => None,
    }
}

/// The `N` bytes from `at` on, which lie inside an entry.
fn part<const N: usize>(bytes: &[u8; LENGTH], at: usize) -> [u8; N] {
    let slice = bytes.get(at..at + N);
    slice.and_then(|s| s.try_into().ok()).unwrap_or([0; N])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(entry: &Entry) -> [u8; LENGTH] {
        let mut bytes = [0; LENGTH];
        let mut put = |at: usize, part: &[u8]| bytes[at..at + part.len()].copy_from_slice(part);
        put(0, &entry.time.to_ne_bytes());
        put(8, &entry.log_id.to_ne_bytes());
        put(12, &entry.interface.to_ne_bytes());
        put(16, &entry.bytes.to_ne_bytes());
        let hook = match entry.hook {
            ProgramHook::Xdp => 0,
            ProgramHook::Ingress => 1,
            ProgramHook::Egress => 2,
            other => panic!("nothing is logged at {other:?}"),
        };
        let verdict = entry.verdict.map_or(0, |v| v as u8 + 1);
        let family = if entry.source.is_ipv4() { 4 } else { 6 };
        put(20, &[hook, family, entry.protocol, verdict]);
        for (at, address) in [(24, entry.source), (40, entry.destination)] {
            match address {
                IpAddr::V4(v4) => put(at, &v4.octets()),
                IpAddr::V6(v6) => put(at, &v6.octets()),
            }
        }
        put(56, &entry.source_port.to_ne_bytes());
        put(58, &entry.destination_port.to_ne_bytes());
        bytes
    }

    #[test]
    fn what_is_written_is_read() {
        let hooks = ProgramHook::ALL.into_iter().cycle();
        let verdicts = [
            None,
            Some(Verdict::Allow),
            Some(Verdict::Deny),
            Some(Verdict::Reject),
        ];
        let families: [[IpAddr; 2]; 2] = [
            ["192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap()],
            [
                "2001:db8::1".parse().unwrap(),
                "2001:db8::2".parse().unwrap(),
            ],
        ];
        for [source, destination] in families {
            for (hook, verdict) in hooks.clone().zip(verdicts) {
                let entry = Entry {
                    time: 0x0102_0304_0506_0708,
                    log_id: 0x090a_0b0c,
                    interface: 0x0d0e_0f10,
                    bytes: 0x1112_1314,
                    hook,
                    verdict,
                    protocol: 17,
                    source,
                    destination,
                    source_port: 0x1516,
                    destination_port: 0x1718,
                };
                assert_eq!(Entry::parse(&write(&entry)), Ok(entry));
            }
        }
    }

    #[test]
    fn any_bytes_are_an_entry_or_an_error() {
        for found in (0..200).filter(|length| *length != LENGTH) {
            let refused = Entry::parse(&vec![4; found]);
            assert_eq!(refused, Err(EntryError::Length { found }));
        }
        for (at, field, largest) in [(20, "hook", 2), (23, "verdict", 3)] {
            for value in 0..=u8::MAX {
                let mut bytes = [0; LENGTH];
                bytes[21] = 4;
                bytes[at] = value;
                let expected = (value > largest).then_some(EntryError::Value { field, value });
                assert_eq!(Entry::parse(&bytes).err(), expected);
            }
        }
        for value in (0..=u8::MAX).filter(|family| ![4, 6].contains(family)) {
            let mut bytes = [0; LENGTH];
            bytes[21] = value;
            let field = "family";
            assert_eq!(
                Entry::parse(&bytes),
                Err(EntryError::Value { field, value })
            );
        }
    }
}
