//! What the routing tables must hold for marked packets to get where the policy sends them.

use serde::{Deserialize, Serialize};

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// IPv4
    V4,
    /// IPv6
    V6,
}

/// Policy-routing rules and local routes, owned by the loader and tagged with its protocol
/// number.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoutingPlan {
    /// `ip rule` and `ip -6 rule` entries.
    pub rules: Vec<RoutingRule>,
    /// `local default dev lo` routes.
    pub local_routes: Vec<LocalRoute>,
}

/// `ip [-6] rule add pref PRIORITY [iif IIF] fwmark MARK/MASK lookup TABLE`
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RoutingRule {
    /// The family whose rule list it goes into.
    pub family: Family,
    /// Its place in the list; lower is looked at first.
    pub priority: u32,
    /// The ingress interface it is limited to (`lo` for locally generated packets); a name, not
    /// a pattern.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iif: Option<String>,
    /// The mark, already within the mask.
    pub mark: u32,
    /// The bits compared.
    pub mask: u32,
    /// The table to look in.
    pub table: u32,
}

/// `ip [-6] route add local default dev lo table TABLE`: everything is delivered locally.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LocalRoute {
    /// The family of the default prefix.
    pub family: Family,
    /// The table it goes into.
    pub table: u32,
}
