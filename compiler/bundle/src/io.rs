//! Making, writing and reading bundles.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Component, Path, PathBuf};

use crate::hash::{GENERATION_PLACEHOLDER, Hasher, sha256_hex};
use crate::manifest::{FileEntry, Manifest, SCHEMA};

/// The name of the manifest within a bundle.
const MANIFEST: &str = "manifest.yaml";

/// A bundle in memory, its hashes checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bundle {
    manifest: Manifest,
    files: BTreeMap<String, Vec<u8>>,
}

/// Why a bundle cannot be made, written or read.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// A file or directory could not be read or written.
    #[error("cannot {action} `{path}`")]
    Io {
        /// `read`, `write` or `create`.
        action: &'static str,
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The manifest is not the YAML that this version understands.
    #[error("`manifest.yaml` cannot be understood: {0}")]
    Manifest(String),
    /// The manifest is of another layout.
    #[error("the bundle has schema {found}, this version reads {SCHEMA}: build it again")]
    Schema {
        /// The version found.
        found: u32,
    },
    /// A file name leads out of the bundle or is not plain.
    #[error("the bundle names the file `{0}`, which does not lie inside it")]
    Path(String),
    /// The content is not what the manifest says.
    #[error("`{path}` was changed after the bundle was built: build it again")]
    Hash {
        /// Which file.
        path: String,
    },
}

impl Bundle {
    /// Makes a bundle: fills in the file list and the generation id, and puts the id where the
    /// files carry [`GENERATION_PLACEHOLDER`].
    ///
    /// `files` maps paths relative to the bundle to contents, texts or not; `manifest.generation`
    /// and `manifest.files` are overwritten.
    pub fn new(
        mut manifest: Manifest,
        files: BTreeMap<String, impl Into<Vec<u8>>>,
    ) -> Result<Self, BundleError> {
        let files = files.into_iter().map(|(path, bytes)| (path, bytes.into()));
        let mut files: BTreeMap<String, Vec<u8>> = files.collect();
        manifest.files = files
            .iter()
            .map(|(path, bytes)| FileEntry {
                path: path.clone(),
                sha256: sha256_hex(bytes),
                bytes: bytes.len() as u64,
            })
            .collect();
        GENERATION_PLACEHOLDER.clone_into(&mut manifest.generation);
        manifest.generation = generation(&manifest)?;
        for bytes in files.values_mut() {
            if let Some(text) = text_of(bytes)
                && text.contains(GENERATION_PLACEHOLDER)
            {
                *bytes = text
                    .replace(GENERATION_PLACEHOLDER, &manifest.generation)
                    .into();
            }
        }
        Ok(Self { manifest, files })
    }

    /// What it holds.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The text of one of its files; `None` also when it is none.
    pub fn file(&self, path: &str) -> Option<&str> {
        self.bytes(path).and_then(text_of)
    }

    /// The content of one of its files.
    pub fn bytes(&self, path: &str) -> Option<&[u8]> {
        self.files.get(path).map(Vec::as_slice)
    }

    /// The manifest as YAML.
    pub fn manifest_yaml(&self) -> Result<String, BundleError> {
        to_yaml(&self.manifest)
    }

    /// Writes it into `dir`, which is created. Files of an earlier bundle that this one does not
    /// have are removed from `dir/maps`; nothing else is touched.
    pub fn write(&self, dir: &Path) -> Result<(), BundleError> {
        create_dir(dir)?;
        let maps = dir.join("maps");
        if maps.is_dir() {
            fs::remove_dir_all(&maps).map_err(io_error("write", &maps))?;
        }
        create_dir(&maps)?;
        for (path, bytes) in &self.files {
            let path = dir.join(plain(path)?);
            if let Some(parent) = path.parent() {
                create_dir(parent)?;
            }
            fs::write(&path, bytes).map_err(io_error("write", &path))?;
        }
        let path = dir.join(MANIFEST);
        fs::write(&path, self.manifest_yaml()?).map_err(io_error("write", &path))
    }

    /// Reads the bundle in `dir` and checks every hash.
    pub fn read(dir: &Path) -> Result<Self, BundleError> {
        let path = dir.join(MANIFEST);
        let yaml = fs::read_to_string(&path).map_err(io_error("read", &path))?;
        let manifest = parse_manifest(&yaml)?;
        let mut files = BTreeMap::new();
        for entry in &manifest.files {
            let path = dir.join(plain(&entry.path)?);
            let bytes = fs::read(&path).map_err(io_error("read", &path))?;
            let sha256 = match text_of(&bytes) {
                Some(text) => {
                    let bare = text.replace(&manifest.generation, GENERATION_PLACEHOLDER);
                    sha256_hex(bare.as_bytes())
                }
                None => sha256_hex(&bytes),
            };
            if sha256 != entry.sha256 {
                return Err(BundleError::Hash {
                    path: entry.path.clone(),
                });
            }
            files.insert(entry.path.clone(), bytes);
        }
        let mut bare = manifest.clone();
        GENERATION_PLACEHOLDER.clone_into(&mut bare.generation);
        if generation(&bare)? != manifest.generation {
            return Err(BundleError::Hash {
                path: MANIFEST.to_owned(),
            });
        }
        Ok(Self { manifest, files })
    }

    /// Whether `dir` looks like a bundle: it has a manifest.
    pub fn is_bundle(dir: &Path) -> bool {
        dir.join(MANIFEST).is_file()
    }
}

/// A content as text; only in texts the generation id is put in and taken out.
fn text_of(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

/// Reads a manifest and checks its schema.
pub(crate) fn parse_manifest(yaml: &str) -> Result<Manifest, BundleError> {
    #[derive(serde::Deserialize)]
    struct Version {
        schema: u32,
    }
    let error = |e: &dyn std::fmt::Display| BundleError::Manifest(e.to_string());
    let version: Version = serde_yaml::from_str(yaml).map_err(|e| error(&e))?;
    if version.schema != SCHEMA {
        return Err(BundleError::Schema {
            found: version.schema,
        });
    }
    serde_yaml::from_str(yaml).map_err(|e| error(&e))
}

/// The first 128 bits of the hash of the manifest, which holds the hashes of the files.
fn generation(manifest: &Manifest) -> Result<String, BundleError> {
    let mut hasher = Hasher::new();
    hasher.part(b"polc bundle");
    hasher.part(to_yaml(manifest)?.as_bytes());
    let mut hex = hasher.hex();
    hex.truncate(GENERATION_PLACEHOLDER.len());
    Ok(hex)
}

fn to_yaml(manifest: &Manifest) -> Result<String, BundleError> {
    serde_yaml::to_string(manifest).map_err(|e| BundleError::Manifest(e.to_string()))
}

/// `path` if it is relative and made of plain names only.
fn plain(path: &str) -> Result<&Path, BundleError> {
    let path_ref = Path::new(path);
    let ok = !path.is_empty()
        && path_ref
            .components()
            .all(|c| matches!(c, Component::Normal(_)));
    if ok {
        Ok(path_ref)
    } else {
        Err(BundleError::Path(path.to_owned()))
    }
}

fn create_dir(dir: &Path) -> Result<(), BundleError> {
    fs::create_dir_all(dir).map_err(io_error("create", dir))
}

fn io_error(
    action: &'static str,
    path: &Path,
) -> impl FnOnce(std::io::Error) -> BundleError + use<> {
    let path = path.to_owned();
    move |source| BundleError::Io {
        action,
        path,
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routing::{Family, LocalRoute, RoutingPlan, RoutingRule};

    fn sample() -> Bundle {
        let manifest = Manifest {
            schema: SCHEMA,
            policy: "p".into(),
            target: "nftables".into(),
            generation: String::new(),
            as_of: "2026-11-21".into(),
            kernel_floor: "5.7".into(),
            features: vec![],
            governs: vec![crate::Hook::Input],
            rules: vec![],
            objects: vec![],
            sets: vec![],
            programs: vec![],
            state: vec![],
            classes: vec![],
            chains: vec![],
            jumps: vec![],
            unresolved: vec![],
            routing: RoutingPlan {
                rules: vec![RoutingRule {
                    family: Family::V6,
                    priority: 100,
                    iif: Some("eth0".into()),
                    mark: 1,
                    mask: 255,
                    table: 100,
                }],
                local_routes: vec![LocalRoute {
                    family: Family::V4,
                    table: 100,
                }],
            },
            sysctls: vec![],
            files: vec![],
        };
        let files = BTreeMap::from([
            (
                "policy.nft".to_owned(),
                format!("# {GENERATION_PLACEHOLDER}\n"),
            ),
            ("maps/a.txt".to_owned(), "192.0.2.1\n".to_owned()),
        ]);
        Bundle::new(manifest, files).unwrap()
    }

    #[test]
    fn what_is_written_is_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let bundle = sample();
        bundle.write(dir.path()).unwrap();
        assert!(Bundle::is_bundle(dir.path()));
        assert_eq!(Bundle::read(dir.path()).unwrap(), bundle);
        let script = bundle.file("policy.nft").unwrap();
        assert_eq!(script, format!("# {}\n", bundle.manifest().generation));
    }

    #[test]
    fn a_file_that_is_no_text_is_kept_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let mut object = vec![0xff];
        object.extend(GENERATION_PLACEHOLDER.bytes());
        let files = BTreeMap::from([("policy.o".to_owned(), object.clone())]);
        let bundle = Bundle::new(sample().manifest.clone(), files).unwrap();
        bundle.write(dir.path()).unwrap();
        let read = Bundle::read(dir.path()).unwrap();
        assert_eq!(read, bundle);
        assert_eq!(read.bytes("policy.o"), Some(object.as_slice()));
        assert_eq!(read.file("policy.o"), None);
        fs::write(dir.path().join("policy.o"), [0xff, 0]).unwrap();
        assert!(Bundle::read(dir.path()).is_err());
    }

    #[test]
    fn the_same_content_has_the_same_generation() {
        assert_eq!(
            sample().manifest_yaml().unwrap(),
            sample().manifest_yaml().unwrap()
        );
    }

    #[test]
    fn what_is_not_used_is_not_written() {
        let plain = sample().manifest_yaml().unwrap();
        let mut manifest = sample().manifest;
        manifest.programs = vec![crate::ProgramEntry {
            name: Some("filter_0".into()),
            bare: Some("filter_0_ip".into()),
            hook: crate::ProgramHook::Egress,
            stage: crate::ProgramStage::Filter,
            pattern: "eth*".into(),
        }];
        manifest.state = vec!["flows".into()];
        manifest.classes = vec![crate::ClassEntry {
            pattern: "eth*".into(),
            number: 3,
        }];
        let full = to_yaml(&manifest).unwrap();
        for line in [
            "hook: egress",
            "bare: filter_0_ip",
            "state:",
            "classes:",
            "number: 3",
        ] {
            assert!(full.contains(line), "{line}: {full}");
            assert!(!plain.contains(line), "{line}: {plain}");
        }
        assert_eq!(parse_manifest(&full).unwrap(), manifest);
    }

    #[test]
    fn a_changed_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        sample().write(dir.path()).unwrap();
        fs::write(dir.path().join("maps/a.txt"), "192.0.2.2\n").unwrap();
        let error = Bundle::read(dir.path()).unwrap_err();
        assert!(matches!(error, BundleError::Hash { path } if path == "maps/a.txt"));
    }

    #[test]
    fn a_changed_manifest_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let bundle = sample();
        bundle.write(dir.path()).unwrap();
        let yaml = bundle
            .manifest_yaml()
            .unwrap()
            .replace("table: 100", "table: 101");
        fs::write(dir.path().join(MANIFEST), yaml).unwrap();
        let error = Bundle::read(dir.path()).unwrap_err();
        assert!(matches!(error, BundleError::Hash { path } if path == MANIFEST));
    }

    #[test]
    fn a_path_out_of_the_bundle_is_refused() {
        assert!(plain("../x").is_err());
        assert!(plain("/etc/passwd").is_err());
        assert!(plain("").is_err());
        assert!(plain("maps/x.txt").is_ok());
    }
}
