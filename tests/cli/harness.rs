//! Running `polc` in a directory of its own.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

/// A directory with files, to run `polc` in.
pub(crate) struct Place(TempDir);

/// What a run came to.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Place {
    pub(crate) fn new(files: &[(&str, &str)]) -> Self {
        let place = Self(TempDir::new().expect("a directory"));
        for (name, text) in files {
            place.write(name, text);
        }
        place
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        std::fs::write(path, text).expect("written");
    }

    pub(crate) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path().join(name)).expect("a file")
    }

    pub(crate) fn polc(&self, arguments: &[&str]) -> Run {
        self.polc_with(arguments, "")
    }

    /// With variables of the environment.
    pub(crate) fn polc_in(&self, arguments: &[&str], variables: &[(&str, &OsStr)]) -> Run {
        self.run(arguments, "", variables)
    }

    /// With a text on standard input.
    pub(crate) fn polc_with(&self, arguments: &[&str], input: &str) -> Run {
        self.run(arguments, input, &[])
    }

    /// Starts it, with its standard output piped.
    pub(crate) fn start(&self, arguments: &[&str]) -> Child {
        Command::new(env!("CARGO_BIN_EXE_polc"))
            .args(arguments)
            .current_dir(self.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("polc starts")
    }

    fn run(&self, arguments: &[&str], input: &str, variables: &[(&str, &OsStr)]) -> Run {
        use std::io::Write as _;
        let mut child = Command::new(env!("CARGO_BIN_EXE_polc"))
            .args(arguments)
            .current_dir(self.path())
            .env_remove("GITHUB_STEP_SUMMARY")
            .envs(variables.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("polc starts");
        // A command that reads no input may have closed it already.
        let _ = child
            .stdin
            .take()
            .expect("piped")
            .write_all(input.as_bytes());
        let output = child.wait_with_output().expect("polc ends");
        Run {
            code: output.status.code().expect("it was not killed"),
            out: String::from_utf8(output.stdout).expect("text"),
            err: without_progress(&String::from_utf8(output.stderr).expect("text")),
        }
    }
}

/// Steps are announced where they take more than a second: on a machine that has other things to do.
fn without_progress(text: &str) -> String {
    let is_progress = |line: &&str| line.starts_with("polc: ") && line.ends_with(" …\n");
    text.split_inclusive('\n')
        .filter(|line| !is_progress(line))
        .collect()
}

/// Compares a text with the golden of that name, which shows the policy it belongs to.
pub(crate) fn golden(name: &str, policy: &str, text: &str) {
    insta::with_settings!({
        snapshot_path => "../../golden/cli",
        prepend_module_to_snapshot => false,
        description => policy,
        omit_expression => true,
    }, {
        insta::assert_snapshot!(name, text);
    });
}
