//! Places of a test's own, and tools.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use aya::Ebpf;
use aya::programs::{SchedClassifier, TestRun, TestRunOptions, Xdp};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use tempfile::TempDir;

/// Whether kernel tests can run. Missing root is an error in CI.
pub(crate) fn possible() -> bool {
    if nix::unistd::geteuid().is_root() {
        return true;
    }
    assert!(std::env::var_os("CI").is_none(), "kernel tests need root");
    eprintln!("SKIPPED: kernel tests need root");
    false
}

/// Runs a command that has to succeed, and returns what it says.
pub(crate) fn run(command: &str, arguments: &[&str]) -> String {
    let output = Command::new(command)
        .args(arguments)
        .output()
        .unwrap_or_else(|error| panic!("cannot run `{command}`: {error}"));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{command} {arguments:?}: {}\n{said}\n{complaint}",
        output.status
    );
    said
}

/// A file system for BPF that nobody else uses. What is pinned in it goes with it.
pub(crate) struct BpfFs {
    directory: TempDir,
}

impl BpfFs {
    pub(crate) fn new() -> Self {
        // libbpf changes dots in paths, with which hidden directories begin.
        let directory = TempDir::with_prefix("polc-bpf-").unwrap();
        let nothing = None::<&str>;
        let flags = MsFlags::empty();
        mount(nothing, directory.path(), Some("bpf"), flags, nothing).unwrap();
        Self { directory }
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// A path in it, as text.
    pub(crate) fn at(&self, name: &str) -> String {
        text(self.path().join(name))
    }
}

impl Drop for BpfFs {
    fn drop(&mut self) {
        if let Err(error) = umount2(self.directory.path(), MntFlags::MNT_DETACH) {
            eprintln!(
                "cannot unmount {}: {error}",
                self.directory.path().display()
            );
        }
    }
}

/// A network namespace with a pair of interfaces `left` and `right`.
pub(crate) struct Netns {
    pub(crate) name: String,
}

impl Netns {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("polc-bpf-{}-{number}", std::process::id());
        run("ip", &["netns", "add", &name]);
        let netns = Self { name };
        netns.ip("link add left type veth peer name right");
        netns.ip("link set left up");
        netns
    }

    /// Runs `ip` in it.
    pub(crate) fn ip(&self, arguments: &str) -> String {
        let inside = ["-n", &self.name];
        run("ip", &[&inside[..], &words(arguments)].concat())
    }

    /// Runs `tc` in it.
    pub(crate) fn tc(&self, arguments: &str) -> String {
        let inside = ["-n", &self.name];
        run("tc", &[&inside[..], &words(arguments)].concat())
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        let removed = Command::new("ip")
            .args(["netns", "del", &self.name])
            .status();
        if !removed.is_ok_and(|status| status.success()) {
            eprintln!("cannot remove the namespace {}", self.name);
        }
    }
}

fn words(text: &str) -> Vec<&str> {
    text.split_whitespace().collect()
}

/// An object in a file.
pub(crate) struct ObjectFile {
    directory: TempDir,
}

impl ObjectFile {
    pub(crate) fn new(bytes: &[u8]) -> Self {
        let directory = TempDir::new().unwrap();
        std::fs::write(directory.path().join("edge.o"), bytes).unwrap();
        Self { directory }
    }

    pub(crate) fn path(&self) -> String {
        text(self.directory.path().join("edge.o"))
    }
}

fn text(path: PathBuf) -> String {
    path.into_os_string().into_string().unwrap()
}

/// A frame with an IPv4 packet from an address.
pub(crate) fn frame_from(source: [u8; 4]) -> Vec<u8> {
    let mut frame = vec![0; 64];
    frame[12..14].copy_from_slice(&[0x08, 0x00]);
    frame[14] = 0x45;
    frame[26..30].copy_from_slice(&source);
    frame
}

/// Loads a program for frames; a refusal of the kernel is quoted.
pub(crate) fn load_xdp<'a>(loaded: &'a mut Ebpf, name: &str) -> &'a Xdp {
    let program: &mut Xdp = loaded.program_mut(name).unwrap().try_into().unwrap();
    program.load().unwrap_or_else(|error| panic!("{error:?}"));
    program
}

/// Loads a program for packets; a refusal of the kernel is quoted.
pub(crate) fn load_classifier<'a>(loaded: &'a mut Ebpf, name: &str) -> &'a SchedClassifier {
    let program: &mut SchedClassifier = loaded.program_mut(name).unwrap().try_into().unwrap();
    program.load().unwrap_or_else(|error| panic!("{error:?}"));
    program
}

/// What a program answers to a frame.
pub(crate) fn answer<P>(program: &P, frame: &[u8]) -> u32
where
    P: for<'a> TestRun<Opts<'a> = TestRunOptions<'a>, Result = aya::programs::TestRunResult>,
{
    let options = TestRunOptions {
        data_in: Some(frame),
        repeat: 1,
        ..TestRunOptions::default()
    };
    program.test_run(options).unwrap().return_value
}
