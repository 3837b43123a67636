//! Each fault changes policies, and what they mean.

use std::collections::BTreeMap;

use polc_compiler::analyse::diff::{Limits, diff};
use polc_compiler::diagnostic::Diagnostic;
use polc_compiler::interpret::{Decision, Outcome, Packet, Sourced, State, Steered, judge};
use polc_compiler::ir::print::print;
use polc_compiler::ir::verify::verify;
use polc_compiler::source::SourceMap;
use polc_compiler::target::{self, Target};
use polc_compiler::{Compilation, Files, Options, compile};
use polc_generator::{Shape, valid_policy};

use super::packets::Maker;
use super::*;

const POLICIES: u64 = 110;
const PACKETS: u64 = 3000;

struct NoFiles;

impl Files for NoFiles {
    fn read(&self, path: &str) -> std::io::Result<String> {
        Err(std::io::Error::new(std::io::ErrorKind::NotFound, path))
    }
}

fn compiled(text: &str) -> Compilation {
    let options = Options {
        as_of: "2026-11-21".to_owned(),
        ..Options::default()
    };
    compile("fault.pol", text, &NoFiles, &options)
}

fn ir(text: &str) -> Ir {
    let out = compiled(text);
    out.ir.unwrap_or_else(|| panic!("{:#?}", out.diagnostics))
}

/// A policy in which few rules hide others.
fn drawn(seed: u64) -> Compilation {
    let shape = Shape {
        guard: 3,
        steer: 3,
        filter: 3,
        sections: 2,
        egress: 2,
        ..Shape::default()
    };
    let draw = valid_policy(seed, &shape, |text| compiled(text).ir.is_some());
    compiled(&draw.unwrap().text)
}

/// What can be seen of a decision from outside.
type Seen = (Outcome, Option<Steered>, Option<Sourced>, u32);

/// The milliseconds before each ninth of the packets: so that tokens come, and what is idle leaves.
const PAUSES: [u64; 9] = [0, 40, 150, 400, 1_500, 5_000, 15_000, 60_000, 700_000];

/// What becomes of some packets, one after the other, and what does with pauses between them.
fn decisions(ir: &Ir, packets: &[Packet]) -> [Vec<Seen>; 2] {
    [&[0][..], &PAUSES].map(|pauses| decisions_with(ir, packets, pauses))
}

/// In the second half, no proxy listens.
fn decisions_with(ir: &Ir, packets: &[Packet], pauses: &[u64]) -> Vec<Seen> {
    let mut state = State::new(ir);
    let seen = |(at, packet): (usize, &Packet)| {
        let pauses = pauses.iter().take(1 + at * pauses.len() / packets.len());
        let now = at as u64 / 50 + pauses.sum::<u64>();
        if at == packets.len() / 2 {
            (0..ir.proxies.len()).for_each(|id| state.set_proxy(id, false));
        }
        let Decision {
            outcome,
            steered,
            sourced,
            mark,
            ..
        } = judge(ir, packet, &mut state, now);
        (outcome, steered, sourced, mark)
    };
    packets.iter().enumerate().map(seen).collect()
}

#[test]
fn faults_are_found_by_name() {
    for fault in Fault::ALL {
        assert_eq!(Fault::find(fault.name()), Some(fault));
    }
    assert_eq!(Fault::find("smoke"), None);
}

const ALL: &str = "\
    bucket few = 10/s burst 5\n\
    bucket live = 3 flows\n\
    set seen as source = {} dynamic idle 10m max 9\n\
    proxy box { listen tcp at 127.0.0.1:3128, [::1]:3128 mark 1/0xf table 100 }\n\
    guard on eth0 { deny udp when ip.fragment as pieces\n default allow }\n\
    steer { proxy tcp/80 in eth0 via box }\n\
    to host {\n\
      allow tcp from not 192.0.2.0/24 when tcp.flags has syn as outside\n\
      allow udp/53 from 10.0.0.0/29, fd00::/125 within few as dns\n\
      allow sctp within live add @seen as streams\n\
      default reject\n\
    }\n\
    default deny\n";

#[test]
fn faults_are_what_they_are_called() {
    let right = ir(ALL);
    let before = print(&right);
    // What becomes of the lines that change: the beginning of each, and its end.
    let wanted: [(Fault, &[(&str, &str)]); 14] = [
        (Fault::NegatedFamily, &[("  outside: allow  [v4 from", "")]),
        (Fault::ExactFlags, &[("  outside: allow", "tcp.flags syn]")]),
        (
            Fault::LongPrefix,
            &[(
                "  dns: allow",
                "saddr { 10.0.0.0/30, fd00::/126 } proto udp dport 53]",
            )],
        ),
        (Fault::MissingDrop, &[("  default: allow", "")]),
        (
            Fault::MissingProxyDrop,
            &[("proxy box", "down Direct bypass []")],
        ),
        (Fault::LargeBurst, &[("bucket few = 10/s burst 6", "")]),
        (
            Fault::Fragments,
            &[("  pieces: deny", "proto udp dport 0-65535 ip.fragment 1]")],
        ),
        (
            Fault::SwappedPorts,
            &[
                ("  steer#1: proxy", "proto tcp sport 80]"),
                ("  dns: allow", "proto udp sport 53]"),
            ],
        ),
        (Fault::WrongDefault, &[("  to-host#default: deny", "")]),
        (Fault::StaleFlow, &[("  stale-flow#fault: allow", "")]),
        (Fault::FastRefill, &[("bucket few = 20/s burst 5", "")]),
        (Fault::LargeLimit, &[("bucket live = 4 flows", "")]),
        (
            Fault::LostTimeout,
            &[("dynamic @seen source", "idle=None max=Some(9)")],
        ),
        (
            Fault::WrongAnswer,
            &[("  to-host#default: reject AdminProhibited", "")],
        ),
    ];
    for (fault, lines) in wanted {
        let after = print(&fault.plant(&right).unwrap());
        let new: Vec<&str> = after.lines().filter(|l| !before.contains(l)).collect();
        let is = |(line, (head, tail)): (&&str, &(&str, &str))| {
            line.starts_with(head) && line.ends_with(tail)
        };
        let all = new.len() == lines.len() && new.iter().zip(lines).all(is);
        assert!(all, "{}: {new:#?}", fault.name());
    }
}

/// What came of a fault.
#[derive(Default)]
struct Count {
    /// Policies that it changes.
    planted: u64,
    /// Those of which packets show that they have changed.
    shown: u64,
    /// Those that mean the same as before: what is wrong stands behind rules that leave nothing for
    /// it.
    hidden: u64,
}

/// Those that few packets meet: pauses have to be neither short nor long, or many flows live at once.
const SELDOM: [Fault; 3] = [Fault::FastRefill, Fault::LargeLimit, Fault::LostTimeout];

#[test]
fn every_fault_changes_policies_and_their_meaning() {
    let mut counts: BTreeMap<Fault, Count> = BTreeMap::new();
    for seed in 0..POLICIES {
        let compilation = drawn(seed);
        let ir = compilation.ir.as_ref().unwrap();
        let mut maker = Maker::new(ir, seed);
        let packets: Vec<Packet> = (0..PACKETS).map(|_| maker.packet()).collect();
        let right = decisions(ir, &packets);
        for fault in Fault::ALL {
            let count = counts.entry(fault).or_default();
            let Some(mutant) = fault.plant(ir) else {
                continue;
            };
            let mut found: Vec<Diagnostic> = Vec::new();
            verify(&mutant, &mut found);
            assert!(found.is_empty(), "{}: {found:?}", fault.name());
            count.planted += 1;
            let policy = &compilation.policy;
            if decisions(&mutant, &packets) != right {
                count.shown += 1;
            } else if diff((policy, ir), (policy, &mutant), Limits::default()).is_equal() {
                count.hidden += 1;
            }
        }
    }
    for (fault, count) in counts {
        let Count {
            planted,
            shown,
            hidden,
        } = count;
        let name = fault.name();
        println!("{name:<20}{planted:>4} policies, {shown:>4} shown, {hidden:>4} hidden");
        assert!(planted >= 5, "{name}: {planted} policies");
        let others = planted - hidden;
        let enough = if SELDOM.contains(&fault) {
            1
        } else {
            others * 2 / 3 + 1
        };
        assert!(shown >= enough, "{name}: {shown} of {others}");
    }
}

/// The text of a bundle's files, without its name.
fn files(bundle: &Bundle) -> BTreeMap<String, Vec<u8>> {
    let manifest = bundle.manifest();
    let of = |path: &String| {
        let bare = match bundle.file(path) {
            Some(text) => text.replace(&manifest.generation, "").into_bytes(),
            None => bundle.bytes(path).unwrap().to_vec(),
        };
        (path.clone(), bare)
    };
    manifest.files.iter().map(|entry| of(&entry.path)).collect()
}

fn emitted(target: &dyn Target, ir: &Ir, sources: &SourceMap) -> Option<Bundle> {
    target.emit(ir, sources, &target::Options::default()).ok()
}

#[test]
fn targets_write_something_else() {
    let mut counts = BTreeMap::new();
    for seed in 0..16 {
        let compilation = drawn(seed);
        let (ir, sources) = (compilation.ir.unwrap(), &compilation.sources);
        for target in target::all() {
            let Some(right) = emitted(*target, &ir, sources) else {
                continue;
            };
            for fault in Fault::ALL {
                let Some(planted) = fault.plant(&ir) else {
                    continue;
                };
                let wrong = emitted(*target, &planted, sources);
                if let Some(wrong) = wrong.or_else(|| fault.patch(&right)) {
                    let [expressed, changed] =
                        counts.entry((fault, target.name())).or_insert([0, 0]);
                    *expressed += 1;
                    *changed += u64::from(files(&wrong) != files(&right));
                }
            }
        }
    }
    for fault in Fault::ALL {
        let of = |target: &&dyn Target| counts.get(&(fault, target.name()));
        let all: Vec<&[u64; 2]> = target::all().iter().filter_map(of).collect();
        let [expressed, changed] = [0, 1].map(|at| all.iter().map(|n| n[at]).sum::<u64>());
        assert!(
            changed * 4 >= expressed * 3 && changed > 0,
            "{fault:?}: {changed} of {expressed}"
        );
    }
    for ((fault, target), [expressed, changed]) in &counts {
        let name = fault.name();
        println!("{name:<20}{target:<10}{expressed:>4} bundles, {changed:>4} of them others");
    }
}

const PROXY: &str = "\
    proxy box { listen tcp at 127.0.0.1:3128, [::1]:3128 mark 1/0xf table 100 }\n\
    steer { proxy tcp/80 by uid 1000 via box\n proxy tcp/80 in eth0 via box }\n\
    default allow\n";

#[test]
fn a_patched_bundle_lacks_the_drop_and_is_sound() {
    let compilation = compiled(PROXY);
    let ir = compilation.ir.as_ref();
    let ir = ir.unwrap_or_else(|| panic!("{:#?}", compilation.diagnostics));
    let fault = Fault::MissingProxyDrop;
    let sources = &compilation.sources;
    let planted = fault.plant(ir).unwrap();
    assert!(emitted(&target::Nftables, &planted, sources).is_none());
    let bundle = emitted(&target::Nftables, ir, sources).unwrap();
    let patched = fault.patch(&bundle).unwrap();
    let lines = |bundle: &Bundle| -> Vec<String> {
        let script = bundle.file("policy.nft").unwrap();
        let generation = &bundle.manifest().generation;
        let bare = script.lines().map(|line| line.replace(generation, ""));
        bare.collect()
    };
    let (right, wrong) = (lines(&bundle), lines(&patched));
    let at = right
        .iter()
        .rposition(|line| line.contains("tproxy"))
        .unwrap();
    assert_eq!(right[at + 1].trim(), "drop");
    let rest: Vec<&String> = right[..=at].iter().chain(&right[at + 2..]).collect();
    assert_eq!(wrong.iter().collect::<Vec<_>>(), rest);
    let dir = tempfile::tempdir().unwrap();
    patched.write(dir.path()).unwrap();
    assert_eq!(Bundle::read(dir.path()).unwrap(), patched);
    assert!(fault.patch(&patched).is_none());
    assert!(Fault::LongPrefix.patch(&bundle).is_none());
}
