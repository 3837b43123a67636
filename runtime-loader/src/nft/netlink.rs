//! The table through netlink.
