//! The rules that entries name.

use std::collections::BTreeMap;

use polc_bundle::{Manifest, RuleEntry};

use crate::store::{Store, StoreError};

/// The rules of a namespace's policies by the numbers that entries name them by.
pub(super) struct Rules {
    store: Store,
    key: String,
    /// The generation whose rules go before others.
    generation: Option<String>,
    known: BTreeMap<u32, RuleEntry>,
}

impl Rules {
    pub(super) fn new(store: Store, key: String) -> Self {
        Self {
            store,
            key,
            generation: None,
            known: BTreeMap::new(),
        }
    }

    /// The rule with a number. Entries can be older than the policy in force.
    pub(super) fn find(&mut self, log_id: u32) -> Result<Option<&RuleEntry>, StoreError> {
        let committed = self.store.committed(&self.key)?;
        if committed != self.generation {
            let read = self.read(committed.as_deref())?;
            self.known.extend(read);
            self.generation = committed;
        }
        Ok(self.known.get(&log_id))
    }

    /// The rules of all stored bundles, those of the generation in force before others.
    fn read(&self, committed: Option<&str>) -> Result<BTreeMap<u32, RuleEntry>, StoreError> {
        let mut known = BTreeMap::new();
        for generation in self.store.generations()? {
            if let Ok(bundle) = self.store.bundle(&generation) {
                known.extend(numbered(bundle.manifest()));
            }
        }
        if let Some(Ok(bundle)) = committed.map(|id| self.store.bundle(id)) {
            known.extend(numbered(bundle.manifest()));
        }
        Ok(known)
    }
}

fn numbered(manifest: &Manifest) -> impl Iterator<Item = (u32, RuleEntry)> {
    let rules = manifest.rules.iter();
    rules.filter_map(|rule| Some((rule.log_id?, rule.clone())))
}

#[cfg(test)]
mod tests {
    use polc_bundle::Bundle;

    use super::*;

    fn bundle(rules: &[(&str, u32)]) -> Bundle {
        let mut manifest = crate::testing::manifest();
        let rule = |(name, id): &(&str, u32)| RuleEntry {
            name: (*name).to_owned(),
            stage: "filter".to_owned(),
            verdict: "deny".to_owned(),
            source: "p.pol:1".to_owned(),
            comment: (*name).to_owned(),
            counter: None,
            log_prefix: None,
            log_id: Some(*id),
        };
        manifest.rules = rules.iter().map(rule).collect();
        Bundle::new(manifest, BTreeMap::<String, String>::new()).unwrap()
    }

    #[test]
    fn the_policy_in_force_goes_before_others() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(Some(dir.path()));
        let (old, new) = (bundle(&[("a", 1), ("b", 2)]), bundle(&[("c", 2), ("d", 3)]));
        let id = |bundle: &Bundle| bundle.manifest().generation.clone();
        store.stage("x", &old).unwrap();
        store.commit("x", Some(&id(&old))).unwrap();
        let mut rules = Rules::new(Store::new(Some(dir.path())), "x".to_owned());
        let mut name = |id| rules.find(id).unwrap().map(|rule| rule.name.clone());
        assert_eq!(
            [1, 2, 3].map(&mut name),
            [Some("a".into()), Some("b".into()), None]
        );
        store.stage("x", &new).unwrap();
        store.commit("x", Some(&id(&new))).unwrap();
        let expected = [Some("a"), Some("c"), Some("d"), None].map(|n| n.map(str::to_owned));
        assert_eq!([1, 2, 3, 4].map(&mut name), expected);
        store.unstage("x").unwrap();
        store.forget("x").unwrap();
        assert_eq!(name(1).as_deref(), Some("a"), "it was known");
        let mut rules = Rules::new(store, "x".to_owned());
        assert_eq!(rules.find(1).unwrap(), None);
    }
}
