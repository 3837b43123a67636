//! What unit tests share.

use polc_bundle::{Hook, Manifest, RoutingPlan, SCHEMA};

/// A manifest with nothing in it.
pub(crate) fn manifest() -> Manifest {
    Manifest {
        schema: SCHEMA,
        policy: "p".into(),
        target: "nftables".into(),
        generation: String::new(),
        as_of: "2026-11-21".into(),
        kernel_floor: "5.7".into(),
        features: vec![],
        governs: vec![Hook::Input],
        rules: vec![],
        objects: vec![],
        sets: vec![],
        programs: Vec::new(),
        state: Vec::new(),
        classes: Vec::new(),
        chains: Vec::new(),
        jumps: Vec::new(),
        unresolved: vec![],
        routing: RoutingPlan::default(),
        sysctls: vec![],
        files: vec![],
    }
}
