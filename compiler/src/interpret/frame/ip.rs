//! IP headers of both versions, and the IPv6 extension headers.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::bytes::Bytes;
use super::{FrameError, Parsed, transport};
use crate::field::{Field, IP_FRAGMENT, IP_LENGTH, ip_bits};

/// `ETH_P_IP`
const IPV4: u16 = 0x0800;
/// `ETH_P_IPV6`
const IPV6: u16 = 0x86dd;

/// An IP header, with the extension headers behind it.
pub(super) struct Head<'a> {
    pub(super) saddr: IpAddr,
    pub(super) daddr: IpAddr,
    pub(super) proto: u8,
    pub(super) fields: BTreeMap<Field, u64>,
    /// The transport header and what follows; `None` in a later fragment.
    pub(super) payload: Option<&'a [u8]>,
    /// Whether the packet has as many bytes as its header says.
    complete: bool,
}

/// Reads the packet whose first captured bytes are `bytes` and that had `length` bytes.
/// `ethertype` is what the link header says of it, if it says anything.
pub(super) fn read(
    bytes: &[u8],
    length: usize,
    ethertype: Option<u16>,
) -> Result<Parsed, FrameError> {
    let head = match ethertype {
        None => any_head(bytes, length)?,
        Some(IPV4) => head4(bytes, length)?,
        Some(IPV6) => head6(bytes, length)?,
        Some(ethertype) => return Err(FrameError::NotIp { ethertype }),
    };
    let mut fields = head.fields;
    let payload = head.payload.filter(|_| head.complete);
    let v6 = head.saddr.is_ipv6();
    let layer = payload.and_then(|p| transport::read(head.proto, v6, p));
    let (more, inner) = layer.map_or_else(Default::default, |l| (l.fields, l.inner));
    fields.extend(more);
    Ok(Parsed {
        saddr: head.saddr,
        daddr: head.daddr,
        proto: head.proto,
        fields,
        inner,
        sent: false,
    })
}

/// A header of the version that its first half-byte says.
pub(super) fn any_head(bytes: &[u8], length: usize) -> Result<Head<'_>, FrameError> {
    match bytes.first().map(|b| b >> 4) {
        Some(4) => head4(bytes, length),
        Some(6) => head6(bytes, length),
        Some(_) => Err(FrameError::Malformed { header: "IP" }),
        None => Err(FrameError::Truncated { header: "IP" }),
    }
}

const MALFORMED4: FrameError = FrameError::Malformed { header: "IPv4" };
const TRUNCATED4: FrameError = FrameError::Truncated { header: "IPv4" };
const MALFORMED6: FrameError = FrameError::Malformed { header: "IPv6" };
const TRUNCATED6: FrameError = FrameError::Truncated { header: "IPv6" };

fn head4(whole: &[u8], length: usize) -> Result<Head<'_>, FrameError> {
    let fixed: [u8; 20] = Bytes::new(whole).array().ok_or(TRUNCATED4)?;
    let [first, _, len0, len1, _, _, frag0, frag1, _, proto, ..] = fixed;
    let size = usize::from(first & 0x0f) * 4;
    let total = u16::from_be_bytes([len0, len1]);
    if first >> 4 != 4 || size < fixed.len() || usize::from(total) < size {
        return Err(MALFORMED4);
    }
    let mut addresses = Bytes::new(&fixed);
    addresses.take(12).ok_or(TRUNCATED4)?;
    let saddr = addresses.u32().ok_or(TRUNCATED4)?;
    let daddr = addresses.u32().ok_or(TRUNCATED4)?;
    let mut rest = Bytes::new(whole);
    rest.take(size).ok_or(FrameError::Truncated {
        header: "IPv4 options",
    })?;
    let fragment = u16::from_be_bytes([frag0, frag1]);
    let (more, offset) = (fragment & 0x2000 != 0, fragment & 0x1fff);
    let payload = upto(rest.rest(), usize::from(total) - size);
    Ok(Head {
        saddr: Ipv4Addr::from_bits(saddr).into(),
        daddr: Ipv4Addr::from_bits(daddr).into(),
        proto,
        fields: fields((false, whole), u64::from(total), more || offset != 0),
        payload: (offset == 0).then_some(payload),
        complete: length >= usize::from(total),
    })
}

fn head6(whole: &[u8], length: usize) -> Result<Head<'_>, FrameError> {
    let mut rest = Bytes::new(whole);
    let first = rest.u32().ok_or(TRUNCATED6)?;
    if first >> 28 != 6 {
        return Err(MALFORMED6);
    }
    let size = rest.u16().ok_or(TRUNCATED6)?;
    let next = rest.u8().ok_or(TRUNCATED6)?;
    rest.u8().ok_or(TRUNCATED6)?;
    let saddr: [u8; 16] = rest.array().ok_or(TRUNCATED6)?;
    let daddr: [u8; 16] = rest.array().ok_or(TRUNCATED6)?;
    // A length of 0 is that of a jumbogram: all that is there.
    let payload = match size {
        0 => rest.rest(),
        size => upto(rest.rest(), usize::from(size)),
    };
    let chain = chain(next, payload)?;
    let total = u64::from(size) + 40;
    Ok(Head {
        saddr: Ipv6Addr::from(saddr).into(),
        daddr: Ipv6Addr::from(daddr).into(),
        proto: chain.proto,
        fields: fields((true, whole), total, chain.fragment),
        payload: chain.payload,
        complete: length >= usize::from(size) + 40,
    })
}

/// A prefix of `bytes`: what lies behind it is padding.
fn upto(bytes: &[u8], length: usize) -> &[u8] {
    bytes.get(..length).unwrap_or(bytes)
}

/// The fields of a header, given whether it is one of IPv6 and the packet.
fn fields((v6, packet): (bool, &[u8]), total: u64, fragment: bool) -> BTreeMap<Field, u64> {
    let bits = ip_bits().filter_map(|(field, bits)| Some((field, bits.read(v6, packet)?)));
    let mut fields: BTreeMap<Field, u64> = bits.collect();
    fields.insert(IP_FRAGMENT, fragment.into());
    // The longest IPv6 packets, by up to 40 octets, are longer than the field's values.
    if total <= IP_LENGTH.largest() {
        fields.insert(IP_LENGTH, total);
    }
    fields
}

/// Where a chain of extension headers leads.
struct Chain<'a> {
    proto: u8,
    fragment: bool,
    payload: Option<&'a [u8]>,
}

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION: u8 = 60;

fn chain(first: u8, payload: &[u8]) -> Result<Chain<'_>, FrameError> {
    let mut rest = Bytes::new(payload);
    let mut proto = first;
    let mut fragment = false;
    while let Some(header) = extension(proto) {
        let truncated = FrameError::Truncated { header };
        let next = rest.u8().ok_or(truncated)?;
        let length = usize::from(rest.u8().ok_or(truncated)?);
        let size = match proto {
            FRAGMENT => 8,
            AUTHENTICATION => (length + 2) * 4,
            _ => (length + 1) * 8,
        };
        let body = rest.take(size - 2).ok_or(truncated)?;
        if proto == FRAGMENT {
            fragment = true;
            let offset = Bytes::new(body).u16().map_or(0, |n| n >> 3);
            if offset != 0 {
                return Ok(Chain {
                    proto: next,
                    fragment,
                    payload: None,
                });
            }
        }
        proto = next;
    }
    Ok(Chain {
        proto,
        fragment,
        payload: Some(rest.rest()),
    })
}

/// The name of an extension header; `None` for everything else.
fn extension(number: u8) -> Option<&'static str> {
    match number {
        HOP_BY_HOP => Some("hop-by-hop options"),
        ROUTING => Some("routing"),
        FRAGMENT => Some("fragment"),
        AUTHENTICATION => Some("authentication"),
        DESTINATION => Some("destination options"),
        _ => None,
    }
}
