//! Seeded bugs: deliberate miscompilations, which a comparison has to find.
//!
//! Each is a mistake that compilers of packet filters have made. Most are planted in a policy's normal
//! form ([`Fault::plant`]): what every target then writes is what a compiler with that mistake would
//! write for the policy as it was. Where a target has no way to say so, its text is changed
//! ([`Fault::patch`]).

mod condition;
mod state;
mod text;
mod verdict;

#[cfg(test)]
mod packets;
#[cfg(test)]
mod tests;

use polc_bundle::Bundle;
use polc_compiler::ir::{Cube, Ir, Rule};

/// A bug to be found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// Addresses under `not` are negated in one family only: the other one is lost.
    NegatedFamily,
    /// A test of some TCP flags compares all of them.
    ExactFlags,
    /// Prefixes are one bit too long: a /29 becomes a /30.
    LongPrefix,
    /// The drop at the end of filter is missing: what nothing has decided passes.
    MissingDrop,
    /// The drop behind a transparent proxy is missing: what it should have taken passes while it is
    /// down.
    MissingProxyDrop,
    /// Buckets hold one token more.
    LargeBurst,
    /// First and later fragments are confused: `ip.fragment` sees only first ones, or, in a policy
    /// without it, guard finds in every fragment the ports, flags and types that it looks for.
    Fragments,
    /// Source ports are taken for destination ports, and the other way round.
    SwappedPorts,
    /// A section's default is another one: it drops what it should refuse, or passes what it should
    /// drop.
    WrongDefault,
    /// A TCP packet with an ACK is taken for one of a known flow.
    StaleFlow,
    /// Tokens of packets or flows come twice as fast.
    FastRefill,
    /// One more flow may live at once.
    LargeLimit,
    /// What is idle stays in dynamic sets for ever.
    LostTimeout,
    /// Refused packets are answered with another error.
    WrongAnswer,
}

impl Fault {
    /// All.
    pub const ALL: [Self; 14] = [
        Self::NegatedFamily,
        Self::ExactFlags,
        Self::LongPrefix,
        Self::MissingDrop,
        Self::MissingProxyDrop,
        Self::LargeBurst,
        Self::Fragments,
        Self::SwappedPorts,
        Self::WrongDefault,
        Self::StaleFlow,
        Self::FastRefill,
        Self::LargeLimit,
        Self::LostTimeout,
        Self::WrongAnswer,
    ];

    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::NegatedFamily => "negated-family",
            Self::ExactFlags => "exact-flags",
            Self::LongPrefix => "long-prefix",
            Self::MissingDrop => "missing-drop",
            Self::MissingProxyDrop => "missing-proxy-drop",
            Self::LargeBurst => "large-burst",
            Self::Fragments => "fragments",
            Self::SwappedPorts => "swapped-ports",
            Self::WrongDefault => "wrong-default",
            Self::StaleFlow => "stale-flow",
            Self::FastRefill => "fast-refill",
            Self::LargeLimit => "large-limit",
            Self::LostTimeout => "lost-timeout",
            Self::WrongAnswer => "wrong-answer",
        }
    }

    /// The fault of that name.
    pub fn find(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|fault| fault.name() == name)
    }

    /// What a compiler with this bug would compile in place of a policy. `None` where the policy has
    /// nothing that the bug concerns.
    ///
    /// A target may be unable to express the result, though it can express the policy: then see
    /// [`Self::patch`], and where that has no answer the target cannot have the bug.
    pub fn plant(self, ir: &Ir) -> Option<Ir> {
        let mut mutant = ir.clone();
        match self {
            Self::NegatedFamily => condition::negated_family(&mut mutant),
            Self::ExactFlags => condition::exact_flags(&mut mutant),
            Self::LongPrefix => condition::long_prefix(&mut mutant),
            Self::MissingDrop => verdict::missing_drop(&mut mutant),
            Self::MissingProxyDrop => verdict::missing_proxy_drop(&mut mutant),
            Self::LargeBurst => state::large_burst(&mut mutant),
            Self::Fragments => condition::fragments(&mut mutant),
            Self::SwappedPorts => condition::swapped_ports(&mut mutant),
            Self::WrongDefault => verdict::wrong_default(&mut mutant),
            Self::StaleFlow => state::stale_flow(&mut mutant),
            Self::FastRefill => state::fast_refill(&mut mutant),
            Self::LargeLimit => state::large_limit(&mut mutant),
            Self::LostTimeout => state::lost_timeout(&mut mutant),
            Self::WrongAnswer => verdict::wrong_answer(&mut mutant),
        }
        (mutant != *ir).then_some(mutant)
    }

    /// What a compiler with this bug would have written in place of a bundle, its hashes right.
    /// `None` where [`Self::plant`] says the same, or the bundle has nothing that the bug concerns.
    ///
    /// * `missing-proxy-drop` for `nftables`, where a policy cannot let this host's own flows pass a
    ///   proxy that is down. `TPROXY` of iptables drops by itself, so iptables cannot have the bug.
    pub fn patch(self, bundle: &Bundle) -> Option<Bundle> {
        match self {
            Self::MissingProxyDrop => text::missing_proxy_drop(bundle),
            _ => None,
        }
    }
}

/// Replaces each cube of some rules by others. One without any stays as it is.
fn replace_cubes<'r>(
    rules: impl IntoIterator<Item = &'r mut Rule>,
    mut change: impl FnMut(&Cube) -> Vec<Cube>,
) {
    for rule in rules {
        let changed = rule.cubes.iter().flat_map(|cube| {
            let cubes: Vec<Cube> = change(cube).into_iter().filter_map(Cube::normal).collect();
            if cubes.is_empty() {
                vec![cube.clone()]
            } else {
                cubes
            }
        });
        rule.cubes = changed.collect();
    }
}

/// Every rule of a policy.
fn rules(ir: &mut Ir) -> impl Iterator<Item = &mut Rule> {
    let stages = [&mut ir.guard, &mut ir.steer, &mut ir.filter, &mut ir.egress];
    stages.into_iter().flatten()
}
