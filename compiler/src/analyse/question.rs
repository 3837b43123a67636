//! Questions about a policy, asked in its own words.

use polc_grammar::ast::Item;

use crate::compile::{Compilation, compile};
use crate::diagnostic::{self, Code, Diagnostic};
use crate::resolve::{Files, Options};
use crate::source::{SourceMap, Span};

/// What questions are called in diagnostics.
const NAME: &str = "question";
/// A claim is a word and a question.
const WORD: &str = "never ";

/// Compiles a policy with a question beside it: a claim without its first word, such as `allow tcp
/// from wan to lan`. It is resolved in the scope of the policy's file, and becomes the last of the
/// policy's claims. Diagnostics about it point into its own text.
pub fn ask(
    path: &str,
    text: &str,
    question: &str,
    files: &dyn Files,
    options: &Options,
) -> Compilation {
    let plain = compile(path, text, files, options);
    if plain.ir.is_none() {
        return plain;
    }
    if let Some(wrong) = misread(question, &plain.sources) {
        return refused(plain, question, wrong);
    }
    let whole = format!("{text}\n{WORD}{question}\n");
    let mut compilation = compile(path, &whole, files, options);
    let begin = u32::try_from(text.len() + 1 + WORD.len()).unwrap_or(u32::MAX);
    let end = u32::try_from(question.len()).unwrap_or(u32::MAX);
    let file = compilation.sources.add(NAME, question);
    let sources = &compilation.sources;
    let asked = |span: &Span| {
        let source = sources.get(span.file);
        span.end > begin && source.is_some_and(|s| *s.text == *whole)
    };
    let labels = compilation
        .diagnostics
        .iter_mut()
        .flat_map(|d| &mut d.labels);
    for label in labels.filter(|l| asked(&l.span)) {
        label.span = Span {
            file,
            start: label.span.start.saturating_sub(begin).min(end),
            end: label.span.end.saturating_sub(begin).min(end),
        };
    }
    compilation
}

/// What is wrong with a question as such; its places are in a text that is not known yet.
fn misread(question: &str, sources: &SourceMap) -> Option<Vec<Diagnostic>> {
    let mut sources = sources.clone();
    let file = sources.add(NAME, question);
    let parsed = polc_grammar::parse(&format!("{WORD}{question}\n"));
    let word = u32::try_from(WORD.len()).unwrap_or(0);
    let length = u32::try_from(question.len()).unwrap_or(u32::MAX);
    let back = |at: u32| at.saturating_sub(word).min(length);
    let mut wrong: Vec<Diagnostic> = Vec::new();
    for error in parsed.errors {
        let mut diagnostic = diagnostic::syntax(error, file);
        for label in &mut diagnostic.labels {
            label.span.start = back(label.span.start);
            label.span.end = back(label.span.end);
        }
        wrong.push(diagnostic);
    }
    let one = matches!(parsed.file.items.as_slice(), [item] if matches!(item.node, Item::Claim(_)));
    if wrong.is_empty() && !one {
        let span = Span {
            file,
            start: 0,
            end: length,
        };
        let help = "write an outcome and what it is about, such as `allow tcp from wan to lan`";
        let title = "this is not one question";
        wrong.push(Diagnostic::error(Code::Syntax, title, span).help(help));
    }
    (!wrong.is_empty()).then_some(wrong)
}

fn refused(plain: Compilation, question: &str, wrong: Vec<Diagnostic>) -> Compilation {
    let mut sources = plain.sources;
    sources.add(NAME, question);
    Compilation {
        sources,
        ir: None,
        diagnostics: wrong,
        ..plain
    }
}
