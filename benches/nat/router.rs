//! A router with the policy that is measured in force, or with none.

use polc_compiler::{Files, Options, compile, target};
use polc_runtime_loader::lab::Topology;
use polc_runtime_loader::{ApplyOptions, apply, remove};
use tempfile::TempDir;

/// The port of the server.
pub(crate) const SERVER_PORT: u16 = 80;
/// The port of the router's own address that leads to the server.
pub(crate) const VISIBLE_PORT: u16 = 8080;

/// A filter with some rules before the one that counts, a masquerade and a dnat.
const POLICY: &str = "
policy bench
zone lan = lan0
zone wan = wan0
set visible = { 10.0.1.1, fd00:1::1 }
set bad = { 192.0.2.0/24, 198.51.100.0/24, 203.0.113.0/24, 2001:db8::/32 }
steer { dnat tcp/8080, udp/8080 from lan to @visible => 10.0.2.2:80, [fd00:2::2]:80 }
egress { masquerade from lan to wan }
from lan to wan {
  deny from @bad
  deny to @bad
  deny tcp/25, tcp/135, tcp/139, tcp/445
  deny udp/137, udp/138, udp/1900
  allow icmp/echo-request
  allow tcp/22, tcp/443, udp/53, udp/123
  allow tcp/80, udp/80
  default deny
}
default deny
";

/// Nothing is read beside the policy.
struct NoFiles;

impl Files for NoFiles {
    fn read(&self, path: &str) -> std::io::Result<String> {
        Err(std::io::Error::other(format!("there is no `{path}`")))
    }
}

/// A client, a router and a server.
pub(crate) struct Router {
    pub(crate) topology: Topology,
    /// Which target the policy was built for; without one there is no policy.
    pub(crate) target: Option<&'static str>,
    state: TempDir,
}

impl Router {
    pub(crate) fn new(target: Option<&'static str>) -> Self {
        let router = Self {
            topology: Topology::new().expect("a topology"),
            target,
            state: TempDir::new().expect("a directory"),
        };
        if let Some(target) = target {
            router.apply(target);
        }
        router
    }

    pub(crate) fn name(&self) -> &'static str {
        self.target.unwrap_or("none")
    }

    fn apply(&self, target: &str) {
        let options = Options {
            as_of: "2026-01-01".to_owned(),
            ..Options::default()
        };
        let compilation = compile("bench.pol", POLICY, &NoFiles, &options);
        let found: Vec<_> = compilation.diagnostics.iter().map(|d| &d.title).collect();
        let ir = compilation.ir.as_ref();
        let ir = ir.unwrap_or_else(|| panic!("the policy is wrong: {found:?}"));
        let target = target::find(target).expect("the target exists");
        let bundle = target
            .emit(ir, &compilation.sources, &target::Options::default())
            .expect("the target can express the policy");
        let options = ApplyOptions {
            netns: Some(self.topology.router.name().to_owned()),
            dry_run: false,
            state_dir: Some(self.state.path().to_owned()),
            clsact: false,
            iptables: None,
        };
        apply(&bundle, &options, &mut |_| {}).expect("the policy is applied");
    }
}

impl Drop for Router {
    /// What is pinned does not go with the namespace.
    fn drop(&mut self) {
        if self.target.is_some()
            && let Err(error) = remove(Some(self.topology.router.name()), Some(self.state.path()))
        {
            eprintln!("left behind: {error}");
        }
    }
}
