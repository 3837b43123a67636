//! Which proxies packets were handed to.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use polc_compiler::interpret::{Decision, Steered};
use polc_compiler::ir::Ir;
use polc_runtime_loader::lab::Taken;

use crate::difference::Difference;
use crate::predict::Fate;
use crate::shot::{Shot, TCP, UDP};
use crate::table::{Exit, Way};
use crate::traffic::Attempt;

/// How many packets are shown of those that a socket was to get.
const SHOWN: usize = 8;

/// A socket: where it listens, and the protocol.
type Place = (SocketAddr, u8);

/// What the sockets of proxies are to get.
#[derive(Debug)]
pub(crate) struct Handed<'i> {
    ir: &'i Ir,
    wanted: BTreeMap<Place, Vec<(Way, Shot)>>,
}

impl<'i> Handed<'i> {
    pub(crate) fn new(ir: &'i Ir) -> Self {
        Self {
            ir,
            wanted: BTreeMap::new(),
        }
    }

    /// A packet was judged so, and was seen to become of it what should.
    pub(crate) fn add(&mut self, attempt: &Attempt, decision: &Decision, fate: &Fate) {
        let Fate::Passed(Exit::Here, expected) = fate else {
            return;
        };
        if ![TCP, UDP].contains(&expected.proto) {
            return;
        }
        let at = match decision.steered {
            Some(Steered::Proxy(id)) => self.socket(id, expected.is_v6()),
            _ => Some(SocketAddr::new(expected.dest.addr, expected.dest.port)),
        };
        if let Some(at) = at {
            let wanted = self.wanted.entry((at, expected.proto)).or_default();
            wanted.push((attempt.way, attempt.shot.clone()));
        }
    }

    /// Where a proxy listens.
    fn socket(&self, id: usize, v6: bool) -> Option<SocketAddr> {
        let proxy = self.ir.proxies.get(id)?;
        if v6 {
            proxy.v6.map(SocketAddr::from)
        } else {
            proxy.v4.map(SocketAddr::from)
        }
    }

    /// Compares what was wanted since this was last asked with what sockets got. Each of so many packets that were
    /// not compared may have got to any of them.
    pub(crate) fn compare(
        &mut self,
        taken: &[Taken],
        unclear: u64,
    ) -> Result<(), (Difference, String)> {
        let wanted = std::mem::take(&mut self.wanted);
        // Two proxies may share a socket's place.
        let mut got: BTreeMap<Place, u64> = BTreeMap::new();
        for socket in taken {
            let proto = if socket.tcp { TCP } else { UDP };
            *got.entry((socket.at, proto)).or_default() += socket.packets;
        }
        for ((socket, proto), got) in got {
            let meant = wanted.iter().filter(|((at, of), _)| {
                *of == proto && (*at == socket || is_everywhere(socket, *at))
            });
            let meant: Vec<&(Way, Shot)> = meant.flat_map(|(_, packets)| packets).collect();
            let least = u64::try_from(meant.len()).unwrap_or(u64::MAX);
            if (least..=least.saturating_add(unclear)).contains(&got) {
                continue;
            }
            let kind = if proto == TCP { "TCP" } else { "UDP" };
            let shown = meant.iter().take(SHOWN);
            let shown: Vec<String> = shown
                .map(|(way, shot)| format!("{way:?} {shot:?}"))
                .collect();
            let text = format!(
                "the {kind} socket at {socket} got {got} packets and should have got {least}; {unclear} were \
                 not compared\n    {}",
                shown.join("\n    "),
            );
            return Err((Difference::Form, text));
        }
        Ok(())
    }
}

/// Whether a socket that listens at every address gets what is for this one.
fn is_everywhere(socket: SocketAddr, at: SocketAddr) -> bool {
    let same_family = socket.is_ipv4() == at.is_ipv4();
    socket.ip().is_unspecified() && same_family && socket.port() == at.port()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Backend;
    use crate::difference::Mismatch;
    use crate::duel::Duel;
    use crate::net::Net;
    use crate::shot::tests::shot;
    use crate::subject::Subject;
    use fastrand::Rng;
    use polc_compiler::interpret::{Packet, Place as At, State, judge};
    use polc_compiler::target::Options;
    use polc_runtime_loader::lab::running_as_root;

    const POLICY: &str = "\
        proxy one { listen tcp, udp at 127.0.0.1:3128, [::1]:3128 mark 1/0xf table 100 }\n\
        proxy two { listen tcp, udp at 127.0.0.1:3129, [::1]:3129 mark 2/0xf table 101 }\n\
        steer { proxy tcp/80, udp/80 via one }\n\
        steer { proxy tcp/81 via two }\n\
        to host { default allow }\n\
        default deny\n";

    fn taken(packets: [u64; 4]) -> Vec<Taken> {
        let places = [3128, 3129].into_iter().flat_map(|port| {
            let at = SocketAddr::from(([127, 0, 0, 1], port));
            [(at, true), (at, false)]
        });
        let taken = places.zip(packets);
        taken
            .map(|((at, tcp), packets)| Taken { at, tcp, packets })
            .collect()
    }

    /// A packet that was judged so.
    fn add(handed: &mut Handed<'_>, proto: u8, steered: Option<Steered>, exit: Exit) {
        let shot = shot(proto, false);
        let packet = Packet {
            ingress: At::Host,
            egress: At::Host,
            detour: At::Host,
            saddr: shot.source.addr,
            daddr: shot.dest.addr,
            proto,
            fields: [].into(),
            principals: [].into(),
        };
        let mut decision = judge(handed.ir, &packet, &mut State::new(handed.ir), 0);
        decision.steered = steered;
        let fate = Fate::Passed(exit, shot.clone());
        let attempt = Attempt {
            shot,
            way: Way::In(0),
            part: None,
        };
        handed.add(&attempt, &decision, &fate);
    }

    #[test]
    fn sockets_get_what_they_should() {
        let subject = Subject::new(POLICY).unwrap();
        let mut handed = Handed::new(&subject.ir);
        let proxied = |id| Some(Steered::Proxy(id));
        let mut told = |got, unclear| {
            add(&mut handed, TCP, proxied(0), Exit::Here);
            add(&mut handed, TCP, proxied(0), Exit::Here);
            add(&mut handed, UDP, proxied(0), Exit::Here);
            add(&mut handed, TCP, proxied(1), Exit::Here);
            // Not for a proxy.
            add(&mut handed, TCP, None, Exit::Here);
            add(&mut handed, TCP, None, Exit::Left(0));
            handed.compare(&taken(got), unclear).is_ok()
        };
        assert!(told([2, 1, 1, 0], 0));
        // What is wanted does not add up.
        assert!(told([2, 1, 1, 0], 0));
        // Lost, to another one, of another protocol, or too many.
        assert!(!told([1, 1, 1, 0], 0));
        assert!(!told([1, 1, 2, 0], 0));
        assert!(!told([2, 0, 1, 1], 0));
        assert!(!told([2, 1, 1, 1], 0));
        // Only more than was wanted can be what was not compared.
        assert!(told([2, 2, 1, 0], 1));
        assert!(!told([2, 3, 1, 0], 1));
        assert!(!told([1, 1, 1, 0], 1));
    }

    /// What is found on a backend where a policy is in force that was compiled from this text.
    fn found(backend: Backend, text: &str) -> Option<Mismatch> {
        let subject = Subject::new(POLICY).unwrap();
        let other = Subject::new(text).unwrap();
        let options = Options::default();
        let bundle = other.bundle(&other.ir, backend, &options).unwrap().unwrap();
        let mut rng = Rng::with_seed(3);
        let net = Net::around(&subject.ir, &mut rng);
        let of = (&subject.ir, &net);
        let mut duel = Duel::new(of, &bundle, backend, (&[true; 2], &options)).unwrap();
        duel.run(&mut rng, 600).unwrap()
    }

    /// The marks are right, and so is everything else that is seen of packets.
    #[test]
    fn packets_for_another_socket_are_seen() {
        if !running_as_root() {
            assert!(std::env::var_os("CI").is_none(), "kernel tests need root");
            eprintln!("SKIPPED: kernel tests need root");
            return;
        }
        let exchanged = POLICY
            .replace(":3128", ":0000")
            .replace(":3129", ":3128")
            .replace(":0000", ":3129");
        for backend in Backend::ALL {
            let right = found(backend, POLICY).map(|m| m.text);
            assert_eq!(right, None, "{backend}");
            let wrong = found(backend, &exchanged).unwrap();
            assert_eq!(wrong.difference, Difference::Form, "{backend}");
            assert!(wrong.text.contains(" socket at "), "{}", wrong.text);
        }
    }
}
