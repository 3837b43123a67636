//! Names that the kernel and its tools accept: chains of up to 28 bytes, sets of up to 31.

use std::sync::Arc;

use crate::target::netfilter::text::{quotable, short_hash};

/// The longest comment of a kernel rule, in bytes, but for what marks a part of one.
const COMMENT: usize = 240;

/// What every chain of a policy begins with.
pub(crate) const CHAIN: &str = "POLC-";

/// What every set and every table of a rate begins with.
pub(crate) const SET: &str = "polc";

/// The most characters of a wish that are kept in a name.
const KEPT: usize = 14;

/// The name of a chain with this content: the same content, the same name.
pub(super) fn chain(wish: &str, content: &str) -> Arc<str> {
    format!("{CHAIN}{}-{}", mangle(wish), short_hash(content)).into()
}

/// The name of a set or of a rate's table. `parameters` are everything that the kernel would not
/// change in one that exists.
pub(super) fn object(tag: &str, wish: &str, parameters: &str) -> Arc<str> {
    format!("{SET}{tag}-{}-{}", mangle(wish), short_hash(parameters)).into()
}

/// The beginning of `wish`, with every character that a name cannot have replaced.
fn mangle(wish: &str) -> String {
    let mut name = String::with_capacity(KEPT);
    for c in wish.chars().take(KEPT) {
        if c.is_ascii_alphanumeric() {
            name.push(c);
        } else if !name.ends_with('_') {
            name.push('_');
        }
    }
    name
}

/// The comment that the kernel rules of a policy's rule carry.
pub(super) fn comment(rule: &str) -> Arc<str> {
    quotable(rule, COMMENT).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_and_tell_contents_apart() {
        let long = "a-very-long-name-of-a-rule#12";
        assert_eq!(chain(long, "x").len(), 28);
        assert_ne!(chain(long, "x"), chain(long, "y"));
        assert_eq!(
            chain("wan-to host#3", ""),
            "POLC-wan_to_host_3-e3b0c442".into()
        );
        assert!(object("4", long, "x").len() <= 31);
    }
}
