//! What no library wraps.

mod cookie;
mod drops;
mod link;
mod mapping;
mod marks;
mod who;

pub(crate) use cookie::netns_cookie;
pub(crate) use drops::dropped;
pub(crate) use link::{link_to_cgroup, pin_link, update_pinned_link};
pub(crate) use mapping::write;
pub(crate) use marks::tell_marks;
pub(crate) use who::become_on_this_thread;
