//! What the kernel tests share: a namespace with a state directory, and bundles written by hand.

#![expect(
    clippy::unwrap_used,
    reason = "test support: what fails here is a broken test"
)]

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use polc_bundle::{
    Bundle, GENERATION_PLACEHOLDER, Hook, Manifest, Object, ObjectKind, RoutingPlan, RuleEntry,
    SCHEMA, Sysctl,
};
use polc_runtime_loader::lab::Namespace;
use polc_runtime_loader::{Applied, ApplyError, ApplyOptions, Status, apply, status};

/// Whether a kernel test can run. Without privileges it is skipped with a message, except in
/// continuous integration, where a skipped test would pass for a green one.
pub(crate) fn privileged() -> bool {
    if polc_runtime_loader::lab::running_as_root() {
        return true;
    }
    assert!(
        std::env::var_os("CI").is_none(),
        "kernel tests need root in continuous integration"
    );
    eprintln!("SKIPPED: kernel tests need root");
    false
}

/// Runs `nft` commands inside a namespace.
pub(crate) fn nft(namespace: &Namespace, script: &str) -> String {
    namespace.output("nft", &[script]).unwrap()
}

/// Runs an `ip` command, given in words, inside a namespace.
pub(crate) fn ip(namespace: &Namespace, line: &str) -> String {
    let arguments: Vec<_> = line.split(' ').collect();
    namespace.output("ip", &arguments).unwrap()
}

/// Everything that an apply could have changed, without counts.
pub(crate) fn kernel(namespace: &Namespace) -> [String; 5] {
    [
        namespace.output("nft", &["-s", "list", "ruleset"]).unwrap(),
        ip(namespace, "rule"),
        ip(namespace, "-6 rule"),
        ip(namespace, "route show table all"),
        ip(namespace, "-6 route show table all"),
    ]
}

/// A state directory of its own.
pub(crate) struct State(tempfile::TempDir);

impl State {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn options(&self, namespace: &Namespace) -> ApplyOptions {
        ApplyOptions {
            netns: Some(namespace.name().to_owned()),
            dry_run: false,
            state_dir: Some(self.path().to_owned()),
            clsact: false,
            iptables: None,
        }
    }

    pub(crate) fn apply(
        &self,
        namespace: &Namespace,
        bundle: &Bundle,
    ) -> Result<Applied, ApplyError> {
        apply(bundle, &self.options(namespace), &mut |_| {})
    }

    pub(crate) fn status(&self, namespace: &Namespace) -> Status {
        status(Some(namespace.name()), Some(self.path())).unwrap()
    }
}

/// A bundle in the making.
pub(crate) struct Policy {
    pub(crate) body: String,
    pub(crate) id: String,
    pub(crate) objects: Vec<Object>,
    pub(crate) rules: Vec<RuleEntry>,
    pub(crate) routing: RoutingPlan,
    pub(crate) sysctls: Vec<Sysctl>,
}

impl Policy {
    /// A policy whose table holds `body` and the named objects, as `kind name`, besides its
    /// generation.
    pub(crate) fn new(body: &str, objects: &[(ObjectKind, &str)]) -> Self {
        let object = |(kind, name): &(ObjectKind, &str)| Object {
            kind: *kind,
            name: (*name).to_owned(),
        };
        let generation = [(ObjectKind::Chain, "generation")];
        Self {
            body: body.to_owned(),
            id: GENERATION_PLACEHOLDER.to_owned(),
            objects: objects.iter().chain(&generation).map(object).collect(),
            rules: Vec::new(),
            routing: RoutingPlan::default(),
            sysctls: Vec::new(),
        }
    }

    /// Adds a rule with a counter.
    pub(crate) fn rule(mut self, name: &str, counter: &str) -> Self {
        self.rules.push(RuleEntry {
            name: name.to_owned(),
            stage: "filter".to_owned(),
            verdict: "allow".to_owned(),
            source: "p.pol:1".to_owned(),
            comment: name.to_owned(),
            counter: Some(counter.to_owned()),
            log_prefix: None,
            log_id: None,
        });
        self
    }

    pub(crate) fn bundle(self) -> Bundle {
        let script = format!(
            "table inet polc {{\n}}\nflush table inet polc\n\
             table inet polc {{\n{}\n\
             chain generation {{\nreturn comment \"polc {}\"\n}}\n}}\n",
            self.body, self.id
        );
        let manifest = Manifest {
            governs: vec![Hook::Forward],
            rules: self.rules,
            objects: self.objects,
            routing: self.routing,
            sysctls: self.sysctls,
            ..manifest("nftables")
        };
        let files = BTreeMap::from([("policy.nft".to_owned(), script)]);
        Bundle::new(manifest, files).unwrap()
    }
}

/// A manifest with nothing in it.
pub(crate) fn manifest(target: &str) -> Manifest {
    Manifest {
        schema: SCHEMA,
        policy: "sample".to_owned(),
        target: target.to_owned(),
        generation: String::new(),
        as_of: "2026-11-21".to_owned(),
        kernel_floor: "5.7".to_owned(),
        features: Vec::new(),
        governs: Vec::new(),
        rules: Vec::new(),
        objects: Vec::new(),
        sets: Vec::new(),
        programs: Vec::new(),
        state: Vec::new(),
        classes: Vec::new(),
        chains: Vec::new(),
        jumps: Vec::new(),
        unresolved: Vec::new(),
        routing: RoutingPlan::default(),
        sysctls: Vec::new(),
        files: Vec::new(),
    }
}

/// A policy that forwards everything but TCP port 81, counting both.
pub(crate) fn sample() -> Policy {
    sample_dropping(81)
}

/// Like [`sample`] with another port.
pub(crate) fn sample_dropping(port: u16) -> Policy {
    let body = format!(
        "counter passed {{\n}}\n\
         counter dropped_{port} {{\n}}\n\
         chain forward {{\ntype filter hook forward priority 0; policy accept;\n\
         tcp dport {port} counter name \"dropped_{port}\" drop\n\
         counter name \"passed\" accept\n}}\n"
    );
    let dropped = format!("dropped_{port}");
    let objects = [
        (ObjectKind::Counter, "passed"),
        (ObjectKind::Counter, dropped.as_str()),
        (ObjectKind::Chain, "forward"),
    ];
    Policy::new(&body, &objects)
        .rule("allow-rest", "passed")
        .rule("deny-port", &dropped)
}

/// Runs one test of this binary in a process whose `nft` is a shell script; `$REAL` there is the
/// true one.
pub(crate) fn with_nft(script: &str, test: &str) {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("nft");
    let script = format!("#!/bin/sh\nREAL=/usr/sbin/nft\n{script}\n");
    std::fs::write(&program, script).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!(
        "{}:{}",
        dir.path().display(),
        std::env::var("PATH").unwrap()
    );
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--ignored", "--nocapture"])
        .env("PATH", path)
        .output()
        .unwrap();
    let report = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{report}{errors}");
    assert!(report.contains("1 passed"), "{report}");
}
