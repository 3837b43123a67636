//! Sending packets through a machine, and seeing what becomes of them.

use std::collections::BTreeSet;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

use super::{FAR, NEAR, Stand};
use crate::lab::LabError;
use crate::lab::site::{destination, is_refusal, sender};
use crate::sys;

/// How long the machine may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// The type of frames that say that what came before is done: one for experiments (IEEE 802,
/// clause 9.2.4), which no policy is about.
pub(super) const SENTINEL: [u8; 2] = [0x88, 0xb5];

/// A packet to be sent.
#[derive(Clone, Debug)]
pub struct Launch {
    /// Who sends it.
    pub from: Source,
    /// The packet, from its IP header on.
    pub packet: Vec<u8>,
}

/// Who sends a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Somebody behind an interface of the machine.
    Interface(Arc<str>),
    /// A user and group of the machine.
    Machine(u32, u32),
}

/// A packet that was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Catch {
    /// The interface by which it left; none when the machine got it.
    pub by: Option<Arc<str>>,
    /// Its mark then.
    pub mark: u32,
    /// The packet, from its IP header on. Of IPv6 packets that the machine got, neither the flow label nor extension
    /// headers are told.
    pub packet: Vec<u8>,
}

/// Keeps the calling thread, and those that it starts, on one of the processors.
pub fn stay_on_processor(number: usize) -> Result<(), LabError> {
    let all = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let mut set = CpuSet::new();
    let stay = set.set(number % all).and_then(|()| {
        // The calling thread.
        sched_setaffinity(Pid::from_raw(0), &set)
    });
    stay.map_err(|errno| LabError::when("stay on one processor")(errno.into()))
}

impl Stand {
    /// Sends packets one after the other, and waits until the machine is done with them. What was
    /// seen is told in the order in which it left; what the machine got comes last.
    ///
    /// The calling thread should stay on one processor: what is sent there is received in order.
    pub fn fire(&mut self, launches: &[Launch]) -> Result<Vec<Catch>, LabError> {
        let mut used = BTreeSet::new();
        for launch in launches {
            match &launch.from {
                Source::Interface(name) => {
                    self.send_from_outside(name, ethertype(&launch.packet), &launch.packet)?;
                    used.insert(Arc::clone(name));
                }
                Source::Machine(uid, gid) => self.send_from_inside((*uid, *gid), &launch.packet)?,
            }
        }
        if let Some((first, _)) = self.wires.first_key_value() {
            used.insert(first.as_str().into());
        }
        for name in &used {
            self.send_from_outside(name, SENTINEL, &[0; 46])?;
        }
        self.await_sentinels(used.len())
    }

    fn await_sentinels(&self, wanted: usize) -> Result<Vec<Catch>, LabError> {
        let see = LabError::when("see what a machine does");
        let mut caught = Vec::new();
        let (mut seen, end) = (0, Instant::now() + PATIENCE);
        let looked = loop {
            match self.ears.leaving(&mut caught) {
                Ok(sentinels) => seen += sentinels,
                Err(error) => break Err(error),
            }
            if seen >= wanted {
                break self.ears.arrived(&mut caught);
            }
            if Instant::now() > end {
                break Err(io::ErrorKind::TimedOut.into());
            }
            std::thread::yield_now();
        };
        looked.map_err(see)?;
        Ok(caught)
    }

    fn send_from_outside(&self, name: &str, kind: [u8; 2], packet: &[u8]) -> Result<(), LabError> {
        let mut frame = Vec::with_capacity(14 + packet.len());
        frame.extend(NEAR.0);
        frame.extend(FAR.0);
        frame.extend(kind);
        frame.extend(packet);
        let wire = self
            .wires
            .get(name)
            .ok_or_else(|| io::ErrorKind::NotFound.into())
            .map_err(LabError::when(format!("find the interface `{name}`")))?;
        wire.send(&frame)
    }

    fn send_from_inside(&mut self, who: (u32, u32), packet: &[u8]) -> Result<(), LabError> {
        let to = destination(packet).unwrap_or(Ipv4Addr::UNSPECIFIED.into());
        let key = (to.is_ipv6(), who.0, who.1);
        if !self.senders.contains_key(&key) {
            let opened = self.machine.run(|| {
                sys::become_on_this_thread(Some(who.0), Some(who.1))?;
                sender(key.0)
            })?;
            let what = format!("send as user {}, group {}", who.0, who.1);
            self.senders
                .insert(key, opened.map_err(LabError::when(what))?);
        }
        let Some(socket) = self.senders.get(&key) else {
            return Ok(());
        };
        match socket.send_to(packet, &SocketAddr::new(to, 0).into()) {
            Err(error) if !is_refusal(&error) => {
                Err(LabError::when(format!("send a packet to {to}"))(error))
            }
            // A refusal is the policy's answer.
            _ => Ok(()),
        }
    }
}

fn ethertype(packet: &[u8]) -> [u8; 2] {
    match packet.first().map(|byte| byte >> 4) {
        Some(6) => [0x86, 0xdd],
        _ => [0x08, 0x00],
    }
}
