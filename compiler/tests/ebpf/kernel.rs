//! The kernel's side: programs are loaded, and run for single frames.

use aya::maps::PerCpuArray;
use aya::programs::{Program, TestRun, TestRunOptions};
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
pub(crate) struct Loaded {
    programs: Ebpf,
    /// The most instructions that the verifier has looked at for a program.
    pub(crate) verified: u32,
}

/// `XDP_DROP`, `XDP_PASS`
const XDP: [u32; 2] = [1, 2];
/// `TCX_DROP`, `TCX_NEXT`
const TCX: [u32; 2] = [2, u32::MAX];

/// Tests of programs for packets refuse frames that end before an IP header could.
const SHORTEST: usize = 54;

impl Loaded {
    /// Loads the named programs; a refusal is quoted.
    pub(crate) fn new<'n>(object: &[u8], names: impl Iterator<Item = &'n str>) -> Self {
        let mut programs = EbpfLoader::new().load(object).unwrap();
        let mut verified = 0;
        for name in names {
            let program = programs.program_mut(name).unwrap();
            let loaded = match program {
                Program::Xdp(program) => program.load(),
                Program::SchedClassifier(program) => program.load(),
                other => panic!("{other:?}"),
            };
            loaded.unwrap_or_else(|error| panic!("{error:?}"));
            let looked = program.info().unwrap().verified_instruction_count();
            verified = verified.max(looked.unwrap_or(0));
        }
        Self { programs, verified }
    }

    /// Packets and bytes under a counter, over all processors.
    pub(crate) fn counter(&self, number: u32) -> (u64, u64) {
        let map = self.programs.map("counters").unwrap();
        let map: PerCpuArray<_, [u64; 2]> = PerCpuArray::try_from(map).unwrap();
        let values = map.get(&number, 0).unwrap();
        let sum = |at: usize| values.iter().map(|value| value[at]).sum();
        (sum(0), sum(1))
    }

    /// Whether a program hands a frame on; `None` for a stump of which the kernel makes no packet.
    pub(crate) fn passes(&self, name: &str, frame: &[u8]) -> Option<bool> {
        let options = TestRunOptions {
            data_in: Some(frame),
            repeat: 1,
            ..TestRunOptions::default()
        };
        let (result, [drop, pass]) = match self.programs.program(name).unwrap() {
            Program::Xdp(program) => (program.test_run(options), XDP),
            Program::SchedClassifier(program) => (program.test_run(options), TCX),
            other => panic!("{other:?}"),
        };
        if result.is_err() && frame.len() < SHORTEST {
            return None;
        }
        let answer = result.unwrap().return_value;
        assert!([drop, pass].contains(&answer), "{name} answers {answer}");
        Some(answer == pass)
    }
}
