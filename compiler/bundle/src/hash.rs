//! Content hashes.

use sha2::{Digest, Sha256};

/// Stands in a script where the generation id will stand, so that the id can be the hash of the
/// script that carries it. As long as an id.
pub const GENERATION_PLACEHOLDER: &str = "00000000000000000000000000000000";

/// The SHA-256 of `bytes` as 64 lower-case hexadecimal digits.
pub fn sha256_hex(bytes: &[u8]) -> String {
    let mut hasher = Hasher::new();
    hasher.update(bytes);
    hasher.hex()
}

/// A running SHA-256 over length-prefixed parts, so that no two lists of parts collide.
pub(crate) struct Hasher(Sha256);

impl Hasher {
    pub(crate) fn new() -> Self {
        Self(Sha256::new())
    }

    /// Adds bytes as they are.
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Adds one part with its length before it.
    pub(crate) fn part(&mut self, bytes: &[u8]) {
        self.0.update((bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
    }

    pub(crate) fn hex(self) -> String {
        use std::fmt::Write as _;
        let mut out = String::with_capacity(64);
        for byte in self.0.finalize() {
            // Writing to a `String` cannot fail.
            let _ = write!(out, "{byte:02x}");
        }
        out
    }
}
