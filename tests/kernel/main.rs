//! Policies on the live kernel: compiled, applied in namespaces of their own, and judged by what
//! real clients, servers and proxies see.
//!
//! They need root. Outside of CI they are left out, loudly, when root is missing.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test stops at the first thing that is wrong"
)]

mod bare;
mod connections;
mod dnat;
mod ebpf;
mod ecn;
mod egress;
mod errors;
mod filter;
mod flood;
mod fragments;
mod gateway;
mod guard;
mod hairpin;
mod haproxy;
mod harness;
mod headers;
mod iptables;
mod live;
mod load;
mod own;
mod probe;
mod programs;
mod rates;
mod reapply;
mod redirect;
mod regressions;
mod rejects;
mod related;
mod route;
mod senders;
mod sets;
mod sidecar;
mod single;
mod stopped;
mod tproxy;
mod vlan;
