//! The manifest of a bundle.

use serde::{Deserialize, Serialize};

use crate::routing::{Family, RoutingPlan};

/// The version of the manifest's layout. A loader refuses any other.
pub const SCHEMA: u32 = 1;

/// What a bundle holds and what it needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// [`SCHEMA`] of the compiler that wrote it.
    pub schema: u32,
    /// The policy's name.
    pub policy: String,
    /// The target it was built for: `nftables`, `ebpf` or `iptables`.
    pub target: String,
    /// The hash of the whole content: 32 hexadecimal digits (128 bits of a SHA-256).
    pub generation: String,
    /// The date at which `expires` was judged, `YYYY-MM-DD`.
    pub as_of: String,
    /// The oldest kernel that has everything used, `MAJOR.MINOR`.
    pub kernel_floor: String,
    /// What is used, and since when kernels have it.
    pub features: Vec<Feature>,
    /// The directions whose traffic the policy decides.
    pub governs: Vec<Hook>,
    /// Every rule of the policy, in order of stage and source.
    pub rules: Vec<RuleEntry>,
    /// Every named object of the kernel's table, so that a loader can tell stale ones.
    pub objects: Vec<Object>,
    /// Every named set in the kernel.
    pub sets: Vec<SetEntry>,
    /// Programs, and which interfaces they are for: at each hook, the first whose pattern matches
    /// an interface's name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub programs: Vec<ProgramEntry>,
    /// The object's maps that outlive an apply, by name, of at most 15 letters, digits and
    /// underscores. A name stands for everything that gives a map's contents their meaning, so
    /// that two bundles which name the same map can share it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub state: Vec<String>,
    /// Numbers of interfaces, with which the loader fills the object's map `ifaces`: an interface
    /// has the number of the first whose pattern matches its name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub classes: Vec<ClassEntry>,
    /// The chains of iptables that the bundle's files fill, by family and table. Others whose names begin
    /// with `POLC-` are left over from another policy.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub chains: Vec<TableChains>,
    /// The jumps from the kernel's own chains, which a loader puts in if they are not there, in this order, and takes
    /// away in the opposite one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub jumps: Vec<Jump>,
    /// Names that are looked up on the machine that loads the bundle. Where there are programs, the numbers
    /// go into the object's map `principals`, each one more than it is, in this order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unresolved: Vec<Unresolved>,
    /// Policy routing.
    pub routing: RoutingPlan,
    /// Kernel settings that must hold.
    pub sysctls: Vec<Sysctl>,
    /// Every other file of the bundle.
    pub files: Vec<FileEntry>,
}

/// A kernel feature that the bundle uses.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Feature {
    /// Its name, such as `tproxy`.
    pub name: String,
    /// The first kernel that has it, `MAJOR.MINOR`.
    pub kernel: String,
}

/// A direction of traffic that filter decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Hook {
    /// Delivered to this host.
    Input,
    /// Routed through this host.
    Forward,
    /// Sent by this host.
    Output,
}

/// One rule of the policy and where to find it in the kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleEntry {
    /// Its name in the policy.
    pub name: String,
    /// Its stage: `guard`, `steer`, `filter` or `egress`.
    pub stage: String,
    /// Its verb.
    pub verdict: String,
    /// `file:line` of its source.
    pub source: String,
    /// The comment that its kernel rules carry.
    pub comment: String,
    /// The kernel's counter, when it counts: the name of an object, or a map and a place in it
    /// (`counters/3`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counter: Option<String>,
    /// The prefix of its log entries, when it logs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_prefix: Option<String>,
    /// The number by which entries of the ring `log` name it, when it logs there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_id: Option<u32>,
}

/// A named object of the kernel's table.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Object {
    /// What it is.
    pub kind: ObjectKind,
    /// Its name, unique within its kind.
    pub name: String,
}

/// The kinds of named objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ObjectKind {
    /// A chain, base chains too.
    Chain,
    /// A set.
    Set,
    /// A map.
    Map,
    /// A limit.
    Limit,
    /// A counter.
    Counter,
}

impl ObjectKind {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Chain => "chain",
            Self::Set => "set",
            Self::Map => "map",
            Self::Limit => "limit",
            Self::Counter => "counter",
        }
    }
}

/// A set in the kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetEntry {
    /// The kernel's name for it. It carries a hash of its parameters or contents, but for sets that
    /// programs look up: there it is the name of a map that holds the map with the contents.
    pub name: String,
    /// The policy's name for it, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy_name: Option<String>,
    /// How many elements (addresses, prefixes or ranges) it is loaded with.
    pub elements: u64,
    /// The file under `maps/` with one element a line, or with the value of a map; none for sets
    /// that the kernel fills.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
}

/// A program of the bundle's object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProgramEntry {
    /// Its name in the object; none for interfaces that no rule speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The name of the one that does the same with frames that have no Ethernet header and begin with
    /// that of IP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bare: Option<String>,
    /// Where it runs.
    pub hook: ProgramHook,
    /// What part of the policy it is: programs of one hook run in the order of the stages.
    pub stage: ProgramStage,
    /// The names of its interfaces: one name, or what names begin with and `*`.
    pub pattern: String,
}

/// A place in the kernel where programs run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProgramHook {
    /// Before the kernel has made a packet of the frame.
    Xdp,
    /// What arrives by an interface, as a packet (tcx, or a filter at clsact).
    Ingress,
    /// What leaves by an interface (tcx, or a filter at clsact).
    Egress,
    /// A socket that a process makes: for all processes, at the root of the control groups. The pattern
    /// is empty.
    #[serde(rename = "sock_create")]
    SockCreate,
    /// A process asks for an option of a socket: there, too.
    GetSockOpt,
}

impl ProgramHook {
    /// All that interfaces have.
    pub const ALL: [Self; 3] = [Self::Xdp, Self::Ingress, Self::Egress];
    /// All of sockets.
    pub const SOCKETS: [Self; 2] = [Self::SockCreate, Self::GetSockOpt];

    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Xdp => "xdp",
            Self::Ingress => "ingress",
            Self::Egress => "egress",
            Self::SockCreate => "sock_create",
            Self::GetSockOpt => "getsockopt",
        }
    }
}

/// A part of a policy that is a program of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProgramStage {
    /// What is dropped before anything else looks at it.
    Guard,
    /// Where packets go: their destination, and who takes them.
    Steer,
    /// What goes to, through and from the host.
    Filter,
    /// From whom packets come, as others see it.
    Egress,
}

impl ProgramStage {
    /// All of them, in the order in which a packet meets them.
    pub const ALL: [Self; 4] = [Self::Guard, Self::Steer, Self::Filter, Self::Egress];

    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Guard => "guard",
            Self::Steer => "steer",
            Self::Filter => "filter",
            Self::Egress => "egress",
        }
    }
}

/// Interfaces that programs know by a number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClassEntry {
    /// The names of the interfaces: one name, or what names begin with and `*`.
    pub pattern: String,
    /// Their number.
    pub number: u32,
}

/// The chains in a table of iptables.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableChains {
    /// Whose: `iptables` or `ip6tables`.
    pub family: Family,
    /// `raw`, `mangle`, `nat` or `filter`.
    pub table: String,
    /// Their names.
    pub chains: Vec<String>,
}

/// A rule `-j CHAIN` at the beginning of a chain of the kernel's.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Jump {
    /// Whose: `iptables` or `ip6tables`.
    pub family: Family,
    /// `raw`, `mangle`, `nat` or `filter`.
    pub table: String,
    /// The kernel's chain, such as `INPUT`.
    pub builtin: String,
    /// The policy's.
    pub chain: String,
}

/// A user, group or control group that the kernel tool looks up by name when it loads the
/// bundle.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Unresolved {
    /// `user`, `group` or `cgroup`.
    pub kind: String,
    /// Its name.
    pub name: String,
}

/// A kernel setting that must have one of some values.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Sysctl {
    /// Its name with `/` between parts, below `/proc/sys`: `net/ipv4/conf/all/src_valid_mark`.
    pub key: String,
    /// The values that will do.
    pub values: Vec<String>,
    /// Why: what breaks otherwise.
    pub reason: String,
    /// Whether the bundle must not be applied otherwise; if not, it is a warning.
    pub required: bool,
}

/// A file of the bundle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// Its path relative to the bundle, with `/` between parts.
    pub path: String,
    /// The SHA-256 of its content with the generation id replaced by the placeholder.
    pub sha256: String,
    /// Its length in bytes.
    pub bytes: u64,
}
