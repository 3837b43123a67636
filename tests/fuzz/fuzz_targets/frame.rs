//! Any bytes through the frame parser: no panic, no field outside of its values, and the fields of
//! a transport header all or none.
//!
//! From the root of the repository:
//! `RUSTC_BOOTSTRAP=1 cargo fuzz run --fuzz-dir tests/fuzz frame`. The first byte chooses the link
//! type, the second how much longer the frame was on the wire.

#![no_main]

use libfuzzer_sys::fuzz_target;
use polc_compiler::field::{DPORT, ICMP_CODE, ICMP_TYPE, SPORT};
use polc_compiler::interpret::frame::{Frame, Link, parse};

const LINKS: [Link; 5] = [Link::Ethernet, Link::Raw, Link::Cooked, Link::Cooked2, Link::Loopback];

fuzz_target!(|input: &[u8]| {
    let [link, more, bytes @ ..] = input else { return };
    let link = LINKS[usize::from(*link) % LINKS.len()];
    let length = bytes.len() + usize::from(*more);
    let Ok(parsed) = parse(&Frame { link, bytes, length }) else { return };
    for (field, value) in &parsed.fields {
        assert!(*value <= field.largest(), "{field:?} = {value}");
    }
    let has = |field| parsed.fields.contains_key(&field);
    assert_eq!(has(SPORT), has(DPORT));
    assert_eq!(has(ICMP_TYPE), has(ICMP_CODE));
    assert_eq!(parsed.saddr.is_ipv4(), parsed.daddr.is_ipv4());
});
