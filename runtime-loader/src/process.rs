//! Programs of the system, run inside a network namespace.

use std::io::{self, Write};
use std::process::{Command, Output, Stdio};

use crate::netns::{Netns, NetnsError};

/// Where programs are looked for when the search path does not have them: administrators' programs
/// are missing from many users' paths.
const FALLBACK_DIR: &str = "/usr/sbin";

/// Runs a program inside the namespace to its end. The inner error says why it could not be started.
///
/// The time zone and language are fixed, because programs read times and write messages in them.
pub(crate) fn run(
    netns: &Netns,
    program: &str,
    arguments: &[&str],
    input: Option<&str>,
) -> Result<io::Result<Output>, NetnsError> {
    match start(netns, program, arguments, input)? {
        Err(error) if error.kind() == io::ErrorKind::NotFound => start(
            netns,
            &format!("{FALLBACK_DIR}/{program}"),
            arguments,
            input,
        ),
        other => Ok(other),
    }
}

fn start(
    netns: &Netns,
    program: &str,
    arguments: &[&str],
    input: Option<&str>,
) -> Result<io::Result<Output>, NetnsError> {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env("TZ", "UTC")
        .env("LC_ALL", "C")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let child = netns.run(|| command.spawn())?;
    Ok(child.and_then(|mut child| {
        let stdin = child.stdin.take();
        std::thread::scope(|scope| {
            // Written beside the reading, so that neither side waits for the other. The program
            // may close its input early; its exit status says why.
            let writer = scope.spawn(move || {
                stdin.map(|mut stdin| stdin.write_all(input.unwrap_or_default().as_bytes()))
            });
            let output = child.wait_with_output();
            let _ = writer.join();
            output
        })
    }))
}

/// What a program said on its standard output; what it said on its standard error, if it failed.
pub(crate) fn succeeded(output: &Output) -> Result<String, String> {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() {
        Ok(text(&output.stdout))
    } else {
        Err(text(&output.stderr).trim_end().to_owned())
    }
}
