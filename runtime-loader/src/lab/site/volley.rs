//! Sending packets to a machine, or from it, and seeing what becomes of them.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sched::{CpuSet, sched_getcpu, sched_setaffinity};
use nix::unistd::Pid;
use socket2::Socket;

use super::tap::{destination, sender};
use super::{FAR, NEAR, Site, Way};
use crate::lab::{LabError, Mac, Wire};
use crate::sys;

/// How often the machine is asked whether it is done. With each answer, what was under way one hop
/// has arrived; a packet takes no more than a few.
const ROUNDS: u32 = 6;

/// How long the machine may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

const ETHERNET: usize = 14;
const ARP: [u8; 2] = [0x08, 0x06];

/// A packet to be sent.
#[derive(Clone, Debug)]
pub struct Throw {
    /// How long after the first.
    pub after: Duration,
    /// Who sends it.
    pub from: Origin,
    /// The packet, from its IP header on.
    pub packet: Vec<u8>,
}

/// Who sends a packet.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// Somebody behind an interface of the machine.
    Interface(String),
    /// A user and group of the machine; this process's own when absent.
    Machine(Option<u32>, Option<u32>),
}

/// What was seen.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// When each packet was sent, after the first.
    pub sent: Vec<Duration>,
    /// Packets, from their IP headers on, and the interface by which they left; none when the
    /// machine itself got them.
    pub packets: Vec<(Option<String>, Vec<u8>)>,
    /// How many packets the sockets of each listener got.
    pub taken: BTreeMap<String, u64>,
}

/// Sockets to send from the machine itself, by family, user and group.
type Senders = BTreeMap<(bool, Option<u32>, Option<u32>), Socket>;

impl Site {
    /// Sends packets along these ways and waits until what becomes of them is seen. Sockets at
    /// `ports` of the machine swallow what gets to them. When `enough` says no to what was seen, it
    /// is looked for a while longer.
    pub fn throw(
        &self,
        throws: &[Throw],
        (ways, ports): (&[Way], &BTreeSet<u16>),
        longer: Duration,
        enough: impl Fn(&Observed) -> bool + Sync,
    ) -> Result<Observed, LabError> {
        let _sinks = self.own_sinks(ports)?;
        self.open_ways(ways)?;
        let observed = self
            .machine
            .run(|| self.throw_inside(throws, longer, &enough))?;
        self.close_ways(ways)?;
        observed
    }

    fn throw_inside(
        &self,
        throws: &[Throw],
        longer: Duration,
        enough: &dyn Fn(&Observed) -> bool,
    ) -> Result<Observed, LabError> {
        // What is sent on one processor is received in that order.
        stay().map_err(LabError::when("stay on one processor"))?;
        let senders = senders(throws)?;
        let before = self.taken()?;
        let mut observed = Observed::default();
        self.look(&mut observed)?;
        observed.packets.clear();
        let start = Instant::now();
        for throw in throws {
            let wait = throw.after.saturating_sub(start.elapsed());
            if !wait.is_zero() {
                std::thread::sleep(wait);
            }
            observed.sent.push(start.elapsed());
            self.send(throw, &senders)?;
        }
        let first = observed.sent.first().copied().unwrap_or_default();
        for time in &mut observed.sent {
            *time -= first;
        }
        for _ in 0..ROUNDS {
            self.ask(&mut observed)?;
        }
        let end = Instant::now() + longer;
        loop {
            self.look(&mut observed)?;
            observed.taken = self.taken()?;
            for (name, number) in &mut observed.taken {
                *number -= before.get(name).copied().unwrap_or(0);
            }
            if enough(&observed) || Instant::now() >= end {
                return Ok(observed);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn send(&self, throw: &Throw, senders: &Senders) -> Result<(), LabError> {
        let to = destination(&throw.packet).unwrap_or(Ipv4Addr::UNSPECIFIED.into());
        match &throw.from {
            Origin::Interface(name) => {
                let mut frame = Vec::with_capacity(ETHERNET + throw.packet.len());
                frame.extend(hardware_address(to).0);
                frame.extend(FAR.0);
                frame.extend(if to.is_ipv4() {
                    [0x08, 0x00]
                } else {
                    [0x86, 0xdd]
                });
                frame.extend(&throw.packet);
                self.wire(name)?.send(&frame)
            }
            Origin::Machine(uid, gid) => {
                let socket = senders.get(&(to.is_ipv6(), *uid, *gid));
                let socket = socket
                    .ok_or_else(|| io::ErrorKind::NotFound.into())
                    .map_err(LabError::when("find the sender of a packet"))?;
                match socket.send_to(&throw.packet, &SocketAddr::new(to, 0).into()) {
                    // The policy's answer.
                    Err(error) if is_refusal(&error) => Ok(()),
                    other => other
                        .map(|_| ())
                        .map_err(LabError::when(format!("send a packet to {to}"))),
                }
            }
        }
    }

    /// Asks whether the machine is done with what came before; packets that are seen meanwhile are
    /// kept.
    fn ask(&self, observed: &mut Observed) -> Result<(), LabError> {
        let Some((name, wire)) = self.wires.first_key_value() else {
            return Ok(());
        };
        let Some(IpAddr::V4(home)) = self.home.iter().find(|a| a.is_ipv4()) else {
            return Ok(());
        };
        wire.send(&question(*home))?;
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            let frames = wire.pending()?;
            let answered = frames.iter().any(|f| is_answer(f));
            keep(name, frames, observed);
            if answered {
                return Ok(());
            }
            std::thread::yield_now();
        }
        Err(LabError::when("hear from the machine under test")(
            io::ErrorKind::TimedOut.into(),
        ))
    }

    /// Keeps what has arrived.
    fn look(&self, observed: &mut Observed) -> Result<(), LabError> {
        for (name, wire) in &self.wires {
            keep(name, wire.pending()?, observed);
        }
        for tap in &self.taps {
            let packets = tap.pending()?.into_iter().map(|p| (None, p));
            observed.packets.extend(packets);
        }
        Ok(())
    }

    fn taken(&self) -> Result<BTreeMap<String, u64>, LabError> {
        let mut taken = BTreeMap::new();
        for sink in &self.sinks {
            if let Some(name) = &sink.name {
                *taken.entry(name.clone()).or_default() += sink.taken()?;
            }
        }
        Ok(taken)
    }

    fn wire(&self, name: &str) -> Result<&Wire, LabError> {
        self.wires
            .get(name)
            .ok_or_else(|| io::ErrorKind::NotFound.into())
            .map_err(LabError::when(format!("find the interface `{name}`")))
    }
}

fn keep(name: &str, frames: Vec<Vec<u8>>, observed: &mut Observed) {
    for frame in frames {
        let packet = frame.get(ETHERNET..).unwrap_or_default();
        if frame.get(12..ETHERNET) != Some(&ARP[..]) {
            observed
                .packets
                .push((Some(name.to_owned()), packet.to_vec()));
        }
    }
}

/// Keeps the calling thread on the processor where it is.
fn stay() -> io::Result<()> {
    let mut here = CpuSet::new();
    here.set(sched_getcpu()?)?;
    sched_setaffinity(Pid::from_raw(0), &here)?;
    Ok(())
}

/// A socket for each sender of the machine itself, made by them.
fn senders(throws: &[Throw]) -> Result<Senders, LabError> {
    let mut senders = Senders::new();
    for throw in throws {
        let Origin::Machine(uid, gid) = &throw.from else {
            continue;
        };
        let v6 = destination(&throw.packet).is_some_and(|a| a.is_ipv6());
        let key = (v6, *uid, *gid);
        if senders.contains_key(&key) {
            continue;
        }
        let make = || {
            sys::become_on_this_thread(*uid, *gid)?;
            sender(v6)
        };
        let socket = std::thread::scope(|scope| {
            let maker = scope.spawn(make);
            maker
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        let who = |id: &Option<u32>| id.map_or("its own".to_owned(), |id| id.to_string());
        let what = format!("send as user {}, group {}", who(uid), who(gid));
        senders.insert(key, socket.map_err(LabError::when(what))?);
    }
    Ok(senders)
}

/// Whether the kernel says that a packet was not let out.
pub(in crate::lab) fn is_refusal(error: &io::Error) -> bool {
    let number = error.raw_os_error().map(Errno::from_raw);
    matches!(
        number,
        Some(
            Errno::EPERM
                | Errno::EACCES
                | Errno::ECONNREFUSED
                | Errno::EHOSTUNREACH
                | Errno::ENETUNREACH
                | Errno::ENOBUFS
        )
    )
}

/// The hardware address of packets to an address.
fn hardware_address(to: IpAddr) -> Mac {
    match to {
        IpAddr::V4(Ipv4Addr::BROADCAST) => Mac([0xff; 6]),
        _ => NEAR,
    }
}

/// An ARP request for an address by somebody who has none. Address resolution is no policy's matter:
/// it is answered in any case, and remembered by nobody.
fn question(home: Ipv4Addr) -> Vec<u8> {
    let mut frame = [&[0xff; 6][..], &FAR.0, &ARP].concat();
    frame.extend([0, 1, 8, 0, 6, 4, 0, 1]);
    frame.extend(FAR.0);
    frame.extend([0; 10]);
    frame.extend(home.octets());
    frame
}

/// Whether a frame is an ARP reply.
fn is_answer(frame: &[u8]) -> bool {
    frame.get(12..ETHERNET) == Some(&ARP[..]) && frame.get(20..22) == Some(&[0, 2])
}
