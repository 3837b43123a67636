//! Which kernels can load a bundle.

use std::collections::BTreeSet;

use polc_bundle::Feature;

/// The kernel features used.
#[derive(Debug, Default)]
pub(crate) struct Features(BTreeSet<(&'static str, &'static str)>);

impl Features {
    /// Notes that `name`, which kernels have since `kernel`, is used.
    pub(crate) fn add(&mut self, name: &'static str, kernel: &'static str) {
        self.0.insert((name, kernel));
    }

    /// All of them.
    pub(crate) fn list(&self) -> Vec<Feature> {
        self.0
            .iter()
            .map(|(name, kernel)| Feature {
                name: (*name).to_owned(),
                kernel: (*kernel).to_owned(),
            })
            .collect()
    }

    /// The first kernel that has all of them, `oldest` or a later one.
    pub(crate) fn floor(&self, oldest: &'static str) -> &'static str {
        let version =
            |text: &&str| -> Vec<u32> { text.split('.').filter_map(|n| n.parse().ok()).collect() };
        let kernels = self.0.iter().map(|(_, kernel)| *kernel);
        kernels
            .chain([oldest])
            .max_by_key(version)
            .unwrap_or(oldest)
    }
}
