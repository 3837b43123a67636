//! Transport headers.

use std::collections::BTreeMap;

use super::bytes::Bytes;
use super::{Inner, ip};
use crate::field::{
    DPORT, Field, ICMP, ICMP_CODE, ICMP_TYPE, ICMPV6, SPORT, TCP, TCP_FLAGS, TCP_MSS,
};

/// What a transport header says.
pub(super) struct Layer {
    pub(super) fields: BTreeMap<Field, u64>,
    pub(super) inner: Option<Inner>,
}

/// Octets of the fixed header of a protocol with ports.
fn with_ports(proto: u8) -> Option<usize> {
    match proto {
        6 => Some(20),
        17 | 136 => Some(8),
        33 | 132 => Some(12),
        _ => None,
    }
}

/// Reads the header of `proto`; `None` when the protocol has no fields or the header is not
/// complete.
pub(super) fn read(proto: u8, v6: bool, bytes: &[u8]) -> Option<Layer> {
    let number = u64::from(proto);
    if number == TCP {
        return tcp(bytes).map(plain);
    }
    if let Some(size) = with_ports(proto) {
        return ports(Bytes::new(bytes.get(..size)?)).map(|p| plain(p.into()));
    }
    (number == if v6 { ICMPV6 } else { ICMP })
        .then(|| icmp(v6, bytes))
        .flatten()
}

fn plain(fields: BTreeMap<Field, u64>) -> Layer {
    Layer {
        fields,
        inner: None,
    }
}

fn ports(mut bytes: Bytes<'_>) -> Option<[(Field, u64); 2]> {
    let (source, dest) = (bytes.u16()?, bytes.u16()?);
    Some([(SPORT, source.into()), (DPORT, dest.into())])
}

fn tcp(bytes: &[u8]) -> Option<BTreeMap<Field, u64>> {
    let fixed = bytes.get(..20)?;
    let size = usize::from(fixed.get(12)? >> 4) * 4;
    let options = bytes.get(20..size)?;
    let mut fields = BTreeMap::from(ports(Bytes::new(fixed))?);
    fields.insert(TCP_FLAGS, u64::from(*fixed.get(13)?));
    fields.extend(maximum_segment(options).map(|mss| (TCP_MSS, mss)));
    Some(fields)
}

/// The value of the first maximum-segment-size option.
fn maximum_segment(options: &[u8]) -> Option<u64> {
    let mut rest = Bytes::new(options);
    loop {
        match rest.u8()? {
            0 => return None,
            1 => {}
            kind => {
                let size = usize::from(rest.u8()?);
                let mut value = Bytes::new(rest.take(size.checked_sub(2)?)?);
                if kind == 2 {
                    return value.u16().map(u64::from);
                }
            }
        }
    }
}

fn icmp(v6: bool, bytes: &[u8]) -> Option<Layer> {
    let (fixed, quoted) = bytes.split_at_checked(8)?;
    let mut fixed = Bytes::new(fixed);
    let (kind, code) = (fixed.u8()?, fixed.u8()?);
    let error = if v6 {
        (1..=4).contains(&kind)
    } else {
        matches!(kind, 3 | 4 | 5 | 11 | 12)
    };
    Some(Layer {
        fields: [(ICMP_TYPE, kind.into()), (ICMP_CODE, code.into())].into(),
        inner: error.then(|| quote(v6, quoted)).flatten(),
    })
}

/// The head of the packet that an error quotes: of the same family, and not a later fragment.
fn quote(v6: bool, bytes: &[u8]) -> Option<Inner> {
    // A quotation is cut: what its header says of its length does not matter.
    let head = ip::any_head(bytes, usize::MAX).ok()?;
    let mut rest = Bytes::new(head.payload?);
    let fields = if with_ports(head.proto).is_some() {
        ports(rest)?.into()
    } else if matches!(u64::from(head.proto), ICMP | ICMPV6) {
        let (kind, code) = (rest.u8()?, rest.u8()?);
        [(ICMP_TYPE, kind.into()), (ICMP_CODE, code.into())].into()
    } else {
        BTreeMap::new()
    };
    let inner = Inner {
        saddr: head.saddr,
        daddr: head.daddr,
        proto: head.proto,
        fields,
    };
    (head.saddr.is_ipv6() == v6).then_some(inner)
}
