//! The kernel's side: programs are loaded, and run for single frames.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Mutex;

use aya::maps::{Array, HashMap, MapData, PerCpuArray, RingBuf};
use aya::programs::{Program, TestRun, TestRunOptions};
use aya::{Ebpf, EbpfLoader};
use polc_compiler::interpret::frame::{Frame, Link};
use polc_compiler::target::ebpf::{Attached, Programs};
use polc_runtime_loader::fill_set;

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
    log: Option<Mutex<RingBuf<MapData>>>,
}

/// What a program has made of a frame.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) verdict: u32,
    pub(crate) frame: Vec<u8>,
    pub(crate) mark: u32,
}

/// A log entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) time: u64,
    pub(crate) id: u32,
    pub(crate) bytes: u32,
    /// Hook, family, protocol, verdict.
    pub(crate) numbers: [u8; 4],
    pub(crate) source: IpAddr,
    pub(crate) dest: IpAddr,
    pub(crate) ports: [u16; 2],
}

impl Entry {
    fn of(bytes: &[u8]) -> Self {
        assert_eq!(bytes.len(), 64);
        let word = |at: usize| u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap());
        let port = |at: usize| u16::from_ne_bytes(bytes[at..at + 2].try_into().unwrap());
        let address = |at: usize| {
            let octets: [u8; 16] = bytes[at..at + 16].try_into().unwrap();
            if bytes[21] == 6 {
                return octets.into();
            }
            assert_eq!(octets[4..], [0; 12]);
            let first: [u8; 4] = octets[..4].try_into().unwrap();
            first.into()
        };
        assert_eq!(word(60), 0);
        Self {
            time: u64::from_ne_bytes(bytes[..8].try_into().unwrap()),
            id: word(8),
            bytes: word(16),
            numbers: bytes[20..24].try_into().unwrap(),
            source: address(24),
            dest: address(40),
            ports: [port(56), port(58)],
        }
    }
}

/// `XDP_DROP`, `XDP_PASS`
const XDP: [u32; 2] = [1, 2];
/// `TCX_DROP`, `TCX_NEXT`
const TCX: [u32; 2] = [2, u32::MAX];

/// The program of an entry that reads a frame.
pub(crate) fn program_for<'p>(entry: &'p Attached, frame: &Frame) -> Option<&'p str> {
    let name = match frame.link {
        Link::Raw => &entry.bare,
        _ => &entry.name,
    };
    name.as_deref()
}

/// The names of all programs.
pub(crate) fn names(made: &Programs) -> impl Iterator<Item = &str> {
    let entries = made.programs.iter();
    let names = entries.flat_map(|entry| [entry.name.as_deref(), entry.bare.as_deref()]);
    names.flatten()
}

/// Tests of all programs refuse frames that end before an Ethernet header could.
pub(crate) const LEAST: usize = 14;

/// Tests of programs for packets refuse frames that end before an IP header could.
const SHORTEST: usize = 54;

impl Loaded {
    /// Loads the named programs and fills their sets; a refusal is quoted.
    pub(crate) fn new<'n>(made: &Programs, names: impl Iterator<Item = &'n str>) -> Self {
        let mut programs = EbpfLoader::new().load(&made.object).unwrap();
        for set in &made.sets {
            fill_set(&mut programs, &set.map, &set.bytes).unwrap();
        }
        let mut verified = 0;
        for name in names {
            let program = programs.program_mut(name).unwrap();
            let loaded = match program {
                Program::Xdp(program) => program.load(),
                Program::SchedClassifier(program) => program.load(),
                other => panic!("{other:?}"),
            };
            loaded.unwrap_or_else(|error| panic!("{name}: {error:?}\n{}", made.listing));
            let looked = program.info().unwrap().verified_instruction_count();
            verified = verified.max(looked.unwrap_or(0));
        }
        let log = programs.take_map("log");
        let log = log.map(|map| Mutex::new(RingBuf::try_from(map).unwrap()));
        Self {
            programs,
            verified,
            log,
        }
    }

    /// The log entries since the last time.
    pub(crate) fn logged(&self) -> Vec<Entry> {
        let Some(log) = &self.log else {
            return Vec::new();
        };
        let mut log = log.lock().unwrap();
        let mut entries = Vec::new();
        while let Some(entry) = log.next() {
            entries.push(Entry::of(&entry));
        }
        entries
    }

    /// How many log entries found no room.
    pub(crate) fn lost(&self) -> u64 {
        let map = self.programs.map("log_lost").unwrap();
        let map: PerCpuArray<_, u64> = PerCpuArray::try_from(map).unwrap();
        map.get(&0, 0).unwrap().iter().sum()
    }

    /// The mark of a packet that came with `mark`, after a program for packets.
    pub(crate) fn mark(&self, name: &str, frame: &[u8], mark: u32) -> u32 {
        let (mut before, mut after) = ([0; 192], [0; 192]);
        before[8..12].copy_from_slice(&mark.to_ne_bytes());
        let options = TestRunOptions {
            data_in: Some(frame),
            ctx_in: Some(&before),
            ctx_out: Some(&mut after),
            ..TestRunOptions::default()
        };
        let Program::SchedClassifier(program) = self.programs.program(name).unwrap() else {
            panic!("{name} is for frames");
        };
        program.test_run(options).unwrap();
        u32::from_ne_bytes(after[8..12].try_into().unwrap())
    }

    /// Gives an interface the number of its class.
    pub(crate) fn set_interface(&mut self, index: u32, class: u32) {
        let map = self.programs.map_mut("ifaces").unwrap();
        let mut map: HashMap<_, u32, u32> = HashMap::try_from(map).unwrap();
        map.insert(index, class, 0).unwrap();
    }

    /// Gives a sender that is known by name its number.
    pub(crate) fn set_principal(&mut self, place: u32, number: u64) {
        let map = self.programs.map_mut("principals").unwrap();
        let mut map: Array<_, u64> = Array::try_from(map).unwrap();
        map.set(place, number.wrapping_add(1), 0).unwrap();
    }

    /// Takes it from it.
    pub(crate) fn forget_principal(&mut self, place: u32) {
        self.set_principal(place, u64::MAX);
    }

    /// What a program for packets answers to one that has come in by an interface (0: that was sent
    /// here), and the mark that it has then; `None` for a stump.
    pub(crate) fn run_at(&self, name: &str, frame: &[u8], ingress: u32) -> Option<(u32, u32)> {
        let (mut before, mut after) = ([0; 192], [0; 192]);
        before[36..40].copy_from_slice(&ingress.to_ne_bytes());
        let options = TestRunOptions {
            data_in: Some(frame),
            ctx_in: Some(&before),
            ctx_out: Some(&mut after),
            ..TestRunOptions::default()
        };
        let Program::SchedClassifier(program) = self.programs.program(name).unwrap() else {
            panic!("{name} is for frames");
        };
        let result = program.test_run(options);
        if result.is_err() && frame.len() < SHORTEST {
            return None;
        }
        let mark = u32::from_ne_bytes(after[8..12].try_into().unwrap());
        Some((result.unwrap().return_value, mark))
    }

    /// Gives an interface its addresses: of IPv4, and of IPv6.
    pub(crate) fn set_addresses(&mut self, index: u32, v4: Ipv4Addr, v6: Ipv6Addr) {
        let map = self.programs.map_mut("addresses").unwrap();
        let mut map: HashMap<_, u32, [u64; 4]> = HashMap::try_from(map).unwrap();
        let [lower, upper] = [v6.to_bits() as u64, (v6.to_bits() >> 64) as u64];
        let value = [u64::from(v4.to_bits()), 0, lower, upper];
        map.insert(index, value, 0).unwrap();
    }

    /// Ends the time of a flow with this key in one of some maps; says whether there is one.
    pub(crate) fn expire<'m>(
        &mut self,
        maps: impl Iterator<Item = &'m str>,
        key: [u64; 5],
    ) -> bool {
        let mut some = false;
        for map in maps {
            let map = self.programs.map_mut(map).unwrap();
            let mut map: HashMap<_, [u64; 5], [u64; 7]> = HashMap::try_from(map).unwrap();
            if let Ok(mut value) = map.get(&key, 0) {
                value[0] = 1;
                map.insert(key, value, 0).unwrap();
                some = true;
            }
        }
        some
    }

    /// What becomes of a frame at an interface, with the mark that it has, when it has come in by another
    /// one (0: it was sent here).
    pub(crate) fn send(
        &self,
        name: &str,
        frame: &[u8],
        (interface, ingress, mark): (u32, u32, u32),
    ) -> Sent {
        let (mut before, mut after) = ([0; 192], [0; 192]);
        before[8..12].copy_from_slice(&mark.to_ne_bytes());
        before[36..40].copy_from_slice(&ingress.to_ne_bytes());
        before[40..44].copy_from_slice(&interface.to_ne_bytes());
        let mut out = vec![0; frame.len() + 256];
        let options = TestRunOptions {
            data_in: Some(frame),
            data_out: Some(&mut out),
            ctx_in: Some(&before),
            ctx_out: Some(&mut after),
            ..TestRunOptions::default()
        };
        let Program::SchedClassifier(program) = self.programs.program(name).unwrap() else {
            panic!("{name} is for frames");
        };
        let result = program.test_run(options).unwrap();
        out.truncate(result.data_size_out as usize);
        Sent {
            verdict: result.return_value,
            frame: out,
            mark: u32::from_ne_bytes(after[8..12].try_into().unwrap()),
        }
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
