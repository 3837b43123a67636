//! Says on standard error what takes more than a second.

use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// A step is announced once it has taken so long.
const PATIENCE: Duration = Duration::from_secs(1);

/// Announces the current step when it takes long. Ends with its value.
pub(crate) struct Progress {
    steps: Option<Sender<String>>,
    watcher: Option<JoinHandle<()>>,
}

impl Progress {
    /// Begins with a first step.
    pub(crate) fn new(step: &str) -> Self {
        let (steps, received) = channel::<String>();
        let watcher = std::thread::spawn(move || {
            let mut current = None;
            loop {
                match received.recv_timeout(PATIENCE) {
                    Ok(step) => current = Some(step),
                    Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {
                        if let Some(step) = current.take() {
                            eprintln!("polc: {step} …");
                        }
                    }
                    Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => return,
                }
            }
        });
        let progress = Self {
            steps: Some(steps),
            watcher: Some(watcher),
        };
        progress.step(step);
        progress
    }

    /// Goes on to the next step.
    pub(crate) fn step(&self, step: &str) {
        if let Some(steps) = &self.steps {
            // The watcher ends only when this value does.
            let _ = steps.send(step.to_owned());
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.steps = None;
        if let Some(watcher) = self.watcher.take() {
            // It does nothing that can panic.
            let _ = watcher.join();
        }
    }
}
