//! Policies for iptables in the kernel, with both of its tools.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use polc_bundle::{Bundle, Family};
use polc_compiler::target::{self, Target as _};
use polc_compiler::{Files, Options, compile};
use polc_runtime_loader::lab::{Namespace, Topology};
use polc_runtime_loader::{ApplyError, ApplyOptions, IptablesError, Variant, apply};
use tempfile::TempDir;

use crate::harness::{Bench, build_for, on_targets, own_packets_come_back};

/// The two tools, as targets of tests are called.
pub(crate) const LEGACY: &str = "iptables_legacy";
pub(crate) const NFT: &str = "iptables_nft";

/// The tool of a target of a test; none for another target.
pub(crate) fn variant(target: &str) -> Option<Variant> {
    [(LEGACY, Variant::Legacy), (NFT, Variant::Nft)]
        .into_iter()
        .find(|(name, _)| *name == target)
        .map(|(_, variant)| variant)
}

fn tool(family: Family, variant: Variant) -> String {
    let name = match family {
        Family::V4 => "iptables",
        Family::V6 => "ip6tables",
    };
    format!("{name}-{}", variant.name())
}

/// Every rule of both families and every set, without counters and comments of the tools.
fn everything(router: &Namespace, variant: Variant) -> String {
    let mut out = router.output("ipset", &["save", "-sorted"]).expect("sets");
    for family in [Family::V4, Family::V6] {
        let program = format!("{}-save", tool(family, variant));
        let saved = router.output(&program, &[]).expect("rules");
        for line in saved.lines().filter(|line| !line.starts_with('#')) {
            out.push_str(line.split(" [").next().unwrap_or_default());
            out.push('\n');
        }
    }
    out
}

on_targets! {
    iptables_legacy: what_is_applied_is_there_and_is_taken_away_whole, what_others_have_stays, a_policy_with_fewer_tables_leaves_nothing_of_the_old_one, what_the_kernel_refuses_changes_nothing, a_dry_run_changes_nothing, a_missing_jump_is_not_in_step_and_comes_back, rules_of_the_other_tool_are_not_passed_over, an_apply_that_fails_at_any_call_is_undone, an_apply_that_is_killed_at_any_call_lets_nothing_pass, every_model_policy_is_applied_over_and_over;
    iptables_nft: what_is_applied_is_there_and_is_taken_away_whole, what_others_have_stays, a_policy_with_fewer_tables_leaves_nothing_of_the_old_one, what_the_kernel_refuses_changes_nothing, a_dry_run_changes_nothing, a_missing_jump_is_not_in_step_and_comes_back, rules_of_the_other_tool_are_not_passed_over, an_apply_that_fails_at_any_call_is_undone, an_apply_that_is_killed_at_any_call_lets_nothing_pass, every_model_policy_is_applied_over_and_over;
}

/// A policy with chains in all four tables, and sets.
const ALL_TABLES: &str = "
    set few = { 192.0.2.1, 198.51.100.0/24 }
    guard { deny from @few as spoofed count  default allow }
    steer {
        dnat tcp/8080 from lan to { 10.0.1.1 } => 10.0.2.2:80 as moved
        route tcp/90 from lan via table 200 mark 0x200/0xff00 as elsewhere
    }
    egress { masquerade from lan to wan as hidden }
    from lan to wan { allow tcp/80 as web count  default deny }
    default deny";

/// A policy with filter alone.
const FILTER_ALONE: &str = "from lan to wan { allow tcp/81 as other  default deny }\ndefault deny";

fn bench(target: &'static str) -> (Bench, Variant) {
    let bench = Bench::bare(Topology::new().expect("a topology")).built_for(target);
    (bench, variant(target).expect("a tool"))
}

fn what_is_applied_is_there_and_is_taken_away_whole(target: &'static str) {
    let (bench, variant) = bench(target);
    let before = everything(bench.router(), variant);
    let applied = bench.apply(ALL_TABLES);
    assert_eq!(applied.previous, None);
    assert_eq!(applied.warnings, []);
    let state = bench.status();
    assert!(state.in_step, "{state:?}");
    assert_eq!(state.iptables, Some(variant));
    assert_eq!(state.generation.as_ref(), Some(&applied.generation));
    let again = bench.apply(ALL_TABLES);
    assert_eq!(again.previous, Some(applied.generation));
    assert_eq!(again.changes.objects_removed, []);
    let removed = bench.remove().expect("removed");
    assert_eq!(removed.chains.len(), 8, "{removed:?}");
    assert_eq!(removed.routing.len(), 2, "{removed:?}");
    let after = everything(bench.router(), variant);
    let lines = |text: &str| -> BTreeSet<String> {
        // The tools leave the kernel's own chains behind.
        let lines = text
            .lines()
            .filter(|l| !l.starts_with([':', '*']) && *l != "COMMIT");
        lines.map(str::to_owned).collect()
    };
    assert_eq!(lines(&after), lines(&before), "{after}");
    assert!(!after.contains("POLC-"), "{after}");
    assert!(bench.remove().expect("nothing").is_empty());
}

fn what_others_have_stays(target: &'static str) {
    let (bench, variant) = bench(target);
    let program = tool(Family::V4, variant);
    let run = |words: &str| {
        let words: Vec<&str> = words.split(' ').collect();
        bench.router().output(&program, &words).expect("it is done")
    };
    run("-N docker");
    run("-A FORWARD -s 203.0.113.0/24 -j docker");
    bench
        .router()
        .output("ipset", &["create", "others", "hash:ip"])
        .expect("a set");
    bench.apply(ALL_TABLES);
    let listed = run("-S FORWARD");
    let rules: Vec<&str> = listed.lines().skip(1).collect();
    assert_eq!(
        rules,
        [
            "-A FORWARD -j POLC-FORWARD",
            "-A FORWARD -s 203.0.113.0/24 -j docker"
        ]
    );
    bench.remove().expect("removed");
    let after = everything(bench.router(), variant);
    assert!(
        after.contains("-A FORWARD -s 203.0.113.0/24 -j docker"),
        "{after}"
    );
    assert!(after.contains("create others"), "{after}");
}

fn a_policy_with_fewer_tables_leaves_nothing_of_the_old_one(target: &'static str) {
    let (bench, variant) = bench(target);
    bench.apply(FILTER_ALONE);
    let alone = everything(bench.router(), variant);
    bench.apply(ALL_TABLES);
    let applied = bench.apply(FILTER_ALONE);
    assert!(!applied.changes.objects_removed.is_empty());
    let names = |text: &str| -> BTreeSet<String> {
        let lines = text
            .lines()
            .filter(|l| l.contains("POLC-") || l.contains("polc"));
        lines.map(str::to_owned).collect()
    };
    let after = everything(bench.router(), variant);
    assert_eq!(names(&after), names(&alone));
    assert!(bench.status().in_step);
}

/// A bundle that the kernel refuses in the last table, after the others are new.
fn spoilt(target: &str, body: &str, line: &str) -> Bundle {
    let bundle = build_for(target, body);
    let manifest = bundle.manifest().clone();
    let files = manifest.files.iter().filter(|f| f.path != "manifest.yaml");
    let text = |path: &str| bundle.file(path).expect("a file").to_owned();
    let mut files: BTreeMap<String, String> =
        files.map(|f| (f.path.clone(), text(&f.path))).collect();
    let rules = files.get_mut("policy.v6").expect("the rules");
    let end = rules.rfind("COMMIT").expect("an end");
    rules.insert_str(end, line);
    Bundle::new(manifest, files).expect("a bundle")
}

fn what_the_kernel_refuses_changes_nothing(target: &'static str) {
    let (bench, variant) = bench(target);
    bench.apply(ALL_TABLES);
    let before = everything(bench.router(), variant);
    let other = ALL_TABLES.replace("192.0.2.1", "192.0.2.2");
    let bundle = spoilt(target, &other, "-A POLC-INPUT -j nowhere\n");
    let refused = bench.try_apply(&bundle).expect_err("it is refused");
    assert!(matches!(refused, ApplyError::Iptables(_)), "{refused}");
    assert_eq!(everything(bench.router(), variant), before);
    assert!(bench.status().in_step);
}

fn a_dry_run_changes_nothing(target: &'static str) {
    let (bench, variant) = bench(target);
    let before = everything(bench.router(), variant);
    let options = ApplyOptions {
        dry_run: true,
        ..bench.options()
    };
    let dry = |bundle: &Bundle| apply(bundle, &options, &mut |_| {});
    let applied = dry(&build_for(target, ALL_TABLES)).expect("it can be applied");
    assert!(applied.dry_run && applied.changes.objects_removed.is_empty());
    assert_eq!(everything(bench.router(), variant), before);
    let bundle = spoilt(target, ALL_TABLES, "-A POLC-INPUT -j nowhere\n");
    assert!(dry(&bundle).is_err());
}

fn a_missing_jump_is_not_in_step_and_comes_back(target: &'static str) {
    let (bench, variant) = bench(target);
    bench.apply(ALL_TABLES);
    let program = tool(Family::V6, variant);
    let words = ["-D", "FORWARD", "-j", "POLC-FORWARD"];
    bench.router().output(&program, &words).expect("it is gone");
    assert!(!bench.status().in_step);
    bench.apply(ALL_TABLES);
    assert!(bench.status().in_step);
}

fn rules_of_the_other_tool_are_not_passed_over(target: &'static str) {
    let (bench, variant) = bench(target);
    bench.apply(FILTER_ALONE);
    let other = Variant::ALL.into_iter().find(|other| *other != variant);
    let options = ApplyOptions {
        iptables: other,
        ..bench.options()
    };
    let bundle = build_for(target, FILTER_ALONE);
    let refused = apply(&bundle, &options, &mut |_| {}).expect_err("it is refused");
    assert!(
        matches!(&refused, ApplyError::Iptables(IptablesError::OtherVariant { found, .. }) if *found == variant),
        "{refused}"
    );
    // Without a wish, the policy is replaced where it is.
    let options = ApplyOptions {
        iptables: None,
        ..bench.options()
    };
    apply(&bundle, &options, &mut |_| {}).expect("it is applied");
    let nftables = build_for("nftables", FILTER_ALONE);
    let refused = bench.try_apply(&nftables).expect_err("it is refused");
    assert!(
        matches!(&refused, ApplyError::OtherTarget { other } if other == "iptables"),
        "{refused}"
    );
}

/// The program with tools of which one call goes wrong: it carries out the first table of its text, and
/// then something happens to it.
struct Faulty<'b> {
    bench: &'b Bench,
    variant: Variant,
    dir: TempDir,
}

impl<'b> Faulty<'b> {
    fn new(bench: &'b Bench, variant: Variant, bundle: &Bundle) -> Self {
        let dir = TempDir::new().expect("a directory");
        bundle.write(&dir.path().join("bundle")).expect("written");
        Self {
            bench,
            variant,
            dir,
        }
    }

    /// Applies the bundle while call `number` goes wrong; whether it was applied.
    fn apply(&self, number: u32, what: &str) -> bool {
        let calls = self.dir.path().join("calls");
        fs::write(&calls, "0").expect("written");
        for family in [Family::V4, Family::V6] {
            let name = format!("{}-restore", tool(family, self.variant));
            let script = format!(
                "#!/bin/sh\nPATH=${{PATH#*:}}\ncalls={calls}\nn=$(($(cat $calls) + 1))\necho $n > $calls\n\
                 if [ $n -eq {number} ]; then\nawk '{{ print }} /^COMMIT/ {{ exit }}' | {name} \"$@\"\n{what}\nfi\n\
                 exec {name} \"$@\"\n",
                calls = calls.display()
            );
            let path = self.dir.path().join(&name);
            fs::write(&path, script).expect("written");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("it runs");
        }
        let path = std::env::var("PATH").expect("a path");
        let bundle = self.dir.path().join("bundle");
        let output = Command::new(env!("CARGO_BIN_EXE_polc"))
            .arg("apply")
            .arg(bundle)
            .args(["--netns", self.bench.router().name()])
            .args(["--iptables", self.variant.name(), "--state-dir"])
            .arg(self.bench.options().state_dir.expect("a directory"))
            .env("PATH", format!("{}:{path}", self.dir.path().display()))
            .output()
            .expect("it runs");
        let calls: u32 = fs::read_to_string(&calls)
            .expect("read")
            .trim()
            .parse()
            .expect("a number");
        assert!(calls >= number || output.status.success(), "{output:?}");
        output.status.success()
    }
}

/// The calls of an apply in place of another policy: four elsewhere, and at least four here.
const CALLS: std::ops::RangeInclusive<u32> = 8..=12;

fn an_apply_that_fails_at_any_call_is_undone(target: &'static str) {
    let (bench, variant) = bench(target);
    bench.apply(ALL_TABLES);
    let before = everything(bench.router(), variant);
    let faulty = Faulty::new(&bench, variant, &build_for(target, FILTER_ALONE));
    let failing = (1..30).find(|number| {
        let applied = faulty.apply(*number, "exit 4");
        if !applied {
            assert_eq!(everything(bench.router(), variant), before, "call {number}");
            assert!(bench.status().in_step, "call {number}");
        }
        applied
    });
    let calls = failing.expect("it ends") - 1;
    assert!(CALLS.contains(&calls), "{calls}");
    bench.remove().expect("removed");
    for number in 5..=8 {
        assert!(!faulty.apply(number, "exit 4"), "call {number}");
        let after = everything(bench.router(), variant);
        assert!(
            !after.contains("POLC-") && !after.contains("polc"),
            "{after}"
        );
    }
}

fn an_apply_that_is_killed_at_any_call_lets_nothing_pass(target: &'static str) {
    let (bench, variant) = bench(target);
    let both_deny = |port: u16| {
        format!(
            "steer {{ dnat udp/{port} from lan to {{ 10.0.1.1 }} => 10.0.2.2:80 as moved }}
             from lan to wan {{ allow udp/{port}  default deny }}
             default deny"
        )
    };
    let server = bench.server()[0];
    bench.apply(&both_deny(81));
    let _server = bench.serve("wan", 90);
    let faulty = Faulty::new(&bench, variant, &build_for(target, &both_deny(82)));
    let killed = (1..30).find(|number| {
        let applied = faulty.apply(*number, "kill -9 $PPID");
        if !applied {
            assert!(
                !bench.client().tcp(server, 90).is_connected(),
                "call {number}"
            );
            bench.apply(&both_deny(81));
            assert!(bench.status().in_step, "call {number}");
        }
        applied
    });
    assert!(CALLS.contains(&(killed.expect("it ends") - 1)));
}

struct Disk;

impl Files for Disk {
    fn read(&self, path: &str) -> std::io::Result<String> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        fs::read_to_string(root.join(path))
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

fn every_model_policy_is_applied_over_and_over(target: &'static str) {
    let variant = variant(target).expect("a tool");
    let models = models();
    assert!(models.len() >= 5, "{}", models.len());
    for (name, bundle) in &models {
        let (bench, _) = bench(target);
        own_packets_come_back(bench.router());
        for _ in 0..2 {
            if let Err(error) = bench.try_apply(bundle) {
                panic!("{name}: {error}");
            }
        }
        assert!(bench.status().in_step, "{name}");
        for jump in &bundle.manifest().jumps {
            let program = format!("{}-save", tool(jump.family, variant));
            let table = ["-t", jump.table.as_str()];
            let saved = bench.router().output(&program, &table).expect("rules");
            let line = format!("-A {} -j {}", jump.builtin, jump.chain);
            let times = saved.lines().filter(|l| *l == line).count();
            assert_eq!(times, 1, "{name}: {line}\n{saved}");
        }
    }
}
