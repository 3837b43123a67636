//! 100,000 mutated texts through parser and formatter: nothing panics, every span lies in the
//! text, and what parses can be formatted.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "helpers of tests may fail loudly"
)]

use std::fs;
use std::path::Path;

use polc_grammar::{format, parse};

/// A small generator of pseudo-random numbers (xorshift), so that each run is the same.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % (bound as u64)).unwrap()
    }
}

const TOKENS: &[&str] = &[
    "{",
    "}",
    "(",
    ")",
    "[",
    "]",
    ",",
    "/",
    "\"",
    "#",
    "\n",
    " ",
    "=",
    "==",
    "=>",
    "->",
    "-",
    "+",
    "&",
    ":",
    "::",
    ":::",
    "@",
    "@a",
    "*",
    "not ",
    " and ",
    " or ",
    "allow ",
    "deny ",
    " from ",
    " to ",
    "default ",
    " in ",
    " as x",
    "set a = ",
    "to host { ",
    "from lan\n{",
    "10.0.0.1",
    "fd00::1/64",
    "0x",
    "4k",
    "10m",
    "\u{feff}",
    "ü",
    "\r\n",
    "\t",
    "\\",
    "\0",
    "}}}}",
    "{{{{",
    "when tcp.flags == syn",
    "within 10/s per source/24,/56",
    "template t(",
    "test \"x\" {",
    "raw nft \"",
    "any",
    "host",
    "policy ",
];

fn corpus() -> Vec<String> {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let mut all = Vec::new();
    for folder in ["corpus", "bad"] {
        let mut paths: Vec<_> = fs::read_dir(tests.join(folder))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        paths.sort();
        all.extend(
            paths
                .into_iter()
                .map(|path| fs::read_to_string(path).unwrap()),
        );
    }
    all
}

/// Some whole lines of a text.
fn window<'t>(text: &'t str, random: &mut Random) -> &'t str {
    let starts: Vec<usize> = std::iter::once(0)
        .chain(text.match_indices('\n').map(|(at, _)| at + 1))
        .collect();
    let start = starts[random.below(starts.len())];
    let end = start + random.below(160);
    let end = text[start..]
        .char_indices()
        .map(|(at, _)| start + at)
        .find(|&at| at >= end);
    &text[start..end.unwrap_or(text.len())]
}

/// The boundary of a character, at random.
fn boundary(text: &str, random: &mut Random) -> usize {
    let mut at = random.below(text.len() + 1);
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

fn mutate(text: &mut String, other: &str, random: &mut Random) {
    let (mut start, mut end) = (boundary(text, random), boundary(text, random));
    if start > end {
        (start, end) = (end, start);
    }
    let near = (start + random.below(8)).min(text.len());
    let near = if text.is_char_boundary(near) {
        near
    } else {
        start
    };
    match random.below(7) {
        0 => text.replace_range(start..near, ""),
        1 => text.insert_str(start, TOKENS[random.below(TOKENS.len())]),
        2 => text.replace_range(start..near, TOKENS[random.below(TOKENS.len())]),
        3 => {
            let part = text[start..end].to_owned();
            text.insert_str(boundary(text, random), &part);
        }
        4 => text.truncate(end),
        5 => {
            let part = window(other, random).to_owned();
            text.insert_str(start, &part);
        }
        _ => {
            let letter = char::from(b' ' + u8::try_from(random.below(95)).unwrap());
            text.replace_range(start..near, &letter.to_string());
        }
    }
}

fn check(text: &str) {
    let parsed = parse(text);
    for error in &parsed.errors {
        assert!(
            text.get(error.span.range()).is_some(),
            "{error:?} in {text:?}"
        );
    }
    if parsed.errors.is_empty() {
        let once = format(text).unwrap_or_else(|error| panic!("{error:?}: {text:?}"));
        assert_eq!(format(&once).as_ref(), Ok(&once), "{text:?}");
    }
}

fn run(seed: u64, count: usize) {
    let texts = corpus();
    let mut random = Random(seed);
    for _ in 0..count {
        let mut text = window(&texts[random.below(texts.len())], &mut random).to_owned();
        for _ in 0..=random.below(4) {
            let other = &texts[random.below(texts.len())];
            mutate(&mut text, other, &mut random);
        }
        check(&text);
    }
}

#[test]
fn the_first_fifty_thousand() {
    run(0x9E37_79B9_7F4A_7C15, 50_000);
}

#[test]
fn the_second_fifty_thousand() {
    run(0xD1B5_4A32_D192_ED03, 50_000);
}
