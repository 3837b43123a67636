//! Bundles for iptables in the kernel, with both of its tools: what a loader does, in its simplest form.

use std::io::Write as _;
use std::process::{Command, Stdio};

use polc_bundle::{Bundle, Family};
use polc_compiler::target::{self, Target as _};
use polc_compiler::{Files, Options, compile};
use polc_runtime_loader::lab::Namespace;

use crate::harness::{has_program, possible};

/// The two tools, as targets of tests are called.
pub(crate) const LEGACY: &str = "iptables_legacy";
pub(crate) const NFT: &str = "iptables_nft";

/// The program's part of a tool's name, for a target of a test; none for another target.
pub(crate) fn variant(target: &str) -> Option<&'static str> {
    [(LEGACY, "legacy"), (NFT, "nft")]
        .into_iter()
        .find(|(name, _)| *name == target)
        .map(|(_, variant)| variant)
}

fn tool(family: Family, variant: &str) -> String {
    let name = match family {
        Family::V4 => "iptables",
        Family::V6 => "ip6tables",
    };
    format!("{name}-{variant}")
}

/// Runs a program inside with a text on its standard input; what it says when it fails.
fn feed(router: &Namespace, program: &str, arguments: &[&str], text: &str) -> Result<(), String> {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut child = router.spawn(&mut command).expect("a process");
    let mut input = child.stdin.take().expect("an input");
    // A tool that fails early closes its input.
    let _ = input.write_all(text.as_bytes());
    drop(input);
    let output = child.wait_with_output().expect("an end");
    if output.status.success() {
        Ok(())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

/// Puts a bundle in force.
pub(crate) fn load(router: &Namespace, bundle: &Bundle, variant: &str) -> Result<(), String> {
    let file = |name: &str| bundle.file(name).expect("a file").to_owned();
    let sets = file("sets.ipset");
    feed(router, "ipset", &["restore", "-exist"], &sets)?;
    for (family, name) in [(Family::V4, "policy.v4"), (Family::V6, "policy.v6")] {
        let program = format!("{}-restore", tool(family, variant));
        feed(router, &program, &["--noflush"], &file(name)).map_err(|e| format!("{name}: {e}"))?;
    }
    let manifest = bundle.manifest();
    for jump in &manifest.jumps {
        let program = tool(jump.family, variant);
        let place = [jump.builtin.as_str(), "-j", jump.chain.as_str()];
        let with = |what| [&["-t", jump.table.as_str(), what], &place[..]].concat();
        if router.output(&program, &with("-C")).is_err() {
            let done = router.output(&program, &with("-I"));
            done.map_err(|e| format!("{jump:?}: {e:?}"))?;
        }
    }
    for family in [Family::V4, Family::V6] {
        take_away_rest(router, bundle, family, variant);
    }
    for rule in &manifest.routing.rules {
        let words = format!(
            "{} rule add pref {} fwmark {:#x}/{:#x} lookup {}",
            flag(rule.family),
            rule.priority,
            rule.mark,
            rule.mask,
            rule.table
        );
        ip(router, &words);
    }
    for route in &manifest.routing.local_routes {
        let everything = match route.family {
            Family::V4 => "0.0.0.0/0",
            Family::V6 => "::/0",
        };
        let flag = flag(route.family);
        let table = route.table;
        ip(
            router,
            &format!("{flag} route replace local {everything} dev lo table {table}"),
        );
    }
    Ok(())
}

/// Removes the jumps and chains of an earlier policy that this one does not have: first what leads to
/// them, then their rules, then themselves.
fn take_away_rest(router: &Namespace, bundle: &Bundle, family: Family, variant: &str) {
    let manifest = bundle.manifest();
    let program = tool(family, variant);
    for table in ["nat", "mangle", "filter", "raw"] {
        let run = |words: &str| {
            let words: Vec<&str> = words.split(' ').collect();
            let arguments = [&["-t", table], words.as_slice()].concat();
            router.output(&program, &arguments).expect("it is done")
        };
        let own = manifest.chains.iter();
        let own: Vec<&str> = own
            .filter(|c| c.family == family && c.table == table)
            .flat_map(|c| c.chains.iter().map(String::as_str))
            .collect();
        let listed = run("-S");
        let mut left = Vec::new();
        for line in listed.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            match words.as_slice() {
                ["-A", from, "-j", to] if to.starts_with("POLC-") && !from.starts_with("POLC-") => {
                    let wanted = manifest.jumps.iter().any(|j| {
                        (j.family, &*j.table, &*j.builtin, &*j.chain) == (family, table, *from, *to)
                    });
                    if !wanted {
                        run(&format!("-D {from} -j {to}"));
                    }
                }
                ["-N", name] if name.starts_with("POLC-") && !own.contains(name) => {
                    left.push(*name);
                }
                _ => {}
            }
        }
        for option in ["-F", "-X"] {
            for name in &left {
                run(&format!("{option} {name}"));
            }
        }
    }
}

fn flag(family: Family) -> &'static str {
    match family {
        Family::V4 => "-4",
        Family::V6 => "-6",
    }
}

/// Runs `ip` inside. What is there already stays.
fn ip(router: &Namespace, words: &str) {
    let words: Vec<&str> = words.split(' ').collect();
    if let Err(error) = router.output("ip", &words) {
        assert!(format!("{error:?}").contains("File exists"), "{error:?}");
    }
}

/// The packets that a rule's lines have counted.
pub(crate) fn packets(router: &Namespace, bundle: &Bundle, variant: &str, rule: &str) -> u64 {
    let entry = bundle.manifest().rules.iter().find(|r| r.name == rule);
    let comment = entry
        .and_then(|e| e.counter.as_ref())
        .expect("the rule counts");
    let quoted = format!("--comment \"{comment}\"");
    let bare = format!("--comment {comment} ");
    let mut sum = 0;
    for family in [Family::V4, Family::V6] {
        let program = format!("{}-save", tool(family, variant));
        let saved = router.output(&program, &["-c"]).expect("rules");
        for line in saved.lines() {
            if line.contains(&quoted) || line.contains(&bare) || line.ends_with(bare.trim_end()) {
                let count = line.trim_start_matches('[').split(':').next();
                let count: u64 = count.expect("a count").parse().expect("a number");
                sum += count;
            }
        }
    }
    sum
}

struct Disk;

impl Files for Disk {
    fn read(&self, path: &str) -> std::io::Result<String> {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        std::fs::read_to_string(root.join(path))
    }
}

/// The bundles of all model policies that iptables can express.
fn models() -> Vec<(&'static str, Bundle)> {
    let names = [
        "policies/edge-router.pol",
        "policies/home-router.pol",
        "policies/host.pol",
        "policies/sidecar.pol",
        "policies/tproxy-gateway.pol",
        "compiler/tests/ebpf/policies/front-line.pol",
        "compiler/tests/ebpf/policies/learning.pol",
        "compiler/tests/ebpf/policies/two-sides.pol",
    ];
    let users = [("postfix", 101), ("proxybox", 812)].map(|(n, id)| (n.to_owned(), id));
    let options = Options {
        as_of: "2026-01-01".into(),
        users: users.into_iter().collect(),
        ..Options::default()
    };
    let mut out = Vec::new();
    for name in names {
        let text = Disk.read(name).expect("a policy");
        let compilation = compile(name, &text, &Disk, &options);
        let ir = compilation.ir.as_ref().expect("it compiles");
        let sizes = target::Options::default();
        if let Ok(bundle) = target::Iptables.emit(ir, &compilation.sources, &sizes) {
            out.push((name, bundle));
        }
    }
    out
}

#[test]
fn both_tools_take_every_model_policy_over_and_over() {
    let tools = ["ipset", "iptables-legacy", "iptables-nft"];
    if !possible() || !tools.iter().all(|t| has_program(t)) {
        return;
    }
    let models = models();
    assert!(models.len() >= 5, "{}", models.len());
    for variant in ["legacy", "nft"] {
        for (name, bundle) in &models {
            let router = Namespace::new().expect("a namespace");
            for _ in 0..2 {
                if let Err(error) = load(&router, bundle, variant) {
                    panic!("{name}, {variant}: {error}");
                }
            }
            for jump in &bundle.manifest().jumps {
                let program = format!("{}-save", tool(jump.family, variant));
                let table = ["-t", jump.table.as_str()];
                let saved = router.output(&program, &table).expect("rules");
                let line = format!("-A {} -j {}", jump.builtin, jump.chain);
                let times = saved.lines().filter(|l| *l == line).count();
                assert_eq!(times, 1, "{name}, {variant}: {line}\n{saved}");
            }
        }
    }
}
