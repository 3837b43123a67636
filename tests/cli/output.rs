//! `polc build`.

use std::process::Command;

use crate::harness::Place;

const POLICY: &str = "\
policy p
set many = file(\"many.txt\")
to host { allow ssh from @many as ssh count  default deny log at 3/s }
";

fn many() -> String {
    let lines: Vec<String> = (0..40u32).map(|n| format!("192.0.2.{}", n * 3)).collect();
    lines.join("\n")
}

#[test]
fn the_same_policy_gives_the_same_bytes() {
    let place = Place::new(&[("p.pol", POLICY), ("many.txt", &many())]);
    for dir in ["one", "two"] {
        let run = place.polc(&["build", "p.pol", "-o", dir, "--as-of", "2026-01-01"]);
        assert_eq!(run.code, 0, "{run:?}");
    }
    let mut diff = Command::new("diff");
    let output = diff
        .args(["-r", "one", "two"])
        .current_dir(place.path())
        .output();
    let output = output.expect("diff runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stdout)
    );
    let maps = std::fs::read_dir(place.path().join("one/maps")).expect("maps");
    assert_eq!(maps.count(), 1);
}

#[test]
fn where_it_is_built_from_makes_no_difference() {
    let library = "from 192.0.2.1 to host { allow ssh as shared }";
    let policy = format!("use \"../lib/l.pol\"\n{POLICY}");
    let place = Place::new(&[
        ("p/p.pol", &policy),
        ("p/many.txt", &many()),
        ("lib/l.pol", library),
    ]);
    let whole = place.path().join("p/p.pol");
    let paths = ["p/p.pol", "./p/../p/p.pol", &whole.to_string_lossy()];
    let manifests = paths.map(|path| {
        let run = place.polc(&["build", path, "-o", "out", "--as-of", "2026-01-01"]);
        assert_eq!(run.code, 0, "{run:?}");
        place.read("out/manifest.yaml")
    });
    assert!(manifests[0].contains("../lib/l.pol:1"), "{}", manifests[0]);
    assert_eq!(manifests[0], manifests[1]);
    assert_eq!(manifests[0], manifests[2]);
}

#[test]
fn another_policy_gives_another_generation() {
    let place = Place::new(&[("p.pol", POLICY), ("many.txt", &many())]);
    let generation = || {
        let run = place.polc(&["build", "p.pol", "-o", "out"]);
        assert_eq!(run.code, 0, "{run:?}");
        let manifest = place.read("out/manifest.yaml");
        let line = manifest
            .lines()
            .find_map(|l| l.strip_prefix("generation: "));
        let id = line
            .expect("a generation")
            .trim_matches(['"', '\''])
            .to_owned();
        assert!(place.read("out/policy.nft").contains(&id));
        id
    };
    let first = generation();
    assert_eq!(first, generation());
    place.write("many.txt", &format!("{}\n198.51.100.1\n", many()));
    assert_ne!(first, generation());
}

#[test]
fn what_the_target_lacks_is_an_error_at_the_rule() {
    let text = "policy p\nto host { allow when vlan.id == 5  default deny }\n";
    let place = Place::new(&[("p.pol", text)]);
    let run = place.polc(&["build", "p.pol", "-o", "out"]);
    assert_eq!(run.code, 3, "{run:?}");
    assert!(
        run.err.contains("POL601") && run.err.contains("vlan.id"),
        "{}",
        run.err
    );
    assert!(!place.path().join("out").exists());
}
