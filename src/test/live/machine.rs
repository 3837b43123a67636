//! A machine with a policy in force, and packets for it.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use polc_bundle::Bundle;
use polc_compiler::inline::Bench;
use polc_compiler::inline::live::{Play, Report, Sender, Volley, Where};
use polc_compiler::ir::Ir;
use polc_runtime_loader::lab::{LabError, Listener, Observed, Origin, Site, SiteSpec, Throw, Way};
use polc_runtime_loader::{ApplyOptions, apply, remove, status};
use tempfile::TempDir;

use super::run::{by_name, extent};
use super::{NUMBERS, Setup};
use crate::exit::Error;

/// The interface of a machine on which nothing else is needed.
const SOME_INTERFACE: &str = "other";

/// How long a packet that should be seen is looked for.
const LONGER: Duration = Duration::from_millis(300);

/// What plays need of a machine.
pub(super) fn spec(ir: &Ir, bench: &Bench<'_>, bundle: &Bundle, plays: &[&Play]) -> SiteSpec {
    let (mut interfaces, protocols) = extent(plays);
    if interfaces.is_empty() {
        interfaces.insert(SOME_INTERFACE.to_owned());
    }
    let listener = |proxy: &polc_compiler::ir::Proxy| Listener {
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
    let settings = bundle.manifest().sysctls.iter();
    SiteSpec {
        interfaces,
        home: vec![bench.home(false), bench.home(true)],
        listeners: ir.proxies.iter().map(listener).collect(),
        protocols,
        settings: settings
            .filter_map(|s| Some((s.key.clone(), s.values.first()?.clone())))
            .collect(),
    }
}

/// A machine with a policy in force, which goes with this value.
pub(super) struct Machine {
    site: Site,
    state: TempDir,
    /// Who sends what nobody in particular sends.
    stranger: Option<u32>,
    /// Whether something outlives the machine unless it is removed.
    pinned: bool,
}

impl Machine {
    /// Makes a machine; the inner error is the loader's, which did not put the policy in force.
    pub(super) fn new(
        bundle: &Bundle,
        spec: &SiteSpec,
        setup: &Setup,
    ) -> Result<Result<Self, String>, Error> {
        let site = Site::new(spec).map_err(|error| of_the_lab(&error))?;
        let state = TempDir::new().map_err(|error| Error::environment(&error))?;
        let machine = Self {
            site,
            state,
            stranger: setup.root.then_some(NUMBERS.start),
            pinned: !bundle.manifest().programs.is_empty(),
        };
        let options = ApplyOptions {
            netns: Some(machine.site.machine.name().to_owned()),
            state_dir: Some(machine.state.path().to_owned()),
            ..ApplyOptions::default()
        };
        Ok(match apply(bundle, &options, &mut |_| {}) {
            Ok(_) => Ok(machine),
            Err(error) => {
                let help = error.help();
                let error = Error::environment(&error).help(help);
                Err(format!("the policy cannot be put in force: {error}"))
            }
        })
    }

    /// How many packets a rule has counted; none if it does not count.
    pub(super) fn counted(&self, rule: &str) -> Result<Option<u64>, Error> {
        let name = Some(self.site.machine.name());
        let status = status(name, Some(self.state.path()));
        let status = status.map_err(|error| Error::environment(&error))?;
        Ok(by_name(&status.rules).get(rule).copied())
    }

    /// Sends a volley, and says what was seen. It is looked for longer until it is `right`.
    pub(super) fn throw(
        &self,
        play: &Play,
        volley: &Volley,
        right: &(dyn Fn(&Report) -> bool + Sync),
    ) -> Result<Report, Error> {
        let throws: Vec<Throw> = volley
            .shots
            .iter()
            .map(|shot| Throw {
                after: Duration::from_millis(shot.after),
                from: self.origin(&shot.sender),
                packet: shot.bytes.clone(),
            })
            .collect();
        let ways: Vec<Way> = play
            .routes
            .iter()
            .map(|route| Way {
                table: route.table,
                to: route.dest,
                interface: route.iface.to_string(),
            })
            .collect();
        let ports: &BTreeSet<u16> = &play.ports;
        let enough = |observed: &Observed| right(&report(observed));
        let observed = self
            .site
            .throw(&throws, (&ways, ports), LONGER, enough)
            .map_err(|error| of_the_lab(&error))?;
        Ok(report(&observed))
    }

    fn origin(&self, sender: &Sender) -> Origin {
        match sender {
            Sender::Iface(name) => Origin::Interface(name.to_string()),
            Sender::Host { uid, gid } => {
                Origin::Machine(uid.or(self.stranger), gid.or(self.stranger))
            }
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if self.pinned {
            let removed = remove(Some(self.site.machine.name()), Some(self.state.path()));
            if let Err(error) = removed {
                eprintln!("polc: warning: {error}");
            }
        }
    }
}

fn report(observed: &Observed) -> Report {
    let millis = |d: &Duration| u64::try_from(d.as_millis()).unwrap_or(u64::MAX);
    let place = |name: &Option<String>| match name {
        Some(name) => Where::Iface(name.clone()),
        None => Where::Host,
    };
    let packets = observed.packets.iter();
    Report {
        sent: observed.sent.iter().map(millis).collect(),
        packets: packets.map(|(at, p)| (place(at), p.clone())).collect(),
        taken: observed.taken.clone(),
    }
}

fn of_the_lab(error: &LabError) -> Error {
    Error::environment(error).help(Some(
        "`--live` makes network namespaces: it takes root, or user namespaces that may make them",
    ))
}
