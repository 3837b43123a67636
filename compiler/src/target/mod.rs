//! From the normal form to what a kernel loads.
//!
//! A target sees the IR, never syntax, and either expresses all of a policy or says at which rule
//! it cannot. A new target is a module and its line in [`all`].

pub mod ebpf;
pub mod iptables;
mod netfilter;
pub mod nftables;
mod routing;
mod strict;

use std::borrow::Cow;

use polc_bundle::{Bundle, Hook};

use crate::diagnostic::{Code, Diagnostic};
use crate::ir::{Ir, Stage};
use crate::source::{SourceMap, Span};

pub use ebpf::Ebpf;
pub use iptables::Iptables;
pub use nftables::Nftables;

/// Turns policies into bundles for one kernel mechanism.
pub trait Target: Sync {
    /// The word that selects it.
    fn name(&self) -> &'static str;

    /// Whether it can express something that not every target can.
    fn has(&self, capability: Capability) -> bool;

    /// The bundle of a policy, or one error for each thing that the target cannot express.
    fn emit(
        &self,
        ir: &Ir,
        sources: &SourceMap,
        options: &Options,
    ) -> Result<Bundle, Vec<Diagnostic>>;

    /// Where the target does something else than the policy says, as closely as it can: warnings
    /// about a policy that it can express.
    fn remarks(&self, _: &Ir, _: &Options) -> Vec<Diagnostic> {
        Vec::new()
    }
}

/// Every target.
pub fn all() -> &'static [&'static dyn Target] {
    &[&Nftables, &Ebpf, &Iptables]
}

/// The target of that name.
pub fn find(name: &str) -> Option<&'static dyn Target> {
    all().iter().copied().find(|t| t.name() == name)
}

/// The directions that a policy decides, as a manifest lists them.
fn governs(ir: &Ir) -> Vec<Hook> {
    let governs = ir.governs;
    let all = [
        (governs.input, Hook::Input),
        (governs.forward, Hook::Forward),
        (governs.output, Hook::Output),
    ];
    let governed = all.into_iter().filter(|(governed, _)| *governed);
    governed.map(|(_, hook)| hook).collect()
}

/// What the user chooses about a build beside the policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The netlink group that log entries go to.
    pub log_group: u16,
    /// A counter on every rule, not only on those with `count`.
    pub count_all: bool,
    /// The most keys of a bucket or dynamic set that does not say.
    pub max_set: u32,
    /// After how many milliseconds an unused key of a bucket that does not say is forgotten.
    pub idle: u64,
    /// How many flows a target without the kernel's connection tracking remembers: so many that
    /// were answered, and so many that were not.
    pub flows: u32,
    /// From how many ranges of addresses on a set has a table of its own where the target is made of
    /// programs, so that other contents need no other program.
    pub large_set: usize,
}

impl Options {
    /// The policy with its counters, those that were chosen for a build too.
    pub(crate) fn counted<'i>(&self, ir: &'i Ir) -> Cow<'i, Ir> {
        if !self.count_all {
            return Cow::Borrowed(ir);
        }
        let mut counting = ir.clone();
        for stage in Stage::ALL {
            for rule in counting.stage_mut(stage) {
                rule.effects.count = true;
            }
        }
        Cow::Owned(counting)
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            log_group: 5,
            count_all: false,
            max_set: 65_536,
            idle: 60_000,
            flows: 131_072,
            large_set: 4_096,
        }
    }
}

/// What some targets can express and others cannot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capability {
    /// Fields of the VLAN tag.
    VlanTag,
    /// The Ethernet type.
    EtherType,
    /// Ethernet addresses of locally generated packets.
    LocalEther,
    /// `down direct` of a proxy for locally generated traffic.
    LocalDownDirect,
    /// A bucket of bytes that holds less than one second's worth.
    ShortByteBurst,
    /// A limit of live flows in guard.
    GuardFlows,
    /// Reading a mark after an earlier rule of the stage has changed it.
    StaleMark,
    /// The egress interface of a packet that is not routed yet.
    EarlyEgress,
    /// Asking by which interface traffic of this host leaves, after `dnat` or `route` of it.
    MovedEgress,
    /// DNAT of forwarded IPv6 traffic to the loopback address.
    Ipv6LoopbackNat,
    /// Asking for a SYN by the section that a packet was in before steer sent it elsewhere.
    StrictMoved,
    /// Asking for a SYN before rules of steer that leave something behind.
    StrictAsked,
    /// More limited rules before the last NAT rule than a flow has labels.
    ManyLimitedNat,
    /// A target port for protocols without ports.
    PortWithoutPorts,
    /// A rate beyond a token for each nanosecond, or a burst beyond 32 bits.
    HugeRate,
    /// Fragments in guard.
    GuardFragments,
    /// The length of a packet as received, where it is not that of its header.
    PacketLength,
    /// The Ethernet destination.
    DestEther,
    /// Many single values of a field that the kernel takes one by one.
    ManyValues,
    /// Many prefixes of an original destination.
    ManyOriginals,
    /// An interface whose name ends in `+`.
    PlusInterface,
    /// More than a million packets a second, or a larger bucket.
    FastRate,
    /// A rate that would be rounded by more than two hundredths.
    CoarseRate,
    /// A bucket that takes more than a day to fill.
    SlowRate,
    /// A bucket of bytes that holds another amount than one second's worth.
    ByteBurst,
    /// `full within` of a bucket.
    FullWithin,
    /// A rate per key of a rule that decides nothing, or of log entries about what passes.
    FullNoted,
    /// `max` and `full` of a limit of live flows.
    FlowTable,
    /// A limit of live flows for each pair of addresses.
    FlowPairs,
    /// A limit of live flows that is asked in several places.
    SharedFlows,
    /// Dynamic sets of pairs.
    PairSets,
    /// `idle` of a set that is no number of seconds.
    OddIdle,
    /// `down direct` of a proxy.
    DownDirect,
    /// A target port for UDP-Lite.
    UdpLiteNat,
    /// Many targets by source.
    ManyTargets,
    /// Chains that lead further into one another than the kernel follows them.
    DeepChains,
}

impl Capability {
    /// What it is, as a noun phrase.
    pub fn describe(self) -> &'static str {
        match self {
            Self::VlanTag => "a VLAN tag's fields",
            Self::EtherType => "the Ethernet type",
            Self::LocalEther => "Ethernet addresses of packets that this host sends",
            Self::LocalDownDirect => "`down direct` for traffic of this host",
            Self::ShortByteBurst => "a bucket of bytes that holds less than a second's worth",
            Self::GuardFlows => "a limit of live flows in `guard`",
            Self::StaleMark => "the mark as it was before an earlier rule of the stage set it",
            Self::EarlyEgress => "the egress interface before routing",
            Self::MovedEgress => {
                "`dnat` and `route` of this host's own flows without `and allow` beside sections \
                 that ask by which interface these leave"
            }
            Self::Ipv6LoopbackNat => "DNAT of forwarded IPv6 traffic to `::1`",
            Self::StrictMoved => {
                "`dnat`, `route`, `mark` and `add` without `and allow` beside `strict tcp` and \
                 `stateless` sections that see what these have changed"
            }
            Self::StrictAsked => {
                "`strict tcp` before rules with a memory, or where filter does not decide all that \
                 comes in, beside `stateless` sections"
            }
            Self::ManyLimitedNat => "more than 100 limited rules before the last NAT rule",
            Self::PortWithoutPorts => "a target port for protocols that have no ports",
            Self::HugeRate => "a rate above one token a nanosecond or a burst above 4 G",
            Self::GuardFragments => {
                "fragments in `guard`, where the kernel has put them together already"
            }
            Self::PacketLength => "the length of a packet as received",
            Self::DestEther => "the Ethernet destination",
            Self::ManyValues => "so many single values",
            Self::ManyOriginals => "more than 64 prefixes of an original destination",
            Self::PlusInterface => "an interface whose name ends in `+`",
            Self::FastRate => "a rate above a million packets a second or a larger bucket",
            Self::CoarseRate => "a rate that the kernel would round by more than 2 %",
            Self::SlowRate => "a bucket that takes more than a day to fill",
            Self::ByteBurst => "a bucket of bytes that holds more or less than a second's worth",
            Self::FullWithin => "`full within`",
            Self::FullNoted => {
                "a rate per key without a verdict that refuses: packets of a key for which there \
                 is no room would be dropped"
            }
            Self::FlowTable => "`max` or `full within` of a limit of live flows",
            Self::FlowPairs => "a limit of live flows for each pair of addresses",
            Self::SharedFlows => "a limit of live flows that is asked in several places",
            Self::PairSets => "a dynamic set of pairs",
            Self::OddIdle => "an `idle` that is no number of seconds, or longer than 24 days",
            Self::DownDirect => "`down direct`",
            Self::UdpLiteNat => "a target port for UDP-Lite",
            Self::ManyTargets => "more than 32 targets by source",
            Self::DeepChains => {
                "so many alternatives with effects that exclude different interfaces: more than 15 \
                 chains would lead into one another"
            }
        }
    }

    /// Whether it was introduced for what iptables alone lacks.
    fn is_beyond_iptables(self) -> bool {
        matches!(
            self,
            Self::GuardFragments
                | Self::PacketLength
                | Self::DestEther
                | Self::ManyValues
                | Self::ManyOriginals
                | Self::PlusInterface
                | Self::FastRate
                | Self::CoarseRate
                | Self::SlowRate
                | Self::ByteBurst
                | Self::FullWithin
                | Self::FullNoted
                | Self::FlowTable
                | Self::FlowPairs
                | Self::SharedFlows
                | Self::PairSets
                | Self::OddIdle
                | Self::DownDirect
                | Self::UdpLiteNat
                | Self::ManyTargets
                | Self::DeepChains
                | Self::StrictAsked
        )
    }

    /// How a policy can do without, where there is a way.
    fn remedy(self) -> Option<&'static str> {
        match self {
            Self::LocalDownDirect => Some("say `down deny`, or leave this host's own flows out"),
            Self::ShortByteBurst => Some("raise `burst` to what may come in a second"),
            Self::GuardFlows => Some("limit flows in a section: it sees flows, guard sees packets"),
            Self::StaleMark => Some("ask about the mark before it is set"),
            Self::MovedEgress => Some("say `and allow`, or name the zone that the flows come from"),
            Self::Ipv6LoopbackNat => Some("send it to an address of one of the interfaces"),
            Self::StrictMoved => {
                Some("say `and allow`, which `match` cannot, or leave out `strict tcp`")
            }
            Self::StrictAsked => Some("deny in filter what has no SYN, or leave out `strict tcp`"),
            Self::PacketLength => Some("ask for `ip.length`"),
            Self::ByteBurst => Some("set `burst` to what may come in a second"),
            Self::FullNoted => Some("use a rate without a key, or one rule that decides"),
            Self::SharedFlows => {
                Some("give each rule a limit of its own, and each direction its section")
            }
            Self::OddIdle => Some("round it to seconds"),
            Self::DownDirect => Some("say `down deny`"),
            Self::DeepChains => Some("make several rules of it"),
            Self::CoarseRate => Some("choose a rate that divides a million, or a lower one"),
            _ => None,
        }
    }
}

/// The error for something at `span` that `target` cannot express: names the targets that can.
pub(crate) fn unsupported(target: &dyn Target, capability: Capability, span: Span) -> Diagnostic {
    let able: Vec<String> = all()
        .iter()
        .filter(|t| t.has(capability))
        .map(|t| format!("`{}`", t.name()))
        .collect();
    let mut help = if able.is_empty() {
        "no target of this version can express it".to_owned()
    } else {
        format!("targets that can: {}", able.join(", "))
    };
    if let Some(remedy) = capability.remedy() {
        help = format!("{remedy}; {help}");
    }
    let title = format!(
        "target `{}` cannot express {}",
        target.name(),
        capability.describe()
    );
    Diagnostic::error(Code::Unsupported, title, span).help(help)
}

/// An error that a policy cannot cause.
fn internal(error: &dyn std::fmt::Display) -> Diagnostic {
    // The first text of any source map: the policy file.
    let file = SourceMap::default().add("", "");
    let span = Span {
        file,
        start: 0,
        end: 0,
    };
    Diagnostic::error(
        Code::Internal,
        format!("cannot write the bundle: {error}"),
        span,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_found_by_name() {
        for target in all() {
            assert_eq!(find(target.name()).map(Target::name), Some(target.name()));
        }
        assert!(find("smoke-signals").is_none());
    }
}
