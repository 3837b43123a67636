//! Filters that are programs, at the `clsact` qdisc of an interface (`tc filter … bpf direct-action`).

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::tc::{
    TcAttribute, TcBpfFlags, TcFilterBpf, TcFilterBpfOption, TcHandle, TcHeader, TcMessage,
    TcOption, TcU32OptionFlags,
};

use super::RouteConnection;

/// The name of the qdisc.
const CLSACT: &str = "clsact";

/// Packets of all protocols (`ETH_P_ALL`).
const ALL_PROTOCOLS: u16 = 0x0003;

/// The way of packets that a filter sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// Those that come in.
    Ingress,
    /// Those that leave.
    Egress,
}

/// A place for a filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// The interface's number.
    pub(crate) index: u32,
    /// The way of its packets.
    pub(crate) direction: Direction,
    /// Filters run in the order of these numbers; not 0.
    pub(crate) priority: u16,
    /// What tells it from others with this priority; not 0.
    pub(crate) handle: u32,
}

/// What is read of a filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Filter {
    /// What tells it from others with its priority; 0 for what says only that there are some.
    pub(crate) handle: u32,
    /// Whether it is of the kind that [`set`] makes, for packets of all protocols. Filters of one
    /// priority are all of one kind and protocol.
    pub(crate) same_kind: bool,
    /// The number of its program.
    pub(crate) program: Option<u32>,
}

/// Gives an interface the qdisc; one that it has stays. The error is `EINVAL` where another one,
/// such as `ingress`, is in its place.
pub(crate) fn add_qdisc(connection: &mut RouteConnection, index: u32) -> io::Result<()> {
    let mut message = TcMessage::with_index(index.cast_signed());
    message.header.handle = TcHandle {
        major: TcHandle::CLSACT.major,
        minor: 0,
    };
    message.header.parent = TcHandle::CLSACT;
    message.attributes = vec![TcAttribute::Kind(CLSACT.to_owned())];
    connection.request(
        RouteNetlinkMessage::NewQueueDiscipline(message),
        NLM_F_CREATE,
    )
}

/// Lets a filter with a program be in a place. What is there is replaced in one step for packets;
/// with `exclusive` it is an error, `EEXIST`.
pub(crate) fn set(
    connection: &mut RouteConnection,
    place: Place,
    program: BorrowedFd<'_>,
    exclusive: bool,
) -> io::Result<()> {
    let options = [
        TcFilterBpfOption::ProgFd(program.as_raw_fd().cast_unsigned()),
        TcFilterBpfOption::ProgName("polc".to_owned()),
        TcFilterBpfOption::Flags(TcBpfFlags::DirectAction),
        // A network card that took it over could not read the maps.
        TcFilterBpfOption::FlagsGeneric(TcU32OptionFlags::SkipHw),
    ];
    let mut message = message(place);
    let options = options.into_iter().map(TcOption::Bpf).collect();
    message.attributes.push(TcAttribute::Options(options));
    let how = if exclusive { NLM_F_EXCL } else { NLM_F_REPLACE };
    connection.request(
        RouteNetlinkMessage::NewTrafficFilter(message),
        NLM_F_CREATE | how,
    )
}

/// Takes the filter of a place away.
pub(crate) fn remove(connection: &mut RouteConnection, place: Place) -> io::Result<()> {
    connection.request(RouteNetlinkMessage::DelTrafficFilter(message(place)), 0)
}

/// The filters with the interface, direction and priority of a place, of chain 0; none where there is no
/// such interface or qdisc.
pub(crate) fn beside(connection: &mut RouteConnection, place: Place) -> io::Result<Vec<Filter>> {
    let mut request = message(place);
    request.header.handle = TcHandle::UNSPEC;
    // Without a protocol: those of all.
    request.header.info = info(place.priority, 0);
    request.attributes.clear();
    let parts = connection.dump(|| RouteNetlinkMessage::GetTrafficFilter(request.clone()))?;
    Ok(parts.iter().filter_map(filter).collect())
}

fn filter(message: &RouteNetlinkMessage) -> Option<Filter> {
    let RouteNetlinkMessage::NewTrafficFilter(message) = message else {
        return None;
    };
    let mut filter = Filter {
        handle: message.header.handle.into(),
        same_kind: false,
        program: None,
    };
    for attribute in &message.attributes {
        match attribute {
            TcAttribute::Kind(kind) => {
                filter.same_kind = kind == TcFilterBpf::KIND
                    && message.header.info & 0xffff == info(0, ALL_PROTOCOLS);
            }
            TcAttribute::Options(options) => {
                filter.program = options.iter().find_map(|option| match option {
                    TcOption::Bpf(TcFilterBpfOption::ProgId(id)) => Some(*id),
                    _ => None,
                });
            }
            // Reached only by a filter of chain 0 that sends packets there.
            TcAttribute::Chain(chain) if *chain != 0 => return None,
            _ => {}
        }
    }
    Some(filter)
}

fn message(place: Place) -> TcMessage {
    let minor = match place.direction {
        Direction::Ingress => TcHandle::MIN_INGRESS,
        Direction::Egress => TcHandle::MIN_EGRESS,
    };
    let header = TcHeader {
        index: place.index.cast_signed(),
        handle: place.handle.into(),
        parent: TcHandle {
            major: TcHandle::CLSACT.major,
            minor,
        },
        info: info(place.priority, ALL_PROTOCOLS),
        ..TcHeader::default()
    };
    let kind = TcAttribute::Kind(TcFilterBpf::KIND.to_owned());
    TcMessage::from_parts(header, vec![kind])
}

/// A priority, and a protocol in the order of bytes of the network.
fn info(priority: u16, protocol: u16) -> u32 {
    u32::from(priority) << 16 | u32::from(protocol.to_be())
}
