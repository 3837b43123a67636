//! Capture files: classic pcap and pcapng, from bytes to frames.

use pcap_parser::nom;
use pcap_parser::pcapng::Block;
use pcap_parser::traits::PcapNGPacketBlock;
use pcap_parser::{
    InterfaceDescriptionBlock, Linktype, PcapBlockOwned, PcapNGSlice, parse_pcap_frame,
    parse_pcap_frame_be, parse_pcap_frame_modified, parse_pcap_header,
};
use polc_compiler::interpret::frame::{Frame, Link};

/// A frame of a capture.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Captured<'a> {
    /// Milliseconds since 1970.
    pub(crate) time: u64,
    /// Its bytes, or the link type that is not known.
    pub(crate) frame: Result<Frame<'a>, Linktype>,
    /// Octets on the wire.
    pub(crate) length: usize,
}

/// What a capture file holds.
#[derive(Debug)]
pub(crate) struct Capture<'a> {
    pub(crate) frames: Vec<Captured<'a>>,
    /// Why what follows the last frame cannot be read, if anything follows.
    pub(crate) broken: Option<String>,
}

/// The file is not a capture.
#[derive(Debug, thiserror::Error)]
#[error("it is neither pcap nor pcapng")]
pub(crate) struct NotCapture;

/// Reads a capture as far as it goes.
pub(crate) fn read(bytes: &[u8]) -> Result<Capture<'_>, NotCapture> {
    match PcapNGSlice::from_slice(bytes) {
        Ok(blocks) => Ok(pcapng(blocks)),
        Err(_) => pcap(bytes),
    }
}

fn pcap(bytes: &[u8]) -> Result<Capture<'_>, NotCapture> {
    let (mut rest, header) = parse_pcap_header(bytes).map_err(|_| NotCapture)?;
    let parse = match (header.is_bigendian(), header.is_modified_format()) {
        (true, _) => parse_pcap_frame_be,
        (false, true) => parse_pcap_frame_modified,
        (false, false) => parse_pcap_frame,
    };
    let per_milli = if header.is_nanosecond_precision() {
        1_000_000
    } else {
        1_000
    };
    let mut frames = Vec::new();
    let mut broken = None;
    while !rest.is_empty() {
        match parse(rest) {
            Ok((behind, block)) => {
                rest = behind;
                let time = u64::from(block.ts_sec) * 1000 + u64::from(block.ts_usec) / per_milli;
                // The upper bits say how long the checksum is that ends each frame.
                let link = Linktype(header.network.0 & 0xffff);
                let captured = usize::try_from(block.caplen).unwrap_or(usize::MAX);
                let data = block.data.get(..captured).unwrap_or(block.data);
                frames.push(frame(time, link, data, block.origlen));
            }
            Err(error) => {
                broken = Some(reason(&error));
                break;
            }
        }
    }
    Ok(Capture { frames, broken })
}

fn pcapng(blocks: PcapNGSlice<'_>) -> Capture<'_> {
    let mut frames: Vec<Captured<'_>> = Vec::new();
    let mut interfaces = Vec::new();
    for block in blocks {
        let block = match block {
            Ok(PcapBlockOwned::NG(block)) => block,
            Ok(_) => continue,
            Err(error) => {
                let broken = Some(reason(&error));
                return Capture { frames, broken };
            }
        };
        match block {
            Block::SectionHeader(_) => interfaces.clear(),
            Block::InterfaceDescription(description) => {
                interfaces.push(Interface::of(&description))
            }
            Block::EnhancedPacket(packet) => {
                let index = usize::try_from(packet.if_id).unwrap_or(usize::MAX);
                let interface = interfaces.get(index).copied().unwrap_or_default();
                let ticks = u64::from(packet.ts_high) << 32 | u64::from(packet.ts_low);
                let captured = usize::try_from(packet.caplen).unwrap_or(usize::MAX);
                let data = packet.data.get(..captured).unwrap_or(packet.data);
                let time = interface.millis(ticks);
                frames.push(frame(time, interface.link, data, packet.orig_len()));
            }
            Block::SimplePacket(packet) => {
                let interface = interfaces.first().copied().unwrap_or_default();
                // It has no time of its own.
                let time = frames.last().map_or(0, |f| f.time);
                let captured = packet.origlen.min(interface.most);
                let captured = usize::try_from(captured).unwrap_or(usize::MAX);
                let data = packet.data.get(..captured).unwrap_or(packet.data);
                frames.push(frame(time, interface.link, data, packet.origlen));
            }
            _ => {}
        }
    }
    Capture {
        frames,
        broken: None,
    }
}

/// An interface of a pcapng section.
#[derive(Clone, Copy, Debug)]
struct Interface {
    link: Linktype,
    /// The most bytes captured of a frame.
    most: u32,
    /// Ticks in a second.
    ticks: u128,
    /// Seconds to add to each time.
    offset: i64,
}

impl Default for Interface {
    /// One that is not described: its link type is none.
    fn default() -> Self {
        Self {
            link: Linktype(-1),
            most: u32::MAX,
            ticks: 1_000_000,
            offset: 0,
        }
    }
}

impl Interface {
    fn of(description: &InterfaceDescriptionBlock<'_>) -> Self {
        let exponent = u32::from(description.if_tsresol & 0x7f);
        let base: u128 = if description.if_tsresol & 0x80 == 0 {
            10
        } else {
            2
        };
        Self {
            link: description.linktype,
            most: match description.snaplen {
                0 => u32::MAX,
                some => some,
            },
            ticks: base.checked_pow(exponent).unwrap_or(u128::MAX),
            offset: description.if_tsoffset,
        }
    }

    fn millis(self, ticks: u64) -> u64 {
        let millis = u128::from(ticks) * 1000 / self.ticks;
        let millis = i128::try_from(millis).unwrap_or(i128::MAX);
        let shifted = millis.saturating_add(i128::from(self.offset) * 1000);
        u64::try_from(shifted.max(0)).unwrap_or(u64::MAX)
    }
}

fn frame(time: u64, kind: Linktype, bytes: &[u8], length: u32) -> Captured<'_> {
    let length = usize::try_from(length)
        .unwrap_or(usize::MAX)
        .max(bytes.len());
    let frame = link(kind).map(|link| Frame {
        link,
        bytes,
        length,
    });
    Captured {
        time,
        frame: frame.ok_or(kind),
        length,
    }
}

fn link(kind: Linktype) -> Option<Link> {
    match kind {
        Linktype::ETHERNET => Some(Link::Ethernet),
        // Some systems write their own number (12, 14) of raw IP.
        Linktype::RAW | Linktype::IPV4 | Linktype::IPV6 | Linktype(12 | 14) => Some(Link::Raw),
        Linktype::LINUX_SLL => Some(Link::Cooked),
        Linktype::LINUX_SLL2 => Some(Link::Cooked2),
        Linktype::NULL | Linktype::LOOP => Some(Link::Loopback),
        _ => None,
    }
}

fn reason<I: std::fmt::Debug>(error: &nom::Err<I>) -> String {
    match error {
        nom::Err::Incomplete(_) => "it ends in the middle of a frame".to_owned(),
        nom::Err::Error(_) | nom::Err::Failure(_) => "a record of it is malformed".to_owned(),
    }
}
