//! What must hold of an object before it is written.

use std::collections::{BTreeMap, BTreeSet};

use super::{Object, ObjectError};
use crate::asm::Function;
use crate::insn::{Insn, Wide};

/// Checks names, maps, data, and what programs refer to.
pub(super) fn object(object: &Object) -> Result<(), ObjectError> {
    names(object)?;
    for map in &object.maps {
        map.check()?;
    }
    if let Some(data) = object.data.iter().find(|data| data.bytes.is_empty()) {
        return Err(ObjectError::EmptyData(data.name.clone()));
    }
    let maps = object.maps.iter().map(|map| map.name.as_str()).collect();
    let data = object.data.iter();
    let data = data.map(|d| (d.name.as_str(), d.bytes.len())).collect();
    functions(object).try_for_each(|function| references(function, &maps, &data))
}

/// All functions of all programs.
fn functions(object: &Object) -> impl Iterator<Item = &Function> {
    let programs = object.programs.iter();
    programs.flat_map(|(_, program)| program.functions())
}

/// Names have to be identifiers, and unique.
fn names(object: &Object) -> Result<(), ObjectError> {
    let maps = object.maps.iter().map(|map| map.name.as_str());
    let data = object.data.iter().map(|data| data.name.as_str());
    let mut names = BTreeSet::new();
    for name in maps
        .chain(data)
        .chain(functions(object).map(Function::name))
    {
        if !is_identifier(name) {
            return Err(ObjectError::Name(name.to_owned()));
        }
        if !names.insert(name) {
            return Err(ObjectError::Duplicate(name.to_owned()));
        }
    }
    Ok(())
}

fn is_identifier(name: &str) -> bool {
    let word = |c: char| c == '_' || c.is_ascii_alphanumeric();
    name.starts_with(|c| word(c) && !c.is_ascii_digit()) && name.chars().all(word)
}

/// Maps and data that a function uses have to be there.
fn references(
    function: &Function,
    maps: &BTreeSet<&str>,
    data: &BTreeMap<&str, usize>,
) -> Result<(), ObjectError> {
    for insn in function.insns() {
        let Insn::LoadWide { value, .. } = insn else {
            continue;
        };
        match value {
            Wide::Map(name) if !maps.contains(&**name) => {
                return Err(ObjectError::UnknownMap {
                    function: function.name().to_owned(),
                    map: name.to_string(),
                });
            }
            Wide::Data { name, offset } => {
                let bytes = data.get(&**name).copied().unwrap_or(0);
                if usize::try_from(*offset).map_or(true, |offset| offset >= bytes) {
                    return Err(ObjectError::UnknownData {
                        function: function.name().to_owned(),
                        data: name.to_string(),
                        offset: *offset,
                    });
                }
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_are_those_of_c() {
        for name in ["a", "_", "a1_B"] {
            assert!(is_identifier(name), "{name}");
        }
        for name in ["", "1a", "a-b", "a.b", "é"] {
            assert!(!is_identifier(name), "{name}");
        }
    }
}
