//! The state directory: bundles by generation, and which one is committed where.
//!
//! ```text
//! lock/net-INODE            held while a namespace is changed
//! lock/store                held while bundles are added or cleared away
//! bundles/GENERATION/       a bundle, written whole before it gets its name
//! netns/KEY/committed       the generation that was applied last, in full
//! netns/KEY/staged          the generation that is being applied
//! ```

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use polc_bundle::{Bundle, BundleError, GENERATION_PLACEHOLDER};

use crate::netns::Netns;

/// Where the state is kept unless told otherwise.
pub const DEFAULT_STATE_DIR: &str = "/var/lib/polc";

/// Why the state directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file could not be read or written.
    #[error("cannot {action} `{path}`: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another program is changing this namespace.
    #[error("another polc is changing this network namespace (it holds `{path}`)")]
    Busy {
        /// The lock.
        path: PathBuf,
    },
    /// A bundle could not be written or read back.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// The committed generation's bundle is gone or damaged.
    #[error("the bundle of generation `{generation}` is not in the state directory any more")]
    Gone {
        /// Which.
        generation: String,
    },
}

/// A lock that is released when dropped, or when the process ends in whatever way.
#[derive(Debug)]
pub(crate) struct Lock(#[expect(dead_code, reason = "held, never read")] Flock<File>);

/// The state directory.
#[derive(Debug)]
pub(crate) struct Store {
    dir: PathBuf,
}

impl Store {
    pub(crate) fn new(dir: Option<&Path>) -> Self {
        Self {
            dir: dir
                .unwrap_or_else(|| Path::new(DEFAULT_STATE_DIR))
                .to_owned(),
        }
    }

    /// Keeps others from changing `netns`; fails at once if somebody is.
    pub(crate) fn lock(&self, netns: &Netns) -> Result<Lock, StoreError> {
        let name = format!("net-{}", netns.inode());
        self.lock_file(&name, FlockArg::LockExclusiveNonblock)
    }

    /// Puts a bundle into the directory and notes that it is about to be applied to `key`.
    pub(crate) fn stage(&self, key: &str, bundle: &Bundle) -> Result<(), StoreError> {
        let _lock = self.lock_file("store", FlockArg::LockExclusive)?;
        let generation = &bundle.manifest().generation;
        self.write_pointer(key, "staged", generation)?;
        let path = self.bundle_path(generation);
        if Bundle::read(&path).is_ok_and(|stored| stored == *bundle) {
            return Ok(());
        }
        let parent = self.dir.join("bundles");
        create_dir(&parent)?;
        let temporary = parent.join(format!(".{generation}.tmp"));
        remove_dir(&temporary)?;
        bundle.write(&temporary)?;
        sync_tree(&temporary)?;
        remove_dir(&path)?;
        fs::rename(&temporary, &path).map_err(io_error("rename", &temporary))?;
        sync(&parent)
    }

    /// Notes that `generation`, or nothing, is now in force in `key`.
    pub(crate) fn commit(&self, key: &str, generation: Option<&str>) -> Result<(), StoreError> {
        match generation {
            Some(generation) => self.write_pointer(key, "committed", generation),
            None => remove_file(&self.pointer_dir(key).join("committed")),
        }
    }

    /// Notes that nothing is being applied to `key` any more, and clears away bundles that
    /// nothing needs.
    pub(crate) fn unstage(&self, key: &str) -> Result<(), StoreError> {
        remove_file(&self.pointer_dir(key).join("staged"))?;
        self.clear_away()
    }

    /// Forgets `key`; whether anything was known of it.
    pub(crate) fn forget(&self, key: &str) -> Result<bool, StoreError> {
        let dir = self.pointer_dir(key);
        if !dir.exists() {
            return Ok(false);
        }
        remove_dir(&dir)?;
        self.clear_away()?;
        Ok(true)
    }

    /// The generation committed in `key`.
    pub(crate) fn committed(&self, key: &str) -> Result<Option<String>, StoreError> {
        read_pointer(&self.pointer_dir(key).join("committed"))
    }

    /// The stored bundle of a generation.
    pub(crate) fn bundle(&self, generation: &str) -> Result<Bundle, StoreError> {
        let gone = || StoreError::Gone {
            generation: generation.to_owned(),
        };
        if !is_generation(generation) {
            return Err(gone());
        }
        let bundle = Bundle::read(&self.bundle_path(generation)).map_err(|_| gone())?;
        if bundle.manifest().generation == generation {
            Ok(bundle)
        } else {
            Err(gone())
        }
    }

    /// The generations whose bundles are stored, whichever namespace they are for.
    pub(crate) fn generations(&self) -> Result<Vec<String>, StoreError> {
        let paths = entries(&self.dir.join("bundles"))?;
        let names = paths.iter().filter_map(|path| path.file_name()?.to_str());
        let mut names: Vec<String> = names.map(str::to_owned).collect();
        names.retain(|name| is_generation(name));
        names.sort_unstable();
        Ok(names)
    }

    fn lock_file(&self, name: &str, how: FlockArg) -> Result<Lock, StoreError> {
        let dir = self.dir.join("lock");
        create_dir(&dir)?;
        let path = dir.join(name);
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(io_error("open", &path))?;
        match Flock::lock(file, how) {
            Ok(lock) => Ok(Lock(lock)),
            Err((_, Errno::EWOULDBLOCK)) => Err(StoreError::Busy { path }),
            Err((_, errno)) => Err(io_error("lock", &path)(errno.into())),
        }
    }

    /// Removes the bundles that no pointer names.
    fn clear_away(&self) -> Result<(), StoreError> {
        let _lock = self.lock_file("store", FlockArg::LockExclusive)?;
        let mut needed = BTreeSet::new();
        for key in entries(&self.dir.join("netns"))? {
            for pointer in ["committed", "staged"] {
                needed.extend(read_pointer(&key.join(pointer))?);
            }
        }
        for bundle in entries(&self.dir.join("bundles"))? {
            let name = bundle.file_name().map(|name| name.to_string_lossy());
            if !name.is_some_and(|name| needed.contains(name.as_ref())) {
                remove_dir(&bundle)?;
            }
        }
        Ok(())
    }

    fn write_pointer(&self, key: &str, name: &str, generation: &str) -> Result<(), StoreError> {
        let dir = self.pointer_dir(key);
        create_dir(&dir)?;
        let path = dir.join(name);
        let temporary = dir.join(format!(".{name}.tmp"));
        let written = File::create(&temporary).and_then(|mut file| {
            file.write_all(format!("{generation}\n").as_bytes())?;
            file.sync_all()
        });
        written.map_err(io_error("write", &temporary))?;
        fs::rename(&temporary, &path).map_err(io_error("rename", &temporary))?;
        sync(&dir)
    }

    fn pointer_dir(&self, key: &str) -> PathBuf {
        self.dir.join("netns").join(key)
    }

    fn bundle_path(&self, generation: &str) -> PathBuf {
        self.dir.join("bundles").join(generation)
    }
}

/// Whether `text` has the form of a generation id; what comes from the kernel or from files may
/// be anything.
fn is_generation(text: &str) -> bool {
    text.len() == GENERATION_PLACEHOLDER.len() && text.bytes().all(|b| b.is_ascii_hexdigit())
}

fn read_pointer(path: &Path) -> Result<Option<String>, StoreError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text.trim().to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io_error("read", path)(error)),
    }
}

fn entries(dir: &Path) -> Result<Vec<PathBuf>, StoreError> {
    match fs::read_dir(dir) {
        Ok(entries) => entries
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<io::Result<_>>()
            .map_err(io_error("list", dir)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(io_error("list", dir)(error)),
    }
}

/// Makes the files below `dir` and their names durable.
fn sync_tree(dir: &Path) -> Result<(), StoreError> {
    for entry in entries(dir)? {
        if entry.is_dir() {
            sync_tree(&entry)?;
        } else {
            sync(&entry)?;
        }
    }
    sync(dir)
}

fn sync(path: &Path) -> Result<(), StoreError> {
    File::open(path)
        .and_then(|file| file.sync_all())
        .map_err(io_error("make durable", path))
}

fn create_dir(dir: &Path) -> Result<(), StoreError> {
    fs::create_dir_all(dir).map_err(io_error("create", dir))
}

fn remove_dir(dir: &Path) -> Result<(), StoreError> {
    ignore_missing(fs::remove_dir_all(dir)).map_err(io_error("remove", dir))
}

fn remove_file(path: &Path) -> Result<(), StoreError> {
    ignore_missing(fs::remove_file(path)).map_err(io_error("remove", path))
}

fn ignore_missing(outcome: io::Result<()>) -> io::Result<()> {
    match outcome {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError + use<> {
    let path = path.to_owned();
    move |source| StoreError::Io {
        action,
        path,
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn bundle(text: &str) -> Bundle {
        let manifest = crate::testing::manifest();
        let files = BTreeMap::from([("policy.nft".to_owned(), text.to_owned())]);
        Bundle::new(manifest, files).unwrap()
    }

    #[test]
    fn a_committed_bundle_is_read_back_and_older_ones_go() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(Some(dir.path()));
        let (old, new) = (bundle("old"), bundle("new"));
        let id = |bundle: &Bundle| bundle.manifest().generation.clone();
        for bundle in [&old, &new] {
            store.stage("host", bundle).unwrap();
            store.commit("host", Some(&id(bundle))).unwrap();
            store.unstage("host").unwrap();
        }
        assert_eq!(store.committed("host").unwrap(), Some(id(&new)));
        assert_eq!(store.bundle(&id(&new)).unwrap(), new);
        assert!(matches!(
            store.bundle(&id(&old)),
            Err(StoreError::Gone { .. })
        ));
    }

    #[test]
    fn what_another_namespace_needs_stays() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(Some(dir.path()));
        let (one, two) = (bundle("one"), bundle("two"));
        let id = |bundle: &Bundle| bundle.manifest().generation.clone();
        store.stage("a", &one).unwrap();
        store.stage("b", &two).unwrap();
        store.commit("b", Some(&id(&two))).unwrap();
        store.unstage("b").unwrap();
        assert!(store.bundle(&id(&one)).is_ok(), "still staged");
        assert!(store.forget("a").unwrap());
        assert!(!store.forget("a").unwrap());
        assert!(store.bundle(&id(&one)).is_err());
        assert!(store.bundle(&id(&two)).is_ok());
    }

    #[test]
    fn a_damaged_bundle_is_gone_and_staging_repairs_it() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(Some(dir.path()));
        let bundle = bundle("text");
        let id = bundle.manifest().generation.clone();
        store.stage("a", &bundle).unwrap();
        fs::write(store.bundle_path(&id).join("policy.nft"), "other").unwrap();
        assert!(store.bundle(&id).is_err());
        store.stage("a", &bundle).unwrap();
        assert_eq!(store.bundle(&id).unwrap(), bundle);
    }

    #[test]
    fn a_generation_is_never_a_path() {
        let store = Store::new(Some(Path::new("/nonexistent")));
        for id in ["", "..", "../../etc", "0123", &"/".repeat(32)] {
            assert!(matches!(store.bundle(id), Err(StoreError::Gone { .. })));
        }
    }

    #[test]
    fn a_namespace_is_locked_once() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(Some(dir.path()));
        let netns = Netns::open(None).unwrap();
        let held = store.lock(&netns).unwrap();
        assert!(matches!(store.lock(&netns), Err(StoreError::Busy { .. })));
        drop(held);
        assert!(store.lock(&netns).is_ok());
    }
}
