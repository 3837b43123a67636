//! Bugs in what a target writes.

use std::collections::BTreeMap;

use polc_bundle::{Bundle, GENERATION_PLACEHOLDER};

/// The script of nftables.
const SCRIPT: &str = "policy.nft";

/// Takes the last line away from chains that hand packets to a proxy. `tproxy` does not hold where
/// nobody listens; the drop behind it is what keeps its packets from passing.
pub(super) fn missing_proxy_drop(bundle: &Bundle) -> Option<Bundle> {
    let rules = &bundle.manifest().rules;
    if rules.iter().all(|rule| rule.verdict != "proxy") {
        return None;
    }
    let script = bundle.file(SCRIPT)?;
    let mut out: Vec<&str> = Vec::new();
    for line in script.lines() {
        let captures = out.last().is_some_and(|above| above.contains(" tproxy "));
        if !(captures && line.trim() == "drop") {
            out.push(line);
        }
    }
    let mut text = out.join("\n");
    text.push('\n');
    (text != script)
        .then(|| with_file(bundle, SCRIPT, &text))
        .flatten()
}

/// A bundle with another text in place of one of its own, and the hashes of that.
fn with_file(bundle: &Bundle, path: &str, text: &str) -> Option<Bundle> {
    let manifest = bundle.manifest();
    let bare = |bytes: &[u8]| match std::str::from_utf8(bytes) {
        Ok(text) => text
            .replace(&manifest.generation, GENERATION_PLACEHOLDER)
            .into_bytes(),
        Err(_) => bytes.to_vec(),
    };
    let content = |name: &String| {
        let own = bundle.bytes(name)?;
        let bytes = if name == path { text.as_bytes() } else { own };
        Some((name.clone(), bare(bytes)))
    };
    let names = manifest.files.iter().map(|entry| &entry.path);
    let files: Option<BTreeMap<String, Vec<u8>>> = names.map(content).collect();
    // It was a bundle before: nothing in it can keep it from being one again.
    Bundle::new(manifest.clone(), files?).ok()
}
