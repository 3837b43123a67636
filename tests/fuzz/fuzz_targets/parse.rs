//! Any text through the parser, and what parses through the formatter.
//!
//! From the root of the repository:
//! `RUSTC_BOOTSTRAP=1 cargo fuzz run --fuzz-dir tests/fuzz parse`. The files in
//! `grammar/tests/corpus` and `grammar/tests/bad` are good seeds.

#![no_main]

use libfuzzer_sys::fuzz_target;
use polc_grammar::{format, parse};

fuzz_target!(|text: &str| {
    let parsed = parse(text);
    for error in &parsed.errors {
        assert!(text.get(error.span.range()).is_some(), "{error:?} points outside");
        assert!(!error.message.is_empty());
    }
    for item in &parsed.file.items {
        assert!(text.get(item.span.range()).is_some(), "{:?} lies outside", item.span);
    }
    if parsed.errors.is_empty() {
        let once = format(text).expect("what parses can be formatted");
        let twice = format(&once).expect("what is formatted can be formatted");
        assert_eq!(once, twice, "formatting again changes nothing");
    }
});
