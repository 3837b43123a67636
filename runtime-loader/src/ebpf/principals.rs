//! Users, groups and control groups that a policy knows by name: their numbers, in a map of programs.
//!
//! A place of the map has the number and one more, so that 0 is one that nobody has looked up.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use aya::maps::{Array, Map, MapData, MapError};
use nix::unistd::{Group, User};
use polc_bundle::Unresolved;
use serde::Serialize;

use super::EbpfError;
use super::cgroup::{self, CgroupError};
use super::pins::PRINCIPALS;

type Numbers = Array<MapData, u64>;

/// Why the number of a name is not known.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PrincipalError {
    /// There is none of that name.
    #[error("there is no {kind} `{name}` on this machine")]
    Unknown {
        /// `user`, `group` or `cgroup`.
        kind: String,
        /// Its name.
        name: String,
    },
    /// It cannot be asked for.
    #[error("cannot look up the {kind} `{name}`: {source}")]
    Lookup {
        /// `user`, `group` or `cgroup`.
        kind: String,
        /// Its name.
        name: String,
        /// Why.
        source: io::Error,
    },
    /// There are no control groups.
    #[error(transparent)]
    Cgroups(#[from] CgroupError),
}

/// A user, group or control group that is not known any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Gone {
    /// `user`, `group` or `cgroup`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// What the machine says.
    pub message: String,
}

/// The numbers of names, in their order. Where programs stay, a name that is not known any more keeps the
/// number that they know.
pub(crate) fn known(
    names: &[Unresolved],
    stay: bool,
) -> Result<(Vec<Option<u64>>, Vec<Gone>), EbpfError> {
    let (mut numbers, mut gone) = (Vec::new(), Vec::new());
    for entry in names {
        match number(entry) {
            Ok(number) => numbers.push(Some(number)),
            Err(error) if stay => {
                numbers.push(None);
                gone.push(Gone {
                    kind: entry.kind.clone(),
                    name: entry.name.clone(),
                    message: error.to_string(),
                });
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok((numbers, gone))
}

/// The number that the kernel knows a name by.
fn number(entry: &Unresolved) -> Result<u64, PrincipalError> {
    let Unresolved { kind, name } = entry;
    let found = match kind.as_str() {
        "user" => User::from_name(name).map(|user| user.map(|user| user.uid.as_raw().into())),
        "group" => Group::from_name(name).map(|group| group.map(|group| group.gid.as_raw().into())),
        "cgroup" => return cgroup_number(entry),
        _ => Ok(None),
    };
    let found = found.map_err(|errno| PrincipalError::Lookup {
        kind: kind.clone(),
        name: name.clone(),
        source: errno.into(),
    })?;
    found.ok_or_else(|| unknown(entry))
}

/// The number of a control group is that of its directory.
fn cgroup_number(entry: &Unresolved) -> Result<u64, PrincipalError> {
    let directory = cgroup::directory(entry.name.as_bytes())?;
    match fs::metadata(directory) {
        Ok(found) if found.is_dir() => Ok(found.ino()),
        Ok(_) => Err(unknown(entry)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(unknown(entry)),
        Err(source) => Err(PrincipalError::Lookup {
            kind: entry.kind.clone(),
            name: entry.name.clone(),
            source,
        }),
    }
}

fn unknown(entry: &Unresolved) -> PrincipalError {
    PrincipalError::Unknown {
        kind: entry.kind.clone(),
        name: entry.name.clone(),
    }
}

/// Puts numbers into the map pinned at `path`; places without one stay as they are.
pub(crate) fn fill(path: &Path, numbers: &[Option<u64>]) -> Result<(), EbpfError> {
    if numbers.is_empty() {
        return Ok(());
    }
    let fill = || {
        let mut map = open(path)?;
        for (place, number) in (0..).zip(numbers) {
            if let Some(number) = number {
                map.set(place, number.wrapping_add(1), 0)?;
            }
        }
        Ok(())
    };
    fill().map_err(EbpfError::map(PRINCIPALS))
}

/// Whether the map pinned at `path` has the numbers that names have now, as far as they have any.
pub(crate) fn filled(path: &Path, names: &[Unresolved]) -> Result<bool, EbpfError> {
    if names.is_empty() {
        return Ok(true);
    }
    if !path.exists() {
        return Ok(false);
    }
    let check = || {
        let map = open(path)?;
        for (place, entry) in (0..).zip(names) {
            let known = map.get(&place, 0)?;
            if known == 0 || number(entry).is_ok_and(|number| number.wrapping_add(1) != known) {
                return Ok(false);
            }
        }
        Ok(true)
    };
    check().map_err(EbpfError::map(PRINCIPALS))
}

fn open(path: &Path) -> Result<Numbers, MapError> {
    Map::from_map_data(MapData::from_pin(path)?)?.try_into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look_up(kind: &str, name: &str) -> Result<u64, String> {
        let (kind, name) = (kind.to_owned(), name.to_owned());
        number(&Unresolved { kind, name }).map_err(|error| error.to_string())
    }

    #[test]
    fn names_of_the_machine_have_numbers() {
        assert_eq!(look_up("user", "root"), Ok(0));
        assert_eq!(look_up("group", "root"), Ok(0));
        for kind in ["user", "group"] {
            let expected = format!("there is no {kind} `polc-nobody` on this machine");
            assert_eq!(look_up(kind, "polc-nobody"), Err(expected));
        }
    }
}
