//! What `results.txt` says.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::Path;

/// A target, with the tool that loads it: as guests call it, and as it is built.
pub(crate) const BACKENDS: [(&str, &str); 4] = [
    ("nftables", "nftables"),
    ("iptables-legacy", "iptables"),
    ("iptables-nft", "iptables"),
    ("ebpf", "ebpf"),
];

/// The version of a kernel, or the first one that has a feature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version(pub(crate) u32, pub(crate) u32);

impl Version {
    /// Of `MAJOR.MINOR`; old kernels have a third number, which is left out.
    pub(crate) fn parse(text: &str) -> Self {
        let mut numbers = text.split('.').map(|n| n.parse().expect("a number"));
        let mut next = || numbers.next().expect("a number");
        Self(next(), next())
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

/// What came of one thing that a guest has tried.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Whether the kernel took it, and did what the test asks for.
    pub(crate) good: bool,
    /// The hash of the policy, of probes.
    pub(crate) policy: String,
    /// The error, if it is not good.
    pub(crate) said: String,
}

/// What was tried on one kernel: by backend, and by probe or test.
pub(crate) type Outcomes = BTreeMap<(String, String), Outcome>;

/// One kernel.
#[derive(Debug)]
pub(crate) struct Kernel {
    pub(crate) version: Version,
    /// The version of Debian's package, which begins with the kernel's own.
    pub(crate) package: String,
    pub(crate) probes: Outcomes,
    pub(crate) traffic: Outcomes,
}

/// Every kernel of `results.txt`.
pub(crate) fn read() -> Vec<Kernel> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kernels/results.txt");
    let text = fs::read_to_string(path).expect("the results");
    let mut kernels: Vec<Kernel> = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (version, line) = line.split_once(' ').expect("a version");
        let (kind, line) = line.split_once(' ').expect("a kind");
        if kind == "kernel" {
            kernels.push(kernel(version, line));
            continue;
        }
        let kernel = kernels
            .last_mut()
            .expect("lines of a kernel follow its name");
        assert_eq!(kernel.version, Version::parse(version), "{line}");
        let (outcomes, (key, outcome)) = match kind {
            "probe" => (&mut kernel.probes, probe(line)),
            "traffic" => (&mut kernel.traffic, traffic(line)),
            other => panic!("`{other}` is nothing that a guest says"),
        };
        assert!(
            outcomes.insert(key, outcome).is_none(),
            "{line} is there twice"
        );
    }
    kernels
}

/// `RELEASE PACKAGE-VERSION PACKAGE`.
fn kernel(version: &str, line: &str) -> Kernel {
    let [release, package, _] = words(line);
    assert!(release.starts_with(&format!("{version}.")), "{line}");
    Kernel {
        version: Version::parse(version),
        package: package.to_owned(),
        probes: BTreeMap::new(),
        traffic: BTreeMap::new(),
    }
}

/// `BACKEND PROBE HASH taken`, or `refused` or `stays`, and what was said.
fn probe(line: &str) -> ((String, String), Outcome) {
    let [backend, probe, policy, rest] = words(line);
    let (good, said) = good(rest, "taken", &["refused", "stays"]);
    let policy = policy.to_owned();
    let outcome = Outcome { good, policy, said };
    ((backend.to_owned(), probe.to_owned()), outcome)
}

/// `BACKEND TEST passed`, or `failed`, and what was said.
fn traffic(line: &str) -> ((String, String), Outcome) {
    let [backend, test, rest] = words(line);
    let (good, said) = good(rest, "passed", &["failed"]);
    let policy = String::new();
    let outcome = Outcome { good, policy, said };
    ((backend.to_owned(), test.to_owned()), outcome)
}

fn good(rest: &str, good: &str, bad: &[&str]) -> (bool, String) {
    let word = rest.split(' ').next().unwrap_or_default();
    assert!(
        word == good || bad.contains(&word),
        "`{word}` is no outcome"
    );
    (word == good, rest.to_owned())
}

/// The first words of a line, and its rest.
fn words<const N: usize>(line: &str) -> [&str; N] {
    let words: Vec<&str> = line.splitn(N, ' ').collect();
    words
        .try_into()
        .unwrap_or_else(|_| panic!("`{line}` has too few words"))
}
