//! Whether targets do on the live kernel what policies mean.
//!
//! Random or given policies are put in force on a machine of the laboratory, backend by backend.
//! Packets are sent through it, and what becomes of each is compared with what the reference
//! interpreter says: whether it passes, where, as which packet and with which mark, which proxy takes
//! it, and how its sender is answered.

#![forbid(unsafe_code)]

mod answer;
mod backend;
mod campaign;
mod cast;
mod chance;
mod compare;
mod difference;
mod doubt;
mod duel;
mod error;
pub mod fault;
mod handed;
mod machine;
pub mod minimise;
mod net;
mod pace;
mod pieces;
mod predict;
mod seen;
mod shot;
mod subject;
mod table;
mod tag;
mod totals;
mod traffic;
mod trial;
mod values;

pub use backend::Backend;
pub use campaign::{Found, Origin, Report, Settings, campaign, campaign_of};
pub use difference::{Difference, Mismatch};
pub use error::Error;
pub use subject::{Subject, Unplayable};
pub use totals::Totals;
pub use trial::{Tried, draw, smaller, trial};
