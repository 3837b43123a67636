//! The parser that pest derives from `policy.pest`.

use pest_derive::Parser;

/// The derived parser.
#[derive(Parser)]
#[grammar = "policy.pest"]
pub(crate) struct Grammar;

/// A node of pest's parse tree.
pub(crate) type Pair<'t> = pest::iterators::Pair<'t, Rule>;

#[cfg(test)]
mod tests {
    use std::fmt::Debug;

    use pest::Parser;

    use super::{Grammar, Rule};

    fn silent_or_entry(rule: impl Debug) -> bool {
        let name = format!("{rule:?}");
        let silent = [
            "v4",
            "v6",
            "bracketed",
            "wc",
            "ident",
            "ident_part",
            "qualified",
            "end_word_shape",
            "meta_word",
            "reserved",
            "reserved_word",
            "reserved_pattern",
            "value_char",
            "WHITESPACE",
            "COMMENT",
        ];
        name.starts_with("only_") || silent.contains(&name.as_str())
    }

    #[test]
    fn the_corpus_uses_every_production() {
        let mut unused: Vec<Rule> = Rule::all_rules().to_vec();
        for text in [
            include_str!("../tests/corpus/items.pol"),
            include_str!("../tests/corpus/blocks.pol"),
        ] {
            for pair in Grammar::parse(Rule::file, text).unwrap().flatten() {
                unused.retain(|rule| *rule != pair.as_rule());
            }
        }
        // `clause_word` is only ever looked ahead at.
        unused.retain(|rule| !silent_or_entry(rule) && *rule != Rule::clause_word);
        assert_eq!(unused, []);
    }
}
