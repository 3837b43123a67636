//! What no library wraps.

mod mapping;

pub(crate) use mapping::write;
