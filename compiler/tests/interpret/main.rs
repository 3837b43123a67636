//! What the language means, packet by packet: policy text, packets, and what becomes of them.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "what cannot be compiled or read must fail the test"
)]

mod algebra;
mod deciding;
mod dynamic;
mod egress;
mod facts;
mod flows;
mod hops;
mod machine;
mod marks;
mod matching;
mod oracle;
mod proxies;
mod rates;
mod sieve;
mod stages;
mod stateless;
mod steer;
mod trace;
