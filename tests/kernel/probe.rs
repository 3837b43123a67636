//! Packets made byte by byte, and which of them get where they are sent.

use std::io::{ErrorKind, Read};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use etherparse::checksum::Sum16BitWords;
use polc_runtime_loader::lab::{FrameBuilder, Mac, Namespace, Transport, Wire, Zone};
use socket2::{Domain, Protocol, Socket, Type};

/// The payload of the packet that is sent last and let through in any case.
pub(crate) const SENTINEL: &str = "sentinel";

/// How long the last packet may take.
const PATIENCE: Duration = Duration::from_secs(3);

/// The sender and the receiver of a frame.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ends {
    pub(crate) from: (Mac, IpAddr),
    pub(crate) to: (Mac, IpAddr),
}

impl Ends {
    /// From the host of a zone by its router.
    pub(crate) fn of(zone: &Zone, from: IpAddr, to: IpAddr) -> Self {
        Self {
            from: (zone.mac, from),
            to: (zone.router_mac, to),
        }
    }

    /// A packet with a payload.
    pub(crate) fn packet(&self, transport: Transport, text: &str) -> FrameBuilder {
        FrameBuilder::new(self.from, self.to, transport).payload(text)
    }

    /// A datagram.
    pub(crate) fn udp(&self, source: u16, destination: u16, text: &str) -> FrameBuilder {
        let transport = Transport::Udp {
            source,
            destination,
        };
        self.packet(transport, text)
    }

    /// An ICMP error about a packet, which is quoted whole.
    pub(crate) fn error(&self, (kind, code): (u8, u8), about: &[u8]) -> Vec<u8> {
        let transport = Transport::Icmp { kind, code };
        FrameBuilder::new(self.from, self.to, transport)
            .payload(packet_of(about))
            .build()
    }

    /// An echo request with a payload.
    pub(crate) fn ping(&self, text: &str) -> Vec<u8> {
        self.packet(Transport::EchoRequest { id: 77 }, text).build()
    }
}

/// The packet of an untagged frame.
pub(crate) fn packet_of(frame: &[u8]) -> &[u8] {
    &frame[14..]
}

/// Where packets are listened for.
pub(crate) enum Ear {
    /// What arrives at an interface, before any filter.
    Wire(Wire),
    /// What a host has let in.
    Host(Socket),
}

impl Ear {
    /// What arrives at the host of a zone.
    pub(crate) fn at(zone: &Zone) -> Self {
        Self::Wire(Wire::open(&zone.namespace, &zone.interface).expect("a wire"))
    }

    /// What a host has let in of a family and a protocol (ICMP by its IPv4 number).
    pub(crate) fn inside(host: &Namespace, v6: bool, protocol: u8) -> Self {
        let (domain, protocol) = match (v6, protocol) {
            (false, number) => (Domain::IPV4, i32::from(number)),
            (true, 1) => (Domain::IPV6, 58),
            (true, number) => (Domain::IPV6, i32::from(number)),
        };
        let open = || {
            let socket = Socket::new(domain, Type::RAW, Some(Protocol::from(protocol)))?;
            socket.set_read_timeout(Some(Duration::from_millis(20)))?;
            Ok::<Socket, std::io::Error>(socket)
        };
        Self::Host(host.run(open).expect("a namespace").expect("a socket"))
    }

    fn next(&mut self) -> Option<Vec<u8>> {
        match self {
            Self::Wire(wire) => wire
                .receive(Duration::from_millis(20))
                .expect("it is readable"),
            Self::Host(socket) => {
                let mut buffer = vec![0; 65_536];
                match socket.read(&mut buffer) {
                    Ok(length) => {
                        buffer.truncate(length);
                        Some(buffer)
                    }
                    Err(error)
                        if [ErrorKind::WouldBlock, ErrorKind::TimedOut].contains(&error.kind()) =>
                    {
                        None
                    }
                    Err(error) => panic!("{error}"),
                }
            }
        }
    }

    /// What arrives until the sentinel does, which must.
    pub(crate) fn all(&mut self) -> Vec<Vec<u8>> {
        let end = Instant::now() + PATIENCE;
        let mut found = Vec::new();
        while Instant::now() < end {
            match self.next() {
                Some(bytes) if holds(&bytes, SENTINEL) => return found,
                Some(bytes) => found.push(bytes),
                None => {}
            }
        }
        panic!("the sentinel did not arrive");
    }

    /// Which of these payloads arrive until the sentinel does.
    pub(crate) fn hears<'m>(&mut self, marks: &[&'m str]) -> Vec<&'m str> {
        let all = self.all();
        let heard = |mark: &&str| all.iter().any(|bytes| holds(bytes, mark));
        marks.iter().copied().filter(heard).collect()
    }

    /// What arrives within a time.
    pub(crate) fn for_a_while(&mut self, time: Duration) -> Vec<Vec<u8>> {
        let end = Instant::now() + time;
        let mut found = Vec::new();
        while Instant::now() < end {
            found.extend(self.next());
        }
        found
    }
}

/// Whether bytes hold a text.
pub(crate) fn holds(bytes: &[u8], text: &str) -> bool {
    bytes
        .windows(text.len())
        .any(|part| part == text.as_bytes())
}

/// The source and the destination of an untagged frame, however damaged what follows is.
pub(crate) fn addresses(frame: &[u8]) -> Option<(IpAddr, IpAddr)> {
    let packet = frame.get(14..)?;
    match frame.get(12..14)? {
        [0x08, 0x00] => {
            let from: [u8; 4] = packet.get(12..16)?.try_into().ok()?;
            let to: [u8; 4] = packet.get(16..20)?.try_into().ok()?;
            Some((from.into(), to.into()))
        }
        [0x86, 0xdd] => {
            let from: [u8; 16] = packet.get(8..24)?.try_into().ok()?;
            let to: [u8; 16] = packet.get(24..40)?.try_into().ok()?;
            Some((from.into(), to.into()))
        }
        _ => None,
    }
}

/// The same frame with options in its IPv4 header, a multiple of four bytes.
pub(crate) fn with_options(frame: &[u8], options: &[u8]) -> Vec<u8> {
    let (head, rest) = frame.split_at(14 + 20);
    let mut frame = [head, options, rest].concat();
    let length = u8::try_from(options.len()).expect("few options");
    frame[14] += length / 4;
    let total = u16::from_be_bytes([frame[16], frame[17]]) + u16::from(length);
    frame[16..18].copy_from_slice(&total.to_be_bytes());
    frame[24..26].fill(0);
    let header = &frame[14..34 + options.len()];
    let sum = Sum16BitWords::new().add_slice(header).ones_complement();
    frame[24..26].copy_from_slice(&sum.to_ne_bytes());
    frame
}

/// The same IPv6 frame with destination options, so many headers of them, before what it carries.
pub(crate) fn with_extensions(frame: &[u8], count: usize) -> Vec<u8> {
    let (head, rest) = frame.split_at(14 + 40);
    let protocol = head[20];
    let mut frame = head.to_vec();
    frame[20] = if count == 0 { protocol } else { 60 };
    for number in 1..=count {
        let next = if number == count { protocol } else { 60 };
        frame.extend([next, 0, 1, 4, 0, 0, 0, 0]);
    }
    frame.extend(rest);
    let length = u16::try_from(frame.len() - 54).expect("a short packet");
    frame[18..20].copy_from_slice(&length.to_be_bytes());
    frame
}

/// The errors of a checksum in an IP packet and in the TCP, UDP or ICMP that it carries.
pub(crate) fn wrong_checksums(frame: &[u8]) -> Option<String> {
    let packet = packet_of(frame);
    let (from, to) = addresses(frame)?;
    let (header, protocol) = match from {
        IpAddr::V4(_) => {
            let header = usize::from(packet[0] & 0x0f) * 4;
            let sum = Sum16BitWords::new().add_slice(&packet[..header]);
            if sum.ones_complement() != 0 {
                return Some("the IPv4 header's checksum is wrong".to_owned());
            }
            (header, packet[9])
        }
        IpAddr::V6(_) => (40, packet[6]),
    };
    let length = match from {
        IpAddr::V4(_) => usize::from(u16::from_be_bytes([packet[2], packet[3]])),
        IpAddr::V6(_) => 40 + usize::from(u16::from_be_bytes([packet[4], packet[5]])),
    };
    let Some(carried) = packet.get(header..length) else {
        return Some(format!("{} bytes of {length}", packet.len()));
    };
    let mut sum = Sum16BitWords::new();
    if protocol != 1 {
        let octets = |address: IpAddr| match address {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets().to_vec(),
        };
        let size = u16::try_from(carried.len()).expect("a packet");
        sum = sum
            .add_slice(&octets(from))
            .add_slice(&octets(to))
            .add_2bytes(size.to_be_bytes())
            .add_2bytes([0, protocol]);
    }
    let left = sum.add_slice(carried).ones_complement();
    (left != 0).then(|| format!("the checksum of protocol {protocol} is wrong by {left:#x}"))
}
