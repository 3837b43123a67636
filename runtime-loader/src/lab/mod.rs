//! A laboratory of network namespaces with real traffic: namespaces, links, topologies, servers,
//! clients, proxies and raw frames; and single machines whose packets are all seen ([`Site`]).
//!
//! Nothing here touches the machine's own network: every interface lies in a [`Namespace`] that
//! the laboratory made and removes. Every wait has an end. Making namespaces takes
//! `CAP_SYS_ADMIN`.
//!
//! ```no_run
//! use polc_runtime_loader::lab::{Client, EchoServer, Outcome, Topology};
//!
//! # fn main() -> Result<(), polc_runtime_loader::lab::LabError> {
//! let topology = Topology::new()?;
//! let server = EchoServer::start(&topology.server().namespace, "web", 80)?;
//! let client = Client::new(&topology.client().namespace);
//! let outcome = client.tcp(topology.server().v4, 80);
//! assert!(matches!(outcome, Outcome::Connected(reply) if reply.name == server.name()));
//! # Ok(())
//! # }
//! ```

mod client;
mod datagram;
mod frame;
mod link;
mod namespace;
mod proxy;
mod redirect;
mod server;
mod service;
mod sink;
mod site;
mod stand;
mod topology;
mod transparent;
mod user;
mod wire;

pub use client::{Burst, Client, DEFAULT_TIMEOUT, Outcome, Session};
pub use frame::{FrameBuilder, Mac, TcpFlags, Transport};
pub use namespace::{Namespace, running_as_root};
pub use proxy::{Mode, Protocol, Proxied};
pub use redirect::RedirectProxy;
pub use server::EchoServer;
pub use service::Reply;
pub use site::{Listener, Observed, Origin, Site, SiteSpec, Throw, Way};
pub use stand::{Catch, Launch, Source, Stand, StandSpec, Taken, stay_on_processor};
pub use topology::{Topology, Zone};
pub use transparent::TransparentProxy;
pub use user::be_root_of_a_user_namespace;
pub use wire::{Collected, Wire, carries};

use std::io;

/// What the laboratory could not do.
#[derive(Debug, thiserror::Error)]
#[error("cannot {what}: {source}")]
pub struct LabError {
    what: String,
    source: io::Error,
}

impl LabError {
    /// Turns an I/O error into a laboratory error; `what` completes "cannot …".
    pub(crate) fn when(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self { what, source }
    }
}
