//! What policies are put in force with.

use std::fmt;

/// A target, and the tool that loads it where there are several.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Backend {
    /// Target `nftables`.
    Nftables,
    /// Target `iptables`, loaded with `iptables-nft`.
    IptablesNft,
    /// Target `iptables`, loaded with `iptables-legacy`.
    IptablesLegacy,
    /// Target `ebpf`.
    Ebpf,
}

impl Backend {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::Nftables,
        Self::IptablesNft,
        Self::IptablesLegacy,
        Self::Ebpf,
    ];

    /// The compiler's target.
    pub fn target(self) -> &'static str {
        match self {
            Self::Nftables => "nftables",
            Self::IptablesNft | Self::IptablesLegacy => "iptables",
            Self::Ebpf => "ebpf",
        }
    }

    /// What it is called.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nftables => "nftables",
            Self::IptablesNft => "iptables-nft",
            Self::IptablesLegacy => "iptables-legacy",
            Self::Ebpf => "ebpf",
        }
    }

    /// The backends of this name; a target's name means all of its.
    pub fn named(name: &str) -> Vec<Self> {
        let all = Self::ALL.into_iter();
        all.filter(|b| b.name() == name || b.target() == name)
            .collect()
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
