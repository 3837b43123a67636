//! Rules about who sends: users, groups and control groups.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use polc_runtime_loader::lab::{EchoServer, Topology};
use polc_runtime_loader::{ApplyError, Status, Undo, Warning};

use crate::harness::{Bench, Process, build_for, has_program, on_targets, possible};

on_targets! {
    nftables: names_are_looked_up_on_the_machine, a_name_that_nobody_has_stops_the_apply;
    iptables_legacy: names_are_looked_up_on_the_machine;
    iptables_nft: names_are_looked_up_on_the_machine;
    ebpf: names_are_looked_up_on_the_machine, a_name_that_nobody_has_stops_the_apply;
}

/// Users and groups of every machine that are not looked up when a policy is built.
const DAEMON: u32 = 1;
const MAIL: u32 = 8;

const TIMEOUT: Duration = Duration::from_millis(1500);

/// A process of the router.
struct Sender<'b> {
    bench: &'b Bench,
    uid: u32,
    gid: u32,
    cgroup: Option<&'b Path>,
}

impl<'b> Sender<'b> {
    fn new(bench: &'b Bench) -> Self {
        Self {
            bench,
            uid: 0,
            gid: 0,
            cgroup: None,
        }
    }

    /// A command that enters the control group, and then is who it shall be.
    fn command(&self, line: &str) -> Command {
        let mut command = Command::new("sh");
        let (uid, gid) = (self.uid, self.gid);
        let who = format!("setpriv --reuid {uid} --regid {gid} --clear-groups");
        let script = match self.cgroup {
            Some(cgroup) => format!(
                "echo $$ >{}/cgroup.procs; exec {who} {line}",
                cgroup.display()
            ),
            None => format!("exec {who} {line}"),
        };
        command.args(["-c", &script]).stdin(Stdio::null());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    /// To which ports of the server it can connect, by both families alike.
    fn connects<const N: usize>(&self, ports: [u16; N]) -> [bool; N] {
        let attempts = ports.map(|port| {
            self.bench.server().map(|address| {
                let to = match address {
                    IpAddr::V4(address) => format!("TCP4:{address}:{port}"),
                    IpAddr::V6(address) => format!("TCP6:[{address}]:{port}"),
                };
                let line = format!("socat -u -T1 {to},connect-timeout=1 STDOUT");
                let child = self.bench.router().spawn(&mut self.command(&line));
                Process(child.expect("a process"))
            })
        });
        attempts.map(|families| {
            let outcomes = families.map(|mut p| p.0.wait().expect("an end").success());
            assert_eq!(outcomes[0], outcomes[1], "{ports:?}");
            outcomes[0]
        })
    }
}

fn tools() -> bool {
    has_program("socat") && has_program("setpriv")
}

fn names_are_looked_up_on_the_machine(target: &'static str) {
    if !tools() {
        return;
    }
    let bench = Bench::on(
        target,
        "from host {
           allow tcp/80 by user daemon
           allow tcp/81 by group mail
           allow tcp/82 by gid 5
           allow tcp/83 by gid 0
           allow tcp/84 by group daemon, mail
           default deny
         }
         default deny",
    );
    let ports = [80, 81, 82, 83, 84];
    let _servers = ports.map(|port| bench.serve("wan", port));
    for (uid, gid, allowed) in [
        (0, 0, [false, false, false, true, false]),
        (DAEMON, 5, [true, false, true, false, false]),
        (4242, MAIL, [false, true, false, false, true]),
        (MAIL, DAEMON, [false, false, false, false, true]),
    ] {
        let sender = Sender {
            uid,
            gid,
            ..Sender::new(&bench)
        };
        let connects = sender.connects(ports);
        assert_eq!(connects, allowed, "{uid} of {gid}\n{}", bench.ruleset());
    }
}

fn a_name_that_nobody_has_stops_the_apply(target: &'static str) {
    let bench = Bench::bare(Topology::new().expect("a topology")).built_for(target);
    bench.apply("from host { allow tcp/80  default deny }  default deny");
    let before = bench.status();
    for who in ["user", "group"] {
        let body = format!(
            "from host {{ allow tcp/80 by {who} polc-nobody  default deny }}  default deny"
        );
        let refused = bench
            .try_apply(&build_for(target, &body))
            .expect_err("nobody");
        let said = refused.to_string();
        assert!(
            said.contains("polc-nobody") || target == "nftables",
            "{said}"
        );
        assert!(!matches!(refused, ApplyError::Undone { .. }), "{refused}");
    }
    assert_eq!(bench.status().generation, before.generation);
    assert!(bench.status().in_step);
}

/// A control group that goes when it is dropped.
struct Cgroup(PathBuf);

impl Cgroup {
    /// Below another one, or below the root.
    fn new(parent: Option<&Self>, name: &str) -> Self {
        let path = match parent {
            Some(parent) => parent.0.join(name),
            None => root().join(name),
        };
        fs::create_dir(&path).expect("a control group");
        Self(path)
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // Processes that have ended leave it a little later.
        for _ in 0..50 {
            if fs::remove_dir(&self.0).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        eprintln!("cannot remove {}", self.0.display());
    }
}

fn root() -> PathBuf {
    let mounts = fs::read_to_string("/proc/self/mounts").expect("mounts");
    let mut mounts = mounts.lines().map(|line| line.split(' '));
    let root = mounts.find_map(|mut words| {
        let path = words.nth(1)?;
        (words.next()? == "cgroup2").then(|| PathBuf::from(path))
    });
    root.expect("control groups are mounted")
}

#[test]
fn a_control_group_is_known_with_those_below_it() {
    if !possible() || !tools() {
        return;
    }
    let name = format!("polc-{}-senders", std::process::id());
    let outer = Cgroup::new(None, &name);
    let inner = Cgroup::new(Some(&outer), "inner");
    let bench = Bench::bare(Topology::new().expect("a topology")).built_for("ebpf");
    let bundle = build_for(
        "ebpf",
        &format!(
            "from host {{
               allow tcp/80 by cgroup \"{name}/inner\"
               allow tcp/81 by cgroup \"/{name}/\"
               default deny
             }}
             default deny"
        ),
    );
    bench.apply_bundle(&bundle);
    assert!(bench.status().in_step);
    assert!(
        sockets(&bench.status()).is_empty(),
        "nothing is noted of sockets"
    );
    let _servers = [80, 81].map(|port| bench.serve("wan", port));
    let connects = |cgroup: Option<&Cgroup>| {
        let sender = Sender {
            cgroup: cgroup.map(|cgroup| &*cgroup.0),
            ..Sender::new(&bench)
        };
        sender.connects([80, 81])
    };
    assert_eq!(connects(Some(&inner)), [true, true]);
    assert_eq!(connects(Some(&outer)), [false, true]);
    assert_eq!(connects(None), [false, false]);

    // One that is made again is another one, until somebody says that it is the same.
    drop(inner);
    assert!(
        bench.status().in_step,
        "a service that is stopped is no change"
    );
    let inner = Cgroup::new(Some(&outer), "inner");
    assert_eq!(connects(Some(&inner)), [false, true]);
    assert!(!bench.status().in_step);
    let again = bench.apply_bundle(&bundle);
    assert_eq!(again.changes, polc_runtime_loader::Changes::default());
    assert_eq!(connects(Some(&inner)), [true, true]);

    drop(inner);
    let again = bench.apply_bundle(&bundle);
    let [Warning::Gone(gone)] = &*again.warnings else {
        panic!("{again:?}")
    };
    assert_eq!(gone.kind, "cgroup");
    let other = format!("from host {{ allow tcp/80 by cgroup \"{name}/inner\" }}  default deny");
    let refused = bench.try_apply(&build_for("ebpf", &other));
    let refused = refused.expect_err("there is no such control group");
    assert!(refused.to_string().contains("/inner"), "{refused}");
    assert!(bench.status().in_step);
}

/// What runs for sockets: the hooks, and the numbers of the programs.
fn sockets(status: &Status) -> Vec<(String, u32)> {
    let all = status.programs.iter().filter(|p| p.interface == "sockets");
    all.filter_map(|program| Some((program.hook.clone(), program.id?)))
        .collect()
}

const BY_GROUP: &str = "from host { allow tcp/80 by gid 5  default deny }  default deny";

#[test]
fn sockets_have_a_program_as_long_as_rules_ask_for_groups() {
    if !possible() || !tools() {
        return;
    }
    let bench = Bench::bare(Topology::new().expect("a topology")).built_for("ebpf");
    let _server = bench.serve("wan", 80);
    let sender = Sender {
        gid: 5,
        ..Sender::new(&bench)
    };
    let plain = "from host { allow tcp/81  default deny }  default deny";
    bench.apply(plain);
    assert!(sockets(&bench.status()).is_empty());
    let applied = bench.apply(BY_GROUP);
    let attached = "program sock_create at sockets (sock_create)";
    assert!(
        applied.changes.attached.iter().any(|a| a == attached),
        "{applied:?}"
    );
    let first = sockets(&bench.status());
    assert_eq!(first.len(), 1);
    assert_eq!(sender.connects([80]), [true]);
    // Another policy has another program there.
    bench.apply(&BY_GROUP.replace("gid 5", "gid 5, 6"));
    let second = sockets(&bench.status());
    assert_eq!((second.len(), &second[0].0), (1, &first[0].0));
    assert_ne!(first, second);
    assert!(bench.status().in_step);
    assert_eq!(sender.connects([80]), [true]);

    let applied = bench.apply(plain);
    let detached = "program at sockets (sock_create)";
    assert!(
        applied.changes.detached.iter().any(|d| d == detached),
        "{applied:?}"
    );
    assert!(sockets(&bench.status()).is_empty());
    bench.apply(BY_GROUP);
    let removed = bench.remove().expect("removed");
    assert!(
        removed
            .programs
            .contains(&"sockets (sock_create)".to_owned()),
        "{removed:?}"
    );
    assert!(bench.remove().expect("nothing").is_empty());
}

#[test]
fn programs_of_sockets_are_undone() {
    if !possible() {
        return;
    }
    let bench = Bench::bare(Topology::new().expect("a topology")).built_for("ebpf");
    // Somebody else's program is where the guard should be.
    let guard = build_for("ebpf", "guard on lan0 { deny udp/82  default allow }");
    let directory = tempfile::TempDir::new().expect("a directory");
    let object = directory.path().join("other.o");
    fs::write(&object, guard.bytes("policy.o").expect("an object")).expect("written");
    let object = object.display().to_string();
    let attach = [
        "link", "set", "dev", "wan0", "xdp", "obj", &object, "sec", "xdp",
    ];
    bench.router().output("ip", &attach).expect("attached");

    let with_guard = format!("guard {{ deny udp/82  default allow }}\n{BY_GROUP}");
    let with_guard = build_for("ebpf", &with_guard);
    for before in [
        "from host { allow tcp/81  default deny }  default deny",
        "from host { allow tcp/81 by gid 7  default deny }  default deny",
    ] {
        bench.apply(before);
        let found = bench.status();
        let refused = bench.try_apply(&with_guard);
        let Err(ApplyError::Undone { undo, .. }) = refused else {
            panic!("{refused:?}")
        };
        assert!(matches!(undo, Undo::Restored { .. }), "{undo:?}");
        assert_eq!(sockets(&bench.status()), sockets(&found), "{before}");
        assert!(bench.status().in_step, "{before}");
    }
}

/// What a server answers with belongs to the group that has made its socket, from the first packet on.
#[test]
fn accepted_connections_have_the_group_of_their_server() {
    if !possible() || !tools() {
        return;
    }
    let bench = Bench::bare(Topology::new().expect("a topology")).built_for("ebpf");
    let server = |port: u16, gid: u32| {
        let sender = Sender {
            gid,
            ..Sender::new(&bench)
        };
        let line = format!("socat TCP6-LISTEN:{port},reuseaddr,fork,ipv6only=0 SYSTEM:cat");
        let child = bench.router().spawn(&mut sender.command(&line));
        Process(child.expect("a server"))
    };
    let zone = bench.topology.client();
    let echoes = |address: IpAddr, port: u16| {
        let talk = || -> std::io::Result<bool> {
            let to = SocketAddr::new(address, port);
            let mut stream = TcpStream::connect_timeout(&to, TIMEOUT)?;
            stream.set_read_timeout(Some(TIMEOUT))?;
            stream.write_all(b"hello")?;
            let mut answer = [0; 5];
            stream.read_exact(&mut answer)?;
            Ok(answer == *b"hello")
        };
        let said = zone.namespace.run(talk).expect("inside");
        said.unwrap_or(false)
    };
    // Before the first apply, sockets have no group that anybody knows.
    let _early = server(92, 5);
    wait_for(&bench, 92);
    bench.apply(
        "stateless from host { allow tcp by gid 5  default deny }
         stateless to host { allow tcp  default deny }
         default deny",
    );
    let _servers = [server(90, 5), server(91, 6)];
    wait_for(&bench, 90);
    wait_for(&bench, 91);
    for address in [zone.router_v4, zone.router_v6] {
        assert!(echoes(address, 90), "{address}");
        assert!(!echoes(address, 91), "{address}");
        assert!(!echoes(address, 92), "{address}");
    }
}

/// Waits until a port of the router is listened on.
fn wait_for(bench: &Bench, port: u16) {
    let filter = format!("sport = :{port}");
    for _ in 0..100 {
        let shown = bench.router().output("ss", &["-Hltn", &filter]);
        if shown.is_ok_and(|shown| !shown.trim().is_empty()) {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("nobody listens on {port}");
}

/// Other namespaces' sockets stay as they are: a group of the same number there sends nothing from here.
#[test]
fn two_namespaces_have_programs_of_their_own() {
    if !possible() || !tools() {
        return;
    }
    let benches = [5, 6].map(|gid| {
        let bench = Bench::bare(Topology::new().expect("a topology")).built_for("ebpf");
        bench.apply(&BY_GROUP.replace("gid 5", &format!("gid {gid}")));
        bench
    });
    let _servers: Vec<EchoServer> = benches.iter().map(|b| b.serve("wan", 80)).collect();
    for (bench, own) in benches.iter().zip([5, 6]) {
        for gid in [5, 6] {
            let sender = Sender {
                gid,
                ..Sender::new(bench)
            };
            assert_eq!(sender.connects([80]), [gid == own]);
        }
    }
}
