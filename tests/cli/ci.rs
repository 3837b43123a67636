//! The hooks and templates for services: each command in them runs, on the model policies.
//!
//! What installs polc is left out: the built one is in the path.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::harness::Place;
use crate::readme::copy;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn yaml(path: &str) -> Value {
    let text = std::fs::read_to_string(root().join(path)).expect("a file");
    serde_yaml::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The model policies, as a repository of their own.
fn repository() -> Place {
    let place = Place::new(&[]);
    copy(&root().join("policies"), place.path());
    place
}

/// Runs a script as services do; the code and what was printed.
fn shell(place: &Place, script: &str, variables: &BTreeMap<String, String>) -> (i32, String) {
    let polc = Path::new(env!("CARGO_BIN_EXE_polc"))
        .parent()
        .expect("a directory");
    let mut path = OsString::from(polc);
    path.push(":/usr/bin:/bin");
    let output = Command::new("bash")
        .args(["--noprofile", "--norc", "-eo", "pipefail", "-c", script])
        .current_dir(place.path())
        .env("PATH", path)
        .env_remove("GITHUB_STEP_SUMMARY")
        .envs(variables)
        .output()
        .expect("bash runs");
    let text = [output.stdout, output.stderr].concat();
    (
        output.status.code().expect("it was not killed"),
        String::from_utf8_lossy(&text).into_owned(),
    )
}

fn succeeds(place: &Place, script: &str, variables: &BTreeMap<String, String>) {
    let (code, printed) = shell(place, script, variables);
    assert_eq!(code, 0, "{script}\n{printed}");
}

/// A list of YAML.
fn list<'v>(value: &'v Value, what: &str) -> &'v [Value] {
    let list = value.as_array();
    list.unwrap_or_else(|| panic!("{what} is no list: {value}"))
}

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    let text = value[key].as_str();
    text.unwrap_or_else(|| panic!("no `{key}` in {value}"))
}

/// The variables that a mapping sets, with what stands in `${{ … }}` put in.
fn variables(mapping: &Value, inputs: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let pairs = mapping.as_object().into_iter().flatten();
    pairs
        .map(|(name, value)| {
            let mut text = value.as_str().expect("a text").to_owned();
            for (input, value) in inputs {
                text = text.replace(&format!("${{{{ inputs.{input} }}}}"), value);
            }
            assert!(!text.contains("${{"), "{name}: {text} is not known");
            (name.clone(), text)
        })
        .collect()
}

#[test]
fn the_hooks_run() {
    let hooks = yaml(".pre-commit-hooks.yaml");
    let place = repository();
    let mut ids = Vec::new();
    for hook in list(&hooks, "hooks") {
        let (id, entry) = (text(hook, "id"), text(hook, "entry"));
        ids.push(id.to_owned());
        let language = if id.ends_with("-system") {
            "system"
        } else {
            "rust"
        };
        assert_eq!(text(hook, "language"), language, "{id}");
        assert_eq!(text(hook, "files"), "\\.pol$", "{id}");
        let command = entry.strip_prefix("polc ").expect("a command of polc");
        if place.polc(&["help", command]).code != 0 {
            assert_eq!(command, "test", "there is no such command");
            continue;
        }
        succeeds(
            &place,
            &format!("{entry} host.pol lib/nat.pol"),
            &BTreeMap::new(),
        );
    }
    for id in ["polc-fmt", "polc-lint", "polc-test"] {
        assert!(ids.iter().any(|i| i == id), "{id}");
        assert!(ids.contains(&format!("{id}-system")), "{id}");
    }
    let config = yaml("policies/.pre-commit-config.yaml");
    for repo in list(&config["repos"], "repos") {
        for hook in list(&repo["hooks"], "hooks") {
            let id = text(hook, "id");
            assert!(ids.iter().any(|i| i == id), "there is no hook `{id}`");
        }
    }
}

#[test]
fn the_action_runs() {
    let action = yaml("action.yml");
    let place = repository();
    let declared = action["inputs"].as_object().expect("inputs");
    let inputs: BTreeMap<String, String> = declared
        .iter()
        .map(|(name, input)| (name.clone(), text(input, "default").to_owned()))
        .collect();
    let mut ran = Vec::new();
    for step in list(&action["runs"]["steps"], "steps") {
        let id = text(step, "id");
        let Some(script) = step["run"].as_str() else {
            continue;
        };
        assert_eq!(text(step, "shell"), "bash", "{id}");
        assert!(
            !script.contains("${{"),
            "{id}: an input in a script can be a command"
        );
        if id == "install" {
            continue;
        }
        succeeds(&place, script, &variables(&step["env"], &inputs));
        ran.push(id.to_owned());
    }
    assert_eq!(ran, ["check", "report", "annotate"]);
    let log: Value = serde_json::from_str(&place.read("polc.sarif")).expect("JSON");
    assert_eq!(log["version"], "2.1.0");
    place.write(
        "bad.pol",
        "policy bad\nto host { alow ssh  default deny }\n",
    );
    let none = BTreeMap::new();
    assert_eq!(shell(&place, "polc check .", &none).0, 3);
}

#[test]
fn the_template_for_gitlab_runs() {
    let template = yaml("ci/polc.gitlab-ci.yml");
    let place = repository();
    let variables = variables(&template["variables"], &BTreeMap::new());
    let scripts = list(&template["polc"]["script"], "script");
    assert!(scripts.len() >= 4, "{scripts:?}");
    for script in scripts {
        succeeds(&place, script.as_str().expect("a text"), &variables);
    }
    let reports = &template["polc"]["artifacts"]["reports"];
    let issues: Value =
        serde_json::from_str(&place.read(text(reports, "codequality"))).expect("JSON");
    assert!(issues.is_array());
    assert!(place.read(text(reports, "junit")).contains("<testsuites"));
    let user = yaml("policies/.gitlab-ci.yml");
    let file = text(&list(&user["include"], "include")[0], "file");
    assert!(root().join(file).is_file(), "{file}");
}

#[test]
fn the_workflow_runs() {
    let workflow = yaml("policies/.github/workflows/polc.yml");
    let place = repository();
    let mut ran = 0;
    for step in list(&workflow["jobs"]["polc"]["steps"], "steps") {
        let Some(script) = step["run"].as_str() else {
            continue;
        };
        if text(step, "name") == "install" {
            continue;
        }
        succeeds(&place, script, &BTreeMap::new());
        ran += 1;
    }
    assert_eq!(ran, 4);
}

/// Commands in the documents about continuous integration.
#[test]
fn the_commands_of_the_page_run() {
    let page = std::fs::read_to_string(root().join("docs/lint.md")).expect("a page");
    let place = repository();
    let blocks = page.split("```sh\n").skip(1);
    let lines: Vec<&str> = blocks
        .filter_map(|rest| rest.split("```").next())
        .flat_map(str::lines)
        .filter(|line| line.starts_with("polc "))
        .collect();
    assert!(lines.len() >= 8, "{lines:?}");
    let git = "git init -q -b main && git add . && \
               git -c user.name=T -c user.email=t@example.com commit -qm first";
    succeeds(&place, git, &BTreeMap::new());
    for line in lines {
        let (code, printed) = shell(&place, line, &BTreeMap::new());
        // Findings may be there: 1. Everything else is a mistake of the page.
        assert!(code <= 1, "{line}: {code}\n{printed}");
    }
}
