//! A router with a policy in force.

use std::net::{IpAddr, SocketAddr};
use std::process::{Child, Command};

use polc_bundle::Bundle;
use polc_compiler::diagnostic::human::{self, Style};
use polc_compiler::{Files, Options, compile, target};
use polc_runtime_loader::lab::{Client, EchoServer, Namespace, Topology, running_as_root};
use polc_runtime_loader::{
    AccessError, Applied, ApplyError, ApplyOptions, Removed, Status, apply, remove, status,
};
use tempfile::TempDir;

use crate::iptables;

/// A topology whose router has a policy. Zone `client` is behind `lan0`, `server` behind `wan0`,
/// `third` behind `dmz0`.
pub(crate) struct Bench {
    pub(crate) topology: Topology,
    target: &'static str,
    state: TempDir,
}

/// Lets `lo` take what programs capture of a host's own packets.
pub(crate) fn own_packets_come_back(router: &Namespace) {
    for key in ["accept_local", "route_localnet"] {
        let key = format!("net/ipv4/conf/lo/{key}");
        router.sysctl(&key, "1").expect("a setting");
    }
}

/// A process that ends with the test.
pub(crate) struct Process(pub(crate) Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Makes each function a test on each target that is named before it.
macro_rules! on_targets {
    ($($target:ident: $($name:ident),+ $(,)?;)+) => {$(
        mod $target {
            $(
                #[test]
                fn $name() {
                    if crate::harness::possible() {
                        super::$name(stringify!($target));
                    }
                }
            )+
        }
    )+};
}
pub(crate) use on_targets;

/// The definitions that every policy of these tests begins with.
const ZONES: &str = "policy bench\nzone lan = lan0\nzone wan = wan0\nzone dmz = dmz0\n";

/// No files: policies of these tests stand alone.
pub(crate) struct NoFiles;

impl Files for NoFiles {
    fn read(&self, path: &str) -> std::io::Result<String> {
        Err(std::io::Error::other(format!(
            "`{path}`: there are no files here"
        )))
    }
}

/// Whether kernel tests can run. Missing root is an error in CI.
pub(crate) fn possible() -> bool {
    if running_as_root() {
        return true;
    }
    assert!(std::env::var_os("CI").is_none(), "kernel tests need root");
    eprintln!("SKIPPED: kernel tests need root");
    false
}

/// The bundle of a policy without its head, which names the zones.
pub(crate) fn build(body: &str) -> Bundle {
    build_for("nftables", body)
}

/// As [`build`], for a target.
pub(crate) fn build_for(name: &str, body: &str) -> Bundle {
    build_with(name, body, &target::Options::default())
}

/// As [`build_for`], with other sizes.
pub(crate) fn build_with(name: &str, body: &str, sizes: &target::Options) -> Bundle {
    let text = format!("{ZONES}{body}");
    let options = Options {
        as_of: "2026-01-01".into(),
        ..Options::default()
    };
    let compilation = compile("bench.pol", &text, &NoFiles, &options);
    let style = Style {
        colour: false,
        width: 100,
    };
    let show = |d| human::render(d, &compilation.sources, style);
    let found: Vec<String> = compilation.diagnostics.iter().map(show).collect();
    let Some(ir) = &compilation.ir else {
        panic!("the policy is wrong:\n{}", found.join("\n"))
    };
    let name = iptables::variant(name).map_or(name, |_| "iptables");
    let target = target::find(name).expect("the target exists");
    match target.emit(ir, &compilation.sources, sizes) {
        Ok(bundle) => bundle,
        Err(found) => {
            let found: Vec<String> = found.iter().map(show).collect();
            panic!(
                "the target cannot express the policy:\n{}",
                found.join("\n")
            )
        }
    }
}

impl Bench {
    /// Client, router and server, and the policy in force, built for a target.
    pub(crate) fn on(target: &'static str, body: &str) -> Self {
        let topology = Topology::new().expect("a topology");
        let bench = Self::bare(topology).built_for(target);
        bench.apply(body);
        bench
    }

    /// As [`Self::on`], with the third zone.
    pub(crate) fn with_third_zone(target: &'static str, body: &str) -> Self {
        let topology = Topology::with_third_zone().expect("a topology");
        let bench = Self::bare(topology).built_for(target);
        bench.apply(body);
        bench
    }

    /// A topology without a policy.
    pub(crate) fn bare(topology: Topology) -> Self {
        Self {
            topology,
            target: "nftables",
            state: TempDir::new().expect("a directory"),
        }
    }

    /// The same, with policies built for a target.
    pub(crate) fn built_for(mut self, target: &'static str) -> Self {
        self.target = target;
        if target == "ebpf" {
            own_packets_come_back(self.router());
        }
        self
    }

    /// Puts a policy in force.
    pub(crate) fn apply(&self, body: &str) -> Applied {
        self.apply_bundle(&build_for(self.target, body))
    }

    /// Puts a bundle in force.
    pub(crate) fn apply_bundle(&self, bundle: &Bundle) -> Applied {
        match apply(bundle, &self.options(), &mut |_| {}) {
            Ok(applied) => applied,
            Err(error) => {
                let script = bundle
                    .file("policy.nft")
                    .or_else(|| bundle.file("policy.v4"));
                let script = script.unwrap_or_default();
                panic!("{error:?}\n{script}\n{}", self.ruleset())
            }
        }
    }

    /// Puts a bundle in force if it can.
    pub(crate) fn try_apply(&self, bundle: &Bundle) -> Result<Applied, ApplyError> {
        apply(bundle, &self.options(), &mut |_| {})
    }

    /// Takes the policy away.
    pub(crate) fn remove(&self) -> Result<Removed, AccessError> {
        remove(Some(self.topology.router.name()), Some(self.state.path()))
    }

    pub(crate) fn options(&self) -> ApplyOptions {
        ApplyOptions {
            netns: Some(self.topology.router.name().to_owned()),
            dry_run: false,
            state_dir: Some(self.state.path().to_owned()),
            clsact: false,
            iptables: iptables::variant(self.target),
        }
    }

    /// What is in force.
    pub(crate) fn status(&self) -> Status {
        status(Some(self.topology.router.name()), Some(self.state.path())).expect("a status")
    }

    /// Packets counted by a rule.
    pub(crate) fn packets(&self, rule: &str) -> u64 {
        let status = self.status();
        let rule = status
            .rules
            .iter()
            .find(|r| r.name == rule)
            .expect("the rule is known");
        rule.counter.as_ref().expect("the rule counts").packets
    }

    /// The router's ruleset, for messages.
    pub(crate) fn ruleset(&self) -> String {
        if let Some(variant) = iptables::variant(self.target) {
            let saved = |tool: &str| {
                let program = format!("{tool}-{}-save", variant.name());
                self.router().output(&program, &["-c"]).unwrap_or_default()
            };
            return saved("iptables") + &saved("ip6tables");
        }
        self.topology
            .router
            .output("nft", &["list", "ruleset"])
            .unwrap_or_default()
    }

    pub(crate) fn router(&self) -> &Namespace {
        &self.topology.router
    }

    /// A client in the client zone.
    pub(crate) fn client(&self) -> Client<'_> {
        Client::new(&self.topology.client().namespace)
    }

    /// A server in the server zone.
    pub(crate) fn serve(&self, name: &str, port: u16) -> EchoServer {
        EchoServer::start(&self.topology.server().namespace, name, port).expect("a server")
    }

    /// The server's addresses of both families.
    pub(crate) fn server(&self) -> [IpAddr; 2] {
        self.topology.server().addresses()
    }
}

impl Drop for Bench {
    /// What is pinned does not go with the namespace.
    fn drop(&mut self) {
        if self.target == "ebpf"
            && let Err(error) = self.remove()
        {
            eprintln!("left behind: {error}");
        }
    }
}

/// Loopback sockets of both families on one port.
pub(crate) fn loopback(port: u16) -> [SocketAddr; 2] {
    let v4 = SocketAddr::from(([127, 0, 0, 1], port));
    let v6 = SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, port));
    [v4, v6]
}

/// Whether a program of the system is there; missing ones are an error in CI.
pub(crate) fn has_program(name: &str) -> bool {
    let found = Command::new("sh")
        .args(["-c", &format!("command -v {name}")])
        .output();
    if found.is_ok_and(|o| o.status.success()) {
        return true;
    }
    assert!(std::env::var_os("CI").is_none(), "`{name}` is missing");
    eprintln!("SKIPPED: `{name}` is missing");
    false
}
