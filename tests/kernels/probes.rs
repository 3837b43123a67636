//! The policies that guests apply, the tests that they run, and which kernels these need.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use polc_bundle::Manifest;
use polc_compiler::analyse::lint::{self, Settings};
use polc_compiler::{Compilation, Files, Options, compile, target};
use sha2::{Digest as _, Sha256};

use crate::results::Version;

/// Features that late releases of a kernel have although its first did not: by the kernel's version, which is older than
/// the floor of the feature.
const BACKPORTED: [(&str, Version); 2] = [
    // 6.1.176 has both. The traffic of `route` shows that this works.
    ("routing by a table's number", Version(6, 1)),
    // Its verifier, its compiler and its interpreter take them; only its disassembler does not know them.
    ("jumps of 32 bits", Version(6, 1)),
];

/// What a bundle declares.
pub(crate) struct Needs {
    /// The oldest kernel that has everything.
    pub(crate) floor: Version,
    /// What is used, and since when kernels have it.
    pub(crate) features: Vec<(String, Version)>,
}

impl Needs {
    fn of(manifest: &Manifest) -> Self {
        let features = manifest.features.iter();
        Self {
            floor: Version::parse(&manifest.kernel_floor),
            features: features
                .map(|f| (f.name.clone(), Version::parse(&f.kernel)))
                .collect(),
        }
    }

    /// Why the bundle is not for a kernel; none if it is.
    pub(crate) fn lacking(&self, kernel: Version) -> Option<String> {
        let newer = || self.features.iter().filter(|(_, since)| *since > kernel);
        if self.floor > kernel && newer().next().is_none() {
            return Some(format!("what the target always needs ({})", self.floor));
        }
        let mut missing = newer().filter(|(name, _)| !BACKPORTED.contains(&(name, kernel)));
        let (name, since) = missing.next()?;
        Some(format!("{name} ({since})"))
    }
}

/// A policy that uses one feature.
pub(crate) struct Probe {
    /// The name of its file, without the ending.
    pub(crate) name: String,
    /// What it uses, in Markdown: its first comment.
    pub(crate) title: String,
    /// The first 8 digits of its SHA-256.
    pub(crate) hash: String,
    /// What its bundle needs, for each target that can express it.
    pub(crate) needs: BTreeMap<&'static str, Needs>,
    compilation: Compilation,
}

/// A test of `tests/kernel`.
pub(crate) struct Traffic {
    /// `MODULE::TEST`.
    pub(crate) test: String,
    /// The names of the probes that use what it uses.
    pub(crate) probes: Vec<String>,
}

struct NoFiles;

impl Files for NoFiles {
    fn read(&self, path: &str) -> std::io::Result<String> {
        Err(std::io::Error::other(format!(
            "`{path}`: probes stand alone"
        )))
    }
}

fn home() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kernels")
}

/// Every probe, by its name.
pub(crate) fn all() -> Vec<Probe> {
    let files = fs::read_dir(home().join("probes")).expect("the probes");
    let mut files: Vec<PathBuf> = files.map(|f| f.expect("a probe").path()).collect();
    files.sort();
    files.iter().map(|file| probe(file)).collect()
}

fn probe(file: &Path) -> Probe {
    let name = file.file_stem().and_then(|name| name.to_str());
    let name = name.expect("a name").to_owned();
    let text = fs::read_to_string(file).expect("a text");
    let title = text.lines().next().and_then(|line| line.strip_prefix("# "));
    let options = Options {
        as_of: "2026-01-01".into(),
        ..Options::default()
    };
    let compilation = compile(&format!("{name}.pol"), &text, &NoFiles, &options);
    let ir = compilation
        .ir
        .as_ref()
        .unwrap_or_else(|| panic!("`{name}` does not compile"));
    let mut needs = BTreeMap::new();
    for target in target::all() {
        match target.emit(ir, &compilation.sources, &target::Options::default()) {
            Ok(bundle) => {
                needs.insert(target.name(), Needs::of(bundle.manifest()));
            }
            Err(found) => assert!(
                found.iter().all(|d| d.code.id() == "POL601"),
                "`{name}` for {}: {found:?}",
                target.name()
            ),
        }
    }
    Probe {
        title: title.expect("the first line is a comment").to_owned(),
        hash: hash(&text),
        name,
        needs,
        compilation,
    }
}

impl Probe {
    /// Whether lint says that it needs a newer kernel than this one.
    pub(crate) fn is_above(&self, oldest: Version) -> bool {
        let settings = Settings {
            min_kernel: (oldest.0, oldest.1),
            ..Settings::default()
        };
        let report = lint::lint(&self.compilation, &settings);
        report.findings.iter().any(|d| d.code.id() == "POL602")
    }
}

/// What `sha256sum` begins with.
fn hash(text: &str) -> String {
    let hash = Sha256::digest(text);
    let (first, _) = hash.split_first_chunk().expect("a hash is longer");
    format!("{:08x}", u32::from_be_bytes(*first))
}

/// Every test that guests run.
pub(crate) fn traffic() -> Vec<Traffic> {
    let text = fs::read_to_string(home().join("traffic")).expect("the list of tests");
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let mut words = line.split_whitespace().map(str::to_owned);
            Traffic {
                test: words.next().expect("a test"),
                probes: words.collect(),
            }
        })
        .collect()
}
