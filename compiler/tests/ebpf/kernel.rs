//! The kernel's side: programs are loaded, and run for single frames.

use aya::programs::{TestRun, TestRunOptions, Xdp};
use aya::{Ebpf, EbpfLoader};

/// Whether kernel tests can run. Missing root is an error in CI.
pub(crate) fn possible() -> bool {
    if nix::unistd::geteuid().is_root() {
        return true;
    }
    assert!(std::env::var_os("CI").is_none(), "kernel tests need root");
    eprintln!("SKIPPED: kernel tests need root");
    false
}

/// The programs of an object.
pub(crate) struct Loaded(Ebpf);

/// `XDP_DROP`
const DROP: u32 = 1;
/// `XDP_PASS`
const PASS: u32 = 2;

impl Loaded {
    /// Loads the named programs; a refusal is quoted.
    pub(crate) fn new<'n>(object: &[u8], names: impl Iterator<Item = &'n str>) -> Self {
        let mut loaded = EbpfLoader::new().load(object).unwrap();
        for name in names {
            let program: &mut Xdp = loaded.program_mut(name).unwrap().try_into().unwrap();
            program.load().unwrap_or_else(|error| panic!("{error:?}"));
        }
        Self(loaded)
    }

    /// Whether a program hands a frame on.
    pub(crate) fn passes(&self, name: &str, frame: &[u8]) -> bool {
        let program: &Xdp = self.0.program(name).unwrap().try_into().unwrap();
        let options = TestRunOptions {
            data_in: Some(frame),
            repeat: 1,
            ..TestRunOptions::default()
        };
        match program.test_run(options).unwrap().return_value {
            DROP => false,
            PASS => true,
            other => panic!("{name} answers {other}"),
        }
    }
}
