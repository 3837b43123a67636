//! Standard output.

use std::io::{ErrorKind, IsTerminal as _, Write as _};

use crate::exit::Error;

/// Writes a text to standard output. A reader that has gone away is none of our business.
pub(crate) fn print(text: &str) -> Result<(), Error> {
    write(text).map(|_| ())
}

/// Writes a text to standard output; whether there still is a reader.
pub(crate) fn write(text: &str) -> Result<bool, Error> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Error::environment(&error)),
        Ok(()) => Ok(true),
    }
}

/// Whether standard output is a terminal.
pub(crate) fn is_terminal() -> bool {
    std::io::stdout().is_terminal()
}
