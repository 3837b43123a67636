//! Text of the user that stands in the table verbatim.

use polc_bundle::ObjectKind;

/// The objects that `text` defines: so that no other gets their names, and a loader does not take
/// them for left over.
pub(crate) fn objects(text: &str) -> impl Iterator<Item = (ObjectKind, &str)> {
    text.lines().filter_map(|line| {
        let mut words = line.split([' ', '\t', '{']).filter(|w| !w.is_empty());
        let kind = match words.next()? {
            "chain" => ObjectKind::Chain,
            "set" => ObjectKind::Set,
            "map" => ObjectKind::Map,
            "limit" => ObjectKind::Limit,
            "counter" => ObjectKind::Counter,
            _ => return None,
        };
        let name = words.next()?;
        (line.contains('{') && name != "name").then_some((kind, name))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn definitions_are_found() {
        let text = "chain mine {\n  counter name \"x\" accept\n}\nset s{\n}\n";
        let found: Vec<_> = objects(text).collect();
        assert_eq!(found, [(ObjectKind::Chain, "mine"), (ObjectKind::Set, "s")]);
    }
}
