//! A packet's way through the programs of a machine: at each hook it is what the one before has made of it.

use std::thread::sleep;
use std::time::Duration;

use fastrand::Rng;
use polc_bundle::ProgramStage;
use polc_compiler::target::ebpf::{Hook, Programs};

use super::super::kernel::{Loaded, Sent};
use super::net::{HARDWARE, Net};
use super::shot::{ethernet, read};

/// The programs' answers (include/uapi/linux/bpf.h, `enum tcx_action_base`).
const DROP: u32 = 2;
const NEXT: u32 = u32::MAX;
const REDIRECT: u32 = 7;

/// The loopback interface.
const LOOPBACK: u32 = 1;

/// Where a packet comes from, and where it goes. Interfaces are told by their classes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// It comes in by the first, and leaves by the second if it is not for this host.
    In(usize, usize),
    /// This host sends it by the first; by the second if it is sent another way.
    Out(usize, usize),
    /// This host sends it to itself.
    Home,
}

/// What becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It arrives at this host, or leaves.
    Passed,
    Dropped,
    /// A filter has answered.
    Answered,
}

/// Where it was in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Host,
    /// Led back by the loopback interface.
    Home,
    /// The class of an interface.
    Iface(usize),
}

/// A packet's way, as it was.
#[derive(Clone, Debug)]
pub(super) struct Journey {
    pub(super) fate: Fate,
    pub(super) packet: Vec<u8>,
    pub(super) mark: u32,
    pub(super) place: Place,
    /// Whether this host's own packet was sent another way than it was routed.
    pub(super) moved: bool,
    /// The programs that it met, and their answers.
    pub(super) met: Vec<(String, u32)>,
}

/// A machine with programs.
pub(super) struct Machine<'m> {
    pub(super) net: &'m Net,
    pub(super) programs: &'m Programs,
    pub(super) loaded: Loaded,
    /// Whether packets can come without Ethernet header: then tests of programs cannot say how they are
    /// addressed.
    pub(super) bare: bool,
    /// How long a packet waits before each program.
    pub(super) wait: Duration,
}

impl Machine<'_> {
    /// The number of the interface of a class.
    pub(super) fn index(&self, class: usize) -> u32 {
        if super::name_of(&self.programs.classes[class].0) == "lo" {
            return LOOPBACK;
        }
        self.net.interfaces[class].index
    }

    /// Whether some interface is of a class.
    pub(super) fn has_programs(&self, class: usize) -> bool {
        let (pattern, _) = &self.programs.classes[class];
        let mut programs = self.programs.programs.iter();
        programs.any(|p| p.pattern == *pattern && p.name.is_some())
    }

    /// Sends a packet on its way.
    pub(super) fn send(&self, rng: &mut Rng, way: Way, packet: &[u8]) -> Journey {
        let mut journey = Journey {
            fate: Fate::Passed,
            packet: packet.to_vec(),
            mark: 0,
            place: Place::Host,
            moved: false,
            met: Vec::new(),
        };
        let on = match way {
            Way::In(from, to) => self.arrives(rng, &mut journey, (from, to)),
            Way::Out(by, other) => self.leaves(rng, &mut journey, (by, other)),
            Way::Home => self.home(rng, &mut journey),
        };
        if let Err(fate) = on {
            journey.fate = fate;
        }
        journey
    }

    fn arrives(
        &self,
        rng: &mut Rng,
        journey: &mut Journey,
        (from, to): (usize, usize),
    ) -> Result<(), Fate> {
        use ProgramStage::{Egress, Filter, Steer};
        let ingress = self.index(from);
        let at = (Hook::Ingress, from, ingress);
        self.step(rng, journey, (Steer, at), ingress)?;
        let away = !self.net.is_own(read(&journey.packet).daddr);
        let before = journey.packet.clone();
        self.step(rng, journey, (Filter, at), ingress)?;
        assert_eq!(before, journey.packet, "the filter changes nothing");
        if away {
            journey.place = Place::Iface(to);
            let at = (Hook::Egress, to, self.index(to));
            shift_hops(&mut journey.packet, Hops::Less);
            let before = journey.packet.clone();
            self.step(rng, journey, (Steer, at), ingress)?;
            assert_eq!(before, journey.packet, "it was steered where it came in");
            self.step(rng, journey, (Filter, at), ingress)?;
            self.step(rng, journey, (Egress, at), ingress)?;
            // What it is compared with has not been routed.
            shift_hops(&mut journey.packet, Hops::More);
        } else {
            self.step(rng, journey, (Egress, at), ingress)?;
        }
        Ok(())
    }

    fn leaves(
        &self,
        rng: &mut Rng,
        journey: &mut Journey,
        (by, other): (usize, usize),
    ) -> Result<(), Fate> {
        use ProgramStage::{Egress, Filter, Steer};
        let at = (Hook::Egress, by, self.index(by));
        let sent = self.run(rng, journey, (Steer, at), 0);
        let class = match sent.verdict {
            NEXT => by,
            REDIRECT => {
                journey.moved = true;
                // Only what is led back gets a new link header.
                let led_back = sent.frame[..12] == [0; 12] && sent.frame[12..14] != [0; 2];
                if led_back {
                    journey.place = Place::Home;
                    let at = (Hook::Ingress, self.loopback(), LOOPBACK);
                    return self.step(rng, journey, (Steer, at), LOOPBACK);
                }
                other
            }
            _ => return Err(Fate::Dropped),
        };
        let home = self.net.is_own(read(&journey.packet).daddr);
        journey.place = if home {
            Place::Home
        } else {
            Place::Iface(class)
        };
        let at = (Hook::Egress, class, self.index(class));
        self.step(rng, journey, (Filter, at), 0)?;
        if home {
            // What was noted of it, by which it is led back here, is nothing that tests of programs can pass on.
            let at = (Hook::Ingress, self.loopback(), LOOPBACK);
            return self.step(rng, journey, (Steer, at), LOOPBACK);
        }
        self.step(rng, journey, (Egress, at), 0)
    }

    fn home(&self, rng: &mut Rng, journey: &mut Journey) -> Result<(), Fate> {
        use ProgramStage::{Egress, Steer};
        let lo = self.loopback();
        journey.place = Place::Home;
        for (stage, hook) in [
            (Steer, Hook::Egress),
            (Egress, Hook::Egress),
            (Steer, Hook::Ingress),
        ] {
            self.step(rng, journey, (stage, (hook, lo, LOOPBACK)), 0)?;
        }
        Ok(())
    }

    fn loopback(&self) -> usize {
        let mut classes = self.programs.classes.iter();
        classes
            .position(|(p, _)| super::name_of(p) == "lo")
            .unwrap()
    }

    /// Goes on with what a program hands on.
    fn step(
        &self,
        rng: &mut Rng,
        journey: &mut Journey,
        hop: (ProgramStage, (Hook, usize, u32)),
        ingress: u32,
    ) -> Result<(), Fate> {
        match self.run(rng, journey, hop, ingress).verdict {
            NEXT => Ok(()),
            REDIRECT if hop.0 == ProgramStage::Filter => Err(Fate::Answered),
            DROP => Err(Fate::Dropped),
            other => panic!("{other} at {:?}", journey.met),
        }
    }

    fn run(
        &self,
        rng: &mut Rng,
        journey: &mut Journey,
        (stage, (hook, class, interface)): (ProgramStage, (Hook, usize, u32)),
        ingress: u32,
    ) -> Sent {
        let (pattern, _) = &self.programs.classes[class];
        let mut programs = self.programs.programs.iter();
        let program = programs.find(|p| (p.hook, p.stage, &p.pattern) == (hook, stage, pattern));
        let hardware = if interface == LOOPBACK {
            [0; 6]
        } else {
            HARDWARE
        };
        sleep(self.wait);
        let ethernet_frame = ethernet(&journey.packet, hardware);
        let bare = self.bare && rng.bool();
        let program = program.and_then(|p| {
            if bare {
                p.bare.as_ref()
            } else {
                p.name.as_ref()
            }
        });
        let Some(name) = program else {
            return Sent {
                verdict: NEXT,
                frame: ethernet_frame,
                mark: journey.mark,
            };
        };
        let frame = if bare {
            &journey.packet
        } else {
            &ethernet_frame
        };
        let sent = self
            .loaded
            .send(name, frame, (interface, ingress, journey.mark));
        journey.met.push((name.clone(), sent.verdict));
        journey.mark = sent.mark;
        let answered = sent.verdict == REDIRECT && stage == ProgramStage::Filter;
        if !answered {
            // What is sent elsewhere has a link header.
            let header = if bare && sent.verdict != REDIRECT {
                0
            } else {
                14
            };
            journey.packet = sent.frame[header..].to_vec();
        }
        sent
    }
}

/// What happens to the time to live of a packet.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Hops {
    /// Routing lowers it by one.
    Less,
    /// That is undone.
    More,
}

/// Changes the time to live, or the hop limit, and the checksum for it.
fn shift_hops(packet: &mut [u8], hops: Hops) {
    let v4 = packet[0] >> 4 == 4;
    let at = if v4 { 8 } else { 7 };
    let (ttl, difference) = match hops {
        Hops::Less => (packet[at] - 1, 0x0100),
        Hops::More => (packet[at] + 1, !0x0100),
    };
    packet[at] = ttl;
    if v4 {
        let old = u16::from_be_bytes([packet[10], packet[11]]);
        let (sum, carry) = old.overflowing_add(difference);
        let sum = sum + u16::from(carry);
        // All ones are zero, too, and no right checksum of a header.
        let sum = if sum == u16::MAX { 0 } else { sum };
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
    }
}
