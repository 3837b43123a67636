//! 100,000 mutated texts through parser, compiler, targets and formatter: nothing panics, every
//! span lies in its text, what parses can be formatted, what compiles keeps the IR's invariants, and
//! what lint mends compiles.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "helpers of tests may fail loudly"
)]

use std::fs;
use std::path::Path;

use polc_compiler::analyse::lint::{Persona, Settings, lint};
use polc_compiler::diagnostic::human::{self, Style};
use polc_compiler::diagnostic::{Code, fix};
use polc_compiler::{Compilation, Files, Options, compile, target};
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
    "\n# polc: allow(POL401, reason=\"why\")\n",
    " log ",
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

/// The texts of a folder, in order of name.
fn texts(folder: &str) -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let entries = fs::read_dir(folder).unwrap();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|e| e == "pol"));
    paths.sort();
    paths
        .into_iter()
        .map(|path| fs::read_to_string(path).unwrap())
        .collect()
}

fn corpus() -> Vec<String> {
    let folders = [
        "../grammar/tests/corpus",
        "../grammar/tests/bad",
        "../policies",
        "tests/errors",
    ];
    folders.into_iter().flat_map(texts).collect()
}

/// Every file is the same short list.
struct OneList;

impl Files for OneList {
    fn read(&self, path: &str) -> std::io::Result<String> {
        if Path::new(path).extension().is_some_and(|e| e == "pol") {
            return Ok("set used = { 192.0.2.0/24 }\n".to_owned());
        }
        Ok("192.0.2.1\n198.51.100.0/24 ; x\n2001:db8::1-2001:db8::9\n".to_owned())
    }
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

/// Checks one text. Whether it compiles.
fn check(text: &str) -> bool {
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
    let options = Options {
        as_of: "2026-01-01".to_owned(),
        ..Options::default()
    };
    let compilation = compile("mutated.pol", text, &OneList, &options);
    for diagnostic in &compilation.diagnostics {
        assert_ne!(
            diagnostic.code,
            Code::Internal,
            "{diagnostic:?} in {text:?}"
        );
        for label in &diagnostic.labels {
            let source = compilation.sources.get(label.span.file).unwrap();
            let place = label.span.start as usize..label.span.end as usize;
            assert!(
                source.text.get(place).is_some(),
                "{diagnostic:?} in {text:?}"
            );
        }
    }
    if let Some(first) = compilation.diagnostics.first() {
        let style = Style {
            colour: false,
            width: 80,
        };
        assert!(!human::render(first, &compilation.sources, style).is_empty());
    }
    let Some(ir) = &compilation.ir else {
        return false;
    };
    for target in target::all() {
        // A target may refuse what it cannot express; it may not panic.
        let _ = target.emit(ir, &compilation.sources, &target::Options::default());
    }
    // A part of them: lint takes as long as the rest.
    if text.len().is_multiple_of(4) {
        check_lint(text, &compilation, &options);
    }
    true
}

/// Lint says only what is in the text, and its safe fixes leave a policy that compiles.
fn check_lint(text: &str, compilation: &Compilation, options: &Options) {
    let settings = Settings {
        persona: Persona::Audit,
        ..Settings::default()
    };
    let findings = lint(compilation, &settings).findings;
    for finding in &findings {
        let places = finding
            .labels
            .iter()
            .chain(&finding.related)
            .map(|l| l.span);
        let steps = finding.flow.iter().map(|step| step.span);
        let edits = finding
            .fix
            .iter()
            .flat_map(|fix| &fix.edits)
            .map(|e| e.span);
        for span in places.chain(steps).chain(edits) {
            let source = compilation.sources.get(span.file).unwrap();
            let place = span.start as usize..span.end as usize;
            assert!(source.text.get(place).is_some(), "{finding:?} in {text:?}");
        }
    }
    let fixes = findings.iter().filter_map(|f| f.fix.as_ref());
    let edits = fix::compatible(fixes.filter(|fix| fix.safe), compilation.policy.file);
    let mended = fix::apply(text, &edits);
    let after = compile("mutated.pol", &mended, &OneList, options);
    assert!(
        after.ir.is_some(),
        "{:?} in {mended:?} of {text:?}",
        after.diagnostics
    );
}

fn run(seed: u64, count: usize) {
    let texts = corpus();
    let mut random = Random(seed);
    let mut compiled = 0;
    for _ in 0..count {
        let mut text = window(&texts[random.below(texts.len())], &mut random).to_owned();
        for _ in 0..=random.below(4) {
            let other = &texts[random.below(texts.len())];
            mutate(&mut text, other, &mut random);
        }
        compiled += usize::from(check(&text));
    }
    // Else nothing but the parser would have been tested.
    assert!(compiled > count / 100, "{compiled} of {count} compile");
}

/// Two halves, each on a thread of its own.
#[test]
fn a_hundred_thousand_mutated_texts() {
    std::thread::scope(|scope| {
        for seed in [0x9E37_79B9_7F4A_7C15, 0xD1B5_4A32_D192_ED03] {
            scope.spawn(move || run(seed, 50_000));
        }
    });
}
