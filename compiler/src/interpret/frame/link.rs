//! Link headers.

use std::collections::BTreeMap;

use super::FrameError;
use super::bytes::Bytes;
use crate::field::{ETH_DADDR, ETH_SADDR, ETH_TYPE, Field, META_PKTTYPE, VLAN_ID, VLAN_PCP};

/// What the first header of a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Link {
    /// Ethernet, with any number of VLAN tags.
    Ethernet,
    /// None: IP begins at once.
    Raw,
    /// Linux's cooked capture, version 1 (`LINUX_SLL`).
    Cooked,
    /// Linux's cooked capture, version 2 (`LINUX_SLL2`).
    Cooked2,
    /// The address family in four bytes, in either byte order (`NULL`, `LOOP`).
    Loopback,
}

/// What a link header says.
pub(super) struct Head {
    /// The type of what follows; `None` where only its first byte tells.
    pub(super) ethertype: Option<u16>,
    pub(super) fields: BTreeMap<Field, u64>,
    /// Whether the capturing machine sent it.
    pub(super) sent: bool,
}

/// Tags of IEEE 802.1Q and 802.1ad, and one that was in use before them.
const TAGS: [u16; 3] = [0x8100, 0x88a8, 0x9100];

/// `meta.pkttype`
const TO_HOST: u64 = 0;
const BROADCAST: u64 = 1;
const MULTICAST: u64 = 2;

pub(super) fn read(link: Link, bytes: &mut Bytes<'_>) -> Result<Head, FrameError> {
    let (head, header) = match link {
        Link::Ethernet => (ethernet(bytes), "Ethernet"),
        Link::Cooked => (cooked(bytes), "Linux cooked"),
        Link::Cooked2 => (cooked2(bytes), "Linux cooked"),
        Link::Loopback => (bytes.u32().map(|_| bare()), "loopback"),
        Link::Raw => (Some(bare()), "raw"),
    };
    let mut head = head.ok_or(FrameError::Truncated { header })?;
    if head.ethertype.is_some_and(|t| TAGS.contains(&t)) {
        tags(&mut head, bytes).ok_or(FrameError::Truncated { header: "VLAN" })?;
    }
    if let Some(ethertype) = head.ethertype
        && link == Link::Ethernet
    {
        head.fields.insert(ETH_TYPE, ethertype.into());
    }
    Ok(head)
}

fn bare() -> Head {
    Head {
        ethertype: None,
        fields: BTreeMap::new(),
        sent: false,
    }
}

fn ethernet(bytes: &mut Bytes<'_>) -> Option<Head> {
    let dest: [u8; 6] = bytes.array()?;
    let source: [u8; 6] = bytes.array()?;
    let ethertype = bytes.u16()?;
    let group = dest.first().is_some_and(|b| b & 1 == 1);
    let kind = match (dest == [0xff; 6], group) {
        (true, _) => BROADCAST,
        (false, true) => MULTICAST,
        (false, false) => TO_HOST,
    };
    let fields = [
        (ETH_DADDR, number(dest)),
        (ETH_SADDR, number(source)),
        (META_PKTTYPE, kind),
    ];
    Some(Head {
        ethertype: Some(ethertype),
        fields: fields.into(),
        sent: false,
    })
}

fn number(address: [u8; 6]) -> u64 {
    address.iter().fold(0, |n, b| n << 8 | u64::from(*b))
}

/// Reads tags up to the type behind them; the outermost tag is the one that counts.
fn tags(head: &mut Head, bytes: &mut Bytes<'_>) -> Option<()> {
    let mut ethertype = head.ethertype?;
    while TAGS.contains(&ethertype) {
        let control = bytes.u16()?;
        ethertype = bytes.u16()?;
        let (id, priority) = (control & 0x0fff, control >> 13);
        head.fields.entry(VLAN_ID).or_insert(id.into());
        head.fields.entry(VLAN_PCP).or_insert(priority.into());
    }
    head.ethertype = Some(ethertype);
    Some(())
}

/// Packet type, device type, address length, address, protocol.
fn cooked(bytes: &mut Bytes<'_>) -> Option<Head> {
    let kind = bytes.u16()?;
    let device = bytes.u16()?;
    let length = bytes.u16()?;
    let address: [u8; 8] = bytes.array()?;
    let ethertype = bytes.u16()?;
    Some(cooked_head(kind, device, length, address, ethertype))
}

/// Protocol, reserved, interface index, device type, packet type, address length, address.
fn cooked2(bytes: &mut Bytes<'_>) -> Option<Head> {
    let ethertype = bytes.u16()?;
    let _reserved_and_index: [u8; 6] = bytes.array()?;
    let device = bytes.u16()?;
    let kind = bytes.u8()?;
    let length = bytes.u8()?;
    let address: [u8; 8] = bytes.array()?;
    Some(cooked_head(
        kind.into(),
        device,
        length.into(),
        address,
        ethertype,
    ))
}

/// The number of Ethernet among device types (`ARPHRD_ETHER`).
const ETHERNET_DEVICE: u16 = 1;
/// The packet type of what the capturing machine sent.
const OUTGOING: u16 = 4;

fn cooked_head(kind: u16, device: u16, length: u16, address: [u8; 8], ethertype: u16) -> Head {
    let mut fields = BTreeMap::new();
    if device == ETHERNET_DEVICE && length == 6 {
        let [head @ .., _, _] = address;
        fields.insert(ETH_SADDR, number(head));
    }
    // The kinds are those of `meta.pkttype`, and one for what was sent.
    if u64::from(kind) <= META_PKTTYPE.largest() {
        fields.insert(META_PKTTYPE, kind.into());
    }
    Head {
        ethertype: Some(ethertype),
        fields,
        sent: kind == OUTGOING,
    }
}
