//! What no library wraps.

mod cookie;
mod link;
mod mapping;

pub(crate) use cookie::netns_cookie;
pub(crate) use link::{link_to_cgroup, pin_link, update_pinned_link};
pub(crate) use mapping::write;
