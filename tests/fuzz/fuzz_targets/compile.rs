//! Any text through the compiler and the targets: no panic, no broken invariant.
//!
//! From the root of the repository:
//! `RUSTC_BOOTSTRAP=1 cargo fuzz run --fuzz-dir tests/fuzz compile`. The files in `policies`,
//! `grammar/tests/corpus` and `compiler/tests/errors` are good seeds.

#![no_main]

use libfuzzer_sys::fuzz_target;
use polc_compiler::diagnostic::Code;
use polc_compiler::{Files, Options, compile, target};

/// Every file is the text of a short list.
struct OneList;

impl Files for OneList {
    fn read(&self, _path: &str) -> std::io::Result<String> {
        Ok("192.0.2.1\n198.51.100.0/24\n2001:db8::/32\n".to_owned())
    }
}

fuzz_target!(|text: &str| {
    let options = Options { as_of: "2026-01-01".to_owned(), ..Options::default() };
    let compilation = compile("fuzz.pol", text, &OneList, &options);
    for diagnostic in &compilation.diagnostics {
        assert_ne!(diagnostic.code, Code::Internal, "{diagnostic:?}");
    }
    if let Some(ir) = &compilation.ir {
        for target in target::all() {
            // A target may refuse what it cannot express.
            let _ = target.emit(ir, &compilation.sources, &target::Options::default());
        }
    }
});
