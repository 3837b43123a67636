//! Makes what fails smaller for as long as it still fails: delta debugging.
//!
//! [`list`] does so with any sequence, such as packets; [`policy`] with the text of a policy. Both
//! ask a function of the caller's whether what is left still fails, and promise only what it has
//! said: what they return has failed, and what they have tried to leave out has not.

mod cut;
mod list;
mod parts;
mod policy;

pub use list::list;
pub use policy::policy;
