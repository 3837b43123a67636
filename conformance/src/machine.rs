//! A machine of the laboratory with a policy in force.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use polc_bundle::Bundle;
use polc_compiler::ir::{Ir, NatTarget, Proxy, Verdict};
use polc_runtime_loader::lab::{Catch, Launch, Listener, Source, Stand, StandSpec, Taken};
use polc_runtime_loader::{ApplyOptions, Variant, apply, remove, status};
use tempfile::TempDir;

use crate::Error;
use crate::backend::Backend;
use crate::net::Net;
use crate::shot::{ESP, GRE, ICMP, ICMPV6, SCTP, TCP, UDP};
use crate::table::Way;
use crate::traffic::Attempt;

/// Protocols whose packets are made here.
const PROTOCOLS: [u8; 8] = [TCP, UDP, ICMP, ICMPV6, SCTP, GRE, ESP, 99];

/// A machine.
pub(crate) struct Machine {
    stand: Stand,
    state: TempDir,
    /// Whether something outlives the machine unless it is removed.
    pinned: bool,
}

impl Machine {
    /// Makes a machine and puts a policy in force. Those proxies listen of which `up` says so.
    pub(crate) fn new(
        bundle: &Bundle,
        (ir, net): (&Ir, &Net),
        backend: Backend,
        up: &[bool],
    ) -> Result<Self, Error> {
        let bundle = &framed(bundle)?;
        let stand = Stand::new(&spec(bundle, ir, net, up))?;
        let state = TempDir::new().map_err(Error::Directory)?;
        let machine = Self {
            stand,
            state,
            pinned: !bundle.manifest().programs.is_empty(),
        };
        let options = ApplyOptions {
            clsact: !net.linked,
            netns: Some(machine.name().to_owned()),
            state_dir: Some(machine.state.path().to_owned()),
            iptables: match backend {
                Backend::IptablesLegacy => Some(Variant::Legacy),
                Backend::IptablesNft => Some(Variant::Nft),
                Backend::Nftables | Backend::Ebpf => None,
            },
            ..ApplyOptions::default()
        };
        apply(bundle, &options, &mut |_| {}).map_err(|error| Error::apply(backend, &error))?;
        machine.stand.track_liberally();
        Ok(machine)
    }

    fn name(&self) -> &str {
        self.stand.machine.name()
    }

    /// How many packets each rule has counted, by its name.
    pub(crate) fn counts(&self) -> Result<BTreeMap<String, u64>, Error> {
        let status = status(Some(self.name()), Some(self.state.path()))?;
        let rules = status.rules.into_iter();
        Ok(rules
            .filter_map(|rule| Some((rule.name, rule.counter?.packets)))
            .collect())
    }

    /// Sends packets and sees what becomes of them.
    pub(crate) fn fire(&mut self, net: &Net, attempts: &[Attempt]) -> Result<Vec<Catch>, Error> {
        let from = |attempt: &Attempt| match attempt.way {
            Way::In(at) => {
                let name = net.interfaces.get(at).map(|i| i.name.clone());
                Source::Interface(name.unwrap_or_else(|| "none".into()))
            }
            Way::Out(uid, gid) => Source::Machine(uid, gid),
        };
        let launches = attempts.iter().flat_map(|attempt| {
            let packets = attempt.shot.pieces_as_sent().into_iter();
            packets.map(move |packet| Launch {
                from: from(attempt),
                packet,
            })
        });
        let launches: Vec<Launch> = launches.collect();
        Ok(self.stand.fire(&launches)?)
    }

    /// What the sockets of proxies have got since this was last asked.
    pub(crate) fn taken(&mut self) -> Result<Vec<Taken>, Error> {
        Ok(self.stand.taken()?)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if self.pinned {
            // What is left of it goes with the machine; pins are another matter, and a later
            // removal says so.
            let _ = remove(Some(self.name()), Some(self.state.path()));
        }
    }
}

/// The same bundle without programs for interfaces without frames, of which there are none here.
fn framed(bundle: &Bundle) -> Result<Bundle, Error> {
    let mut manifest = bundle.manifest().clone();
    if manifest.programs.is_empty() {
        // Its files say which generation they are.
        return Ok(bundle.clone());
    }
    for program in &mut manifest.programs {
        program.bare = None;
    }
    let files = bundle.manifest().files.iter();
    let contents = files.filter_map(|f| Some((f.path.clone(), bundle.bytes(&f.path)?.to_vec())));
    Ok(Bundle::new(manifest, contents.collect())?)
}

fn spec(bundle: &Bundle, ir: &Ir, net: &Net, up: &[bool]) -> StandSpec {
    let listener = |proxy: &Proxy| Listener {
        name: proxy.name.to_string(),
        at: [
            proxy.v4.map(|(addr, port)| SocketAddr::from((addr, port))),
            proxy.v6.map(|(addr, port)| SocketAddr::from((addr, port))),
        ]
        .into_iter()
        .flatten()
        .collect(),
        tcp: proxy.tcp,
        udp: proxy.udp,
    };
    let name = |at: usize| {
        let interface = net.interfaces.get(at);
        interface.map(|i| i.name.to_string()).unwrap_or_default()
    };
    let interfaces = net.interfaces.iter();
    let hosts = net.hosts.iter();
    let listening = ir.proxies.iter().zip(up).filter(|(_, up)| **up);
    let settings = bundle.manifest().sysctls.iter();
    StandSpec {
        interfaces: interfaces
            .map(|i| (i.name.to_string(), i.v4, i.v6))
            .collect(),
        own: net.own.iter().copied().collect(),
        hosts: hosts.map(|(addr, at)| (*addr, name(*at))).collect(),
        defaults: net.defaults.iter().map(|(t, at)| (*t, name(*at))).collect(),
        listeners: listening.map(|(proxy, _)| listener(proxy)).collect(),
        ports: swallowed(ir, net),
        protocols: PROTOCOLS.to_vec(),
        settings: settings
            .filter_map(|s| Some((s.key.clone(), s.values.first()?.clone())))
            .collect(),
    }
}

/// The ports at which something takes what comes to this host: those to which packets are sent, and those to which
/// steer sends them.
fn swallowed(ir: &Ir, net: &Net) -> Vec<u16> {
    let mut ports: BTreeSet<u16> = net.ports.iter().copied().collect();
    for rule in &ir.steer {
        match &rule.verdict {
            Some(Verdict::Redirect { port }) => ports.extend(port),
            Some(Verdict::Dnat(nat)) => {
                ports.extend(
                    nat.v4
                        .iter()
                        .chain(&nat.v6)
                        .filter_map(|target| match target {
                            NatTarget::Addr(_, port) => *port,
                            NatTarget::Prefix { .. } => None,
                        }),
                );
            }
            _ => {}
        }
    }
    ports.into_iter().collect()
}
