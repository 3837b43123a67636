//! The answer to `SO_ORIGINAL_DST`, from flows that the test puts into the table by hand.

use std::fs::{self, File};
use std::io::Read as _;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};

use aya::Ebpf;
use aya::maps::{Array, HashMap};
use aya::programs::{CgroupAttachMode, CgroupSockopt};
use nix::errno::Errno;
use nix::sys::socket::sockopt::{Ip6tOriginalDst, OriginalDst, RcvBuf};
use nix::sys::socket::{SockaddrIn, SockaddrIn6, getsockopt};
use polc_bpf::map::{Map, MapType, Shape};
use polc_bpf::object::{Object, Section};
use polc_compiler::target::ebpf;
use polc_runtime_loader::lab::Namespace;

use super::kernel::possible;

const MAPS: [&str; 2] = ["flows_10", "fresh_10"];
const DNAT: u32 = 2;
const SNAT: u32 = 4;
const PROXY: u32 = 8;

type Key = [u8; 40];
type Value = [u8; 56];

/// A control group of the test's own, in which the test is until it is dropped.
struct Cgroup(PathBuf);

impl Cgroup {
    fn new() -> Self {
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        let mut mounts = mounts.lines().map(|line| line.split(' '));
        let root = mounts.find_map(|mut words| {
            let path = words.nth(1)?;
            (words.next()? == "cgroup2").then(|| PathBuf::from(path))
        });
        let path = root.unwrap().join(format!("polc-{}", std::process::id()));
        fs::create_dir(&path).unwrap();
        enter(&path);
        Self(path)
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        enter(self.0.parent().unwrap());
        if let Err(error) = fs::remove_dir(&self.0) {
            eprintln!("cannot remove {}: {error}", self.0.display());
        }
    }
}

fn enter(cgroup: &Path) {
    let pid = std::process::id().to_string();
    fs::write(cgroup.join("cgroup.procs"), pid).unwrap();
}

fn loaded(cookie: u64) -> Ebpf {
    let mut object = Object::new();
    for name in MAPS {
        object.map(Map::new(name, Shape::new(MapType::LruHash, 40, 56, 16)));
    }
    object.map(Map::new("netns", Shape::new(MapType::Array, 4, 8, 1)));
    let program = ebpf::original_destination(MAPS).unwrap();
    object.program(Section::GetSockOpt, program);
    let mut loaded = Ebpf::load(&object.write().unwrap()).unwrap();
    let netns = loaded.map_mut("netns").unwrap();
    let mut netns: Array<_, u64> = netns.try_into().unwrap();
    netns.set(0, cookie, 0).unwrap();
    let program = program_of(&mut loaded);
    program.load().unwrap_or_else(|error| panic!("{error:?}"));
    loaded
}

fn program_of(loaded: &mut Ebpf) -> &mut CgroupSockopt {
    let program = loaded.program_mut("getsockopt").unwrap();
    program.try_into().unwrap()
}

/// An address as the flow table writes it.
fn halves(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
    }
    .to_le_bytes()
}

/// The key of the flow of a TCP connection.
fn key(ends: [SocketAddr; 2]) -> Key {
    let ends = ends.map(plain);
    let order = |end: &SocketAddr| match end.ip() {
        IpAddr::V4(address) => (u128::from(address.to_bits()), end.port()),
        IpAddr::V6(address) => (address.to_bits(), end.port()),
    };
    let [lower, higher] = if order(&ends[0]) <= order(&ends[1]) {
        ends
    } else {
        [ends[1], ends[0]]
    };
    let mut key = [0; 40];
    key[..16].copy_from_slice(&halves(lower.ip()));
    key[16..32].copy_from_slice(&halves(higher.ip()));
    key[32..34].copy_from_slice(&lower.port().to_le_bytes());
    key[34..36].copy_from_slice(&higher.port().to_le_bytes());
    key[36] = 6;
    key[37] = u8::from(lower.is_ipv6());
    key
}

fn plain(end: SocketAddr) -> SocketAddr {
    SocketAddr::new(end.ip().to_canonical(), end.port())
}

fn value(decision: u32, visible: SocketAddr) -> Value {
    let mut value = [0; 56];
    value[16..20].copy_from_slice(&decision.to_le_bytes());
    value[20..22].copy_from_slice(&visible.port().to_le_bytes());
    value[24..40].copy_from_slice(&halves(visible.ip()));
    value
}

/// What the kernel says about an accepted connection.
fn original(socket: &TcpStream) -> [Result<SocketAddr, Errno>; 2] {
    [
        getsockopt(socket, OriginalDst).map(|found| {
            let found = SockaddrIn::from(found);
            SocketAddr::new(found.ip().into(), found.port())
        }),
        getsockopt(socket, Ip6tOriginalDst).map(|found| {
            let found = SockaddrIn6::from(found);
            SocketAddr::new(found.ip().into(), found.port())
        }),
    ]
}

/// Both ends of a connection to a listener: the one that was accepted, and the one that has asked.
fn connection(listener: &str, to: &str) -> [TcpStream; 2] {
    let listener = TcpListener::bind((listener, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let asking = TcpStream::connect((to, port)).unwrap();
    let (accepted, _) = listener.accept().unwrap();
    [accepted, asking]
}

/// A connection whose ends are told apart by addresses, and the answers about it while its flow has some decision.
struct Case {
    listener: &'static str,
    to: &'static str,
    visible: &'static str,
    /// Which level answers.
    level: usize,
}

const CASES: [Case; 4] = [
    Case {
        listener: "127.0.0.2",
        to: "127.0.0.2",
        visible: "192.0.2.1:8080",
        level: 0,
    },
    // The higher end is the one that asks.
    Case {
        listener: "127.0.0.1",
        to: "127.0.0.1",
        visible: "198.51.100.7:443",
        level: 0,
    },
    Case {
        listener: "::1",
        to: "::1",
        visible: "[2001:db8::1:2:3:4]:443",
        level: 1,
    },
    // A socket for both families, with a connection of IPv4.
    Case {
        listener: "::",
        to: "127.0.0.1",
        visible: "192.0.2.9:80",
        level: 0,
    },
];

#[test]
fn a_proxy_learns_where_a_connection_was_meant_to_go() {
    if !possible() {
        return;
    }
    let namespace = Namespace::new().unwrap();
    let mut loaded = loaded(namespace.cookie().unwrap());
    let cgroup = Cgroup::new();
    let directory = File::open(&cgroup.0).unwrap();
    let connections = namespace
        .run(|| CASES.map(|case| connection(case.listener, case.to)))
        .unwrap();
    let before: Vec<_> = connections.iter().map(|[a, _]| original(a)).collect();
    let program = program_of(&mut loaded);
    program.attach(directory, CgroupAttachMode::Single).unwrap();
    for ((case, [accepted, asking]), before) in CASES.iter().zip(&connections).zip(before) {
        assert_eq!(original(accepted), before, "of a flow that nobody knows");
        let (local, peer) = (
            accepted.local_addr().unwrap(),
            accepted.peer_addr().unwrap(),
        );
        let visible: SocketAddr = case.visible.parse().unwrap();
        for map in MAPS {
            for (decision, answer) in [
                (DNAT, Some(visible)),
                (DNAT | SNAT, Some(visible)),
                (PROXY | 3 << 8, Some(plain(local))),
                (SNAT, None),
            ] {
                let value = value(decision, visible);
                let mut flows = flows(&mut loaded, map);
                flows.insert(key([local, peer]), value, 0).unwrap();
                let mut expected = before;
                if let Some(answer) = answer {
                    expected[case.level] = Ok(answer);
                }
                assert_eq!(original(accepted), expected, "{decision} in {map}");
                // It is the same flow from the other end, which knows where it goes.
                assert_eq!(asking.peer_addr().unwrap(), plain(local));
            }
            flows(&mut loaded, map).remove(&key([local, peer])).unwrap();
        }
        assert_eq!(original(accepted), before);
    }
}

/// Asks for options of a new connection with buffers of more than a page, of which programs are shown the first
/// page: what comes back of the kernel's option, and what it says of flows that nobody knows. (Before Linux 6.5 they
/// come back only if programs let them go.)
const LARGE: &str = "
import ctypes, socket
libc = ctypes.CDLL(None, use_errno=True)
listener = socket.create_server(('127.0.0.1', 0))
asking = socket.create_connection(listener.getsockname())
accepted, _ = listener.accept()
for level, name in [(6, 2), (0, 80)]:
    size = ctypes.c_uint32(8192)
    value = ctypes.create_string_buffer(8192)
    result = libc.getsockopt(accepted.fileno(), level, name, value, ctypes.byref(size))
    print(result, ctypes.get_errno() if result else 0, size.value, value.raw[:4].hex())
";

#[test]
fn answers_of_more_than_a_page_are_the_kernels() {
    if !possible() {
        return;
    }
    let namespace = Namespace::new().unwrap();
    if namespace.output("python3", &["--version"]).is_err() {
        assert!(std::env::var_os("CI").is_none(), "`python3` is missing");
        eprintln!("SKIPPED: `python3` is missing");
        return;
    }
    let mut loaded = loaded(namespace.cookie().unwrap());
    let cgroup = Cgroup::new();
    let directory = File::open(&cgroup.0).unwrap();
    let before = namespace.output("python3", &["-c", LARGE]).unwrap();
    let program = program_of(&mut loaded);
    program.attach(directory, CgroupAttachMode::Single).unwrap();
    let after = namespace.output("python3", &["-c", LARGE]).unwrap();
    assert_eq!(after, before);
    let mut said = before.lines();
    assert!(said.next().unwrap().starts_with("0 0 "), "{before}");
    assert!(said.next().unwrap().starts_with("-1 "), "{before}");
}

fn flows<'l>(loaded: &'l mut Ebpf, map: &str) -> HashMap<&'l mut aya::maps::MapData, Key, Value> {
    loaded.map_mut(map).unwrap().try_into().unwrap()
}

#[test]
fn other_namespaces_and_options_are_left_alone() {
    if !possible() {
        return;
    }
    let namespace = Namespace::new().unwrap();
    let mut loaded = loaded(namespace.cookie().unwrap() + 1_000_000);
    let cgroup = Cgroup::new();
    let directory = File::open(&cgroup.0).unwrap();
    let [accepted, mut asking] = namespace
        .run(|| connection("127.0.0.1", "127.0.0.1"))
        .unwrap();
    let (before, buffer) = (original(&accepted), getsockopt(&accepted, RcvBuf));
    let (local, peer) = (
        accepted.local_addr().unwrap(),
        accepted.peer_addr().unwrap(),
    );
    let visible = "192.0.2.1:80".parse().unwrap();
    let mut table = flows(&mut loaded, MAPS[0]);
    table
        .insert(key([local, peer]), value(DNAT, visible), 0)
        .unwrap();
    let program = program_of(&mut loaded);
    program.attach(directory, CgroupAttachMode::Single).unwrap();
    assert_eq!(original(&accepted), before);
    assert_eq!(getsockopt(&accepted, RcvBuf), buffer);
    drop(accepted);
    assert_eq!(asking.read(&mut [0; 8]).unwrap(), 0);
}
