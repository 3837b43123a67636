//! Says what is wrong where a parse failed.
//!
//! pest tells how far it came and which rules it tried there. From that and the tokens around
//! the place comes one message: a known mistake if it is one, else what was expected and what
//! was found.

mod literal;
mod spelling;
mod words;

use pest::error::{ErrorVariant, InputLocation};

use self::spelling::nearest;
use crate::error::{SyntaxError, SyntaxErrorKind};
use crate::grammar::Rule;
use crate::keyword::{CLAUSES, ITEMS, SHARED, VERBS, is_reserved};
use crate::scan::{Kind, Token};
use crate::span::Span;

/// Words that are no names either, though no statement starts with them.
const SPECIAL: &[&str] = &["any", "host", "not", "original"];

/// Where the broken piece stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// At the top level of a file.
    File,
    /// In the body of a template.
    Template,
    /// In a block of statements.
    Block,
    /// In a test.
    Test,
    /// In a proxy.
    Proxy,
}

/// How far the parser came, and what it tried there.
pub(crate) struct Failure {
    at: usize,
    expected: Vec<Rule>,
}

impl Failure {
    /// From pest's error for a slice that starts at `base`.
    pub(crate) fn new(error: &pest::error::Error<Rule>, base: usize) -> Self {
        let at = match error.location {
            InputLocation::Pos(at) | InputLocation::Span((at, _)) => base + at,
        };
        let expected = match &error.variant {
            ErrorVariant::ParsingError { positives, .. } => positives.clone(),
            ErrorVariant::CustomError { .. } => Vec::new(),
        };
        Self { at, expected }
    }

    /// A failure of which only the place is known.
    pub(crate) fn at(at: usize) -> Self {
        Self {
            at,
            expected: Vec::new(),
        }
    }
}

/// Explains why a piece does not parse.
pub(crate) fn diagnose(
    source: &str,
    tokens: &[Token],
    place: Place,
    failure: &Failure,
) -> SyntaxError {
    let found = tokens.partition_point(|token| token.span.end as usize <= failure.at);
    let case = Case {
        source,
        tokens,
        place,
        expected: &failure.expected,
        found,
    };
    case.foreign_character()
        .or_else(|| case.misplaced())
        .or_else(|| case.operator())
        .or_else(|| case.address())
        .or_else(|| case.number())
        .or_else(|| case.misspelt())
        .or_else(|| case.glued_keyword())
        .or_else(|| case.missing_comma())
        .or_else(|| case.keyword_as_name())
        .or_else(|| case.wrong_order())
        .unwrap_or_else(|| case.unexpected())
}

/// A piece that does not parse.
struct Case<'c> {
    source: &'c str,
    /// The tokens of the piece.
    tokens: &'c [Token],
    place: Place,
    /// What the parser tried where it failed.
    expected: &'c [Rule],
    /// The index of the token at which it failed; the number of tokens when they ended early.
    found: usize,
}

impl<'c> Case<'c> {
    fn token(&self, index: usize) -> Option<Token> {
        self.tokens.get(index).copied()
    }

    fn text(&self, index: usize) -> &'c str {
        self.token(index)
            .map_or("", |token| token.text(self.source))
    }

    fn found(&self) -> Option<Token> {
        self.token(self.found)
    }

    fn previous(&self) -> Option<Token> {
        self.found
            .checked_sub(1)
            .and_then(|index| self.token(index))
    }

    fn expects(&self, rule: Rule) -> bool {
        self.expected.contains(&rule)
    }

    fn error(kind: SyntaxErrorKind, span: Span, message: impl Into<String>) -> SyntaxError {
        SyntaxError::new(kind, span, message)
    }

    /// A character that the language does not use.
    fn foreign_character(&self) -> Option<SyntaxError> {
        let token = self.found().filter(|token| token.kind == Kind::Other)?;
        let text = token.text(self.source);
        let visible = text.chars().all(|c| !c.is_control() && !c.is_whitespace());
        let shown = if visible {
            text.to_owned()
        } else {
            text.escape_unicode().to_string()
        };
        let message = format!("unexpected character `{shown}`");
        let error = Self::error(SyntaxErrorKind::Unexpected, token.span, message);
        Some(match text {
            ";" => error.help("statements are not separated: leave the `;` out"),
            "'" | "“" | "”" | "„" | "‘" | "’" => {
                error.help("strings stand in straight double quotes: `\"…\"`")
            }
            "!" => error.help("a negation is written `not`"),
            "|" => error.help("alternatives are `or` in a condition, `,` in a list"),
            "%" => error.help("an address is written without a zone; name the interface with `in`"),
            "\u{a0}" => error.help("this is a no-break space: put a plain one"),
            _ => error,
        })
    }

    /// A rule at the top level, or an item inside a block.
    fn misplaced(&self) -> Option<SyntaxError> {
        let first = self.token(0)?;
        let word = first.text(self.source);
        let unexpected = SyntaxErrorKind::Unexpected;
        if self.place == Place::File && VERBS.contains(&word) {
            let message = format!("`{word}` starts a rule, and rules stand in a block");
            return Some(Self::error(unexpected, first.span, message).help(
                "put the rule into a block such as `to host { … }`, `steer { … }` or `egress { … }`",
            ));
        }
        let inside = matches!(self.place, Place::Block | Place::Test | Place::Proxy);
        let item = ITEMS.contains(&word) || (self.place != Place::Block && SHARED.contains(&word));
        if inside && item && self.found == 0 {
            let message = format!("`{word}` stands at the top level of a file, not in a block");
            return Some(
                Self::error(unexpected, first.span, message).help("is a `}` missing before it?"),
            );
        }
        None
    }

    /// `=`, `==`, `=>` and `->` taken for each other.
    fn operator(&self) -> Option<SyntaxError> {
        let token = self.found()?;
        let text = token.text(self.source);
        let unexpected = SyntaxErrorKind::Unexpected;
        let say = |message: &str, help: &str| {
            Some(Self::error(unexpected, token.span, message).help(help))
        };
        match text {
            "=" if self.expects(Rule::cmp_op) => {
                say("`=` does not compare", "equality is written `==`")
            }
            "==" if self.expects(Rule::assign) => say(
                "`==` does not define",
                "a definition is written with one `=`",
            ),
            "->" if self.expects(Rule::clause_word) || self.expects(Rule::fat_arrow) => {
                say("expected `=>`, found `->`", "a target stands behind `=>`")
            }
            "=>" if self.expects(Rule::arrow) => say(
                "expected `->`, found `=>`",
                "the two sides of a flow are joined by `->`",
            ),
            _ if self.is_list_for_in() => say(
                "`in` needs a list of values",
                "put the values in braces: `in { 53, 5353 }`",
            ),
            "=" if self.expects(Rule::clause_word) => say(
                "unexpected `=`",
                "a target stands behind `=>`, a condition behind `when`",
            ),
            _ => None,
        }
    }

    /// Whether the failure is at the value of `udp.sport in 53`.
    fn is_list_for_in(&self) -> bool {
        let field = self
            .found
            .checked_sub(2)
            .map_or("", |index| self.text(index));
        (self.expects(Rule::iface) || self.expects(Rule::ifaces))
            && self
                .previous()
                .is_some_and(|token| token.text(self.source) == "in")
            && field.contains('.')
    }

    /// A word that is nearly a keyword, here or just before.
    fn misspelt(&self) -> Option<SyntaxError> {
        let candidates = words::candidates(self.expected, self.place);
        let near = |token: Token, candidates: &[&'static str]| {
            let word = token.text(self.source);
            if token.kind != Kind::Word || is_reserved(word) || SPECIAL.contains(&word) {
                return None;
            }
            nearest(word, candidates).map(|meant| {
                Self::error(
                    SyntaxErrorKind::Misspelt,
                    token.span,
                    format!("unknown word `{word}`"),
                )
                .help(format!("did you mean `{meant}`?"))
            })
        };
        if let Some(error) = self.found().and_then(|token| near(token, &candidates)) {
            return Some(error);
        }
        // A misspelt keyword can pass for a name: `allow fom @admins`.
        let before = self.found.checked_sub(1).filter(|&index| index > 0)?;
        let names = [VERBS, CLAUSES].concat();
        near(self.token(before)?, &names)
    }

    /// A keyword that has grown together with the word behind it.
    fn glued_keyword(&self) -> Option<SyntaxError> {
        let token = self.found().filter(|token| token.kind == Kind::Word)?;
        let word = token.text(self.source);
        if is_reserved(word) {
            return None;
        }
        let candidates = words::candidates(self.expected, self.place);
        let keyword = candidates
            .into_iter()
            .filter(|keyword| keyword.len() > 1 && word.len() > keyword.len() + 1)
            .filter(|keyword| word.starts_with(keyword))
            .max_by_key(|keyword| keyword.len())?;
        let comma = if self.expects(Rule::comma) && self.previous().is_some() {
            "; if it belongs to the list, a comma is missing before it"
        } else {
            ""
        };
        Some(self.unexpected().help(format!(
            "keywords are whole words: `{word}` is not `{keyword}`{comma}"
        )))
    }

    /// Two elements of a list without a comma.
    fn missing_comma(&self) -> Option<SyntaxError> {
        let token = self.found()?;
        if !self.expects(Rule::comma) || self.found == 0 {
            return None;
        }
        let word = token.text(self.source);
        let previous = self.previous()?;
        let listed = |token: Token| match token.kind {
            Kind::Word => {
                !is_reserved(token.text(self.source)) && !token.text(self.source).ends_with(':')
            }
            Kind::Str | Kind::Close(_) => true,
            _ => false,
        };
        let element = match token.kind {
            Kind::Word | Kind::Str => listed(token),
            Kind::Open(b'{' | b'[') => !self.expects(Rule::open) && !self.expects(Rule::block),
            _ => false,
        };
        if !element || !listed(previous) {
            return None;
        }
        let message = format!("a comma is missing before `{word}`");
        Some(
            Self::error(SyntaxErrorKind::MissingComma, token.span, message)
                .help("the elements of a list are separated by commas"),
        )
    }

    /// A keyword where a name is needed.
    fn keyword_as_name(&self) -> Option<SyntaxError> {
        let token = self.found().filter(|token| token.kind == Kind::Word)?;
        let word = token.text(self.source);
        let names = [
            Rule::name,
            Rule::iface,
            Rule::word,
            Rule::ifaces,
            Rule::services,
            Rule::rule_word,
        ];
        let wanted = names.iter().any(|&rule| self.expects(rule));
        let only = self
            .expected
            .iter()
            .filter(|&&rule| words::words(rule).is_some())
            .count()
            <= 2;
        if !(wanted && only && (SPECIAL.contains(&word) || is_reserved(word))) {
            return None;
        }
        let error = self.unexpected();
        Some(error.help(format!(
            "`{word}` is a word of the language and cannot be a name"
        )))
    }

    /// Parts of a rate in the wrong order.
    fn wrong_order(&self) -> Option<SyntaxError> {
        let token = self.found()?;
        let rate = self
            .tokens
            .iter()
            .take(self.found)
            .any(|t| t.text(self.source) == "per");
        (token.text(self.source) == "burst" && rate).then(|| {
            self.unexpected()
                .help("`burst` stands before `per`: `10/s burst 20 per source`")
        })
    }

    /// What was expected, and what was found.
    fn unexpected(&self) -> SyntaxError {
        let unexpected = SyntaxErrorKind::Unexpected;
        let expected = self.expectation();
        if let Some(token) = self.found() {
            let found = shorten(token.text(self.source));
            let message = match expected {
                Some(expected) => format!("expected {expected}, found `{found}`"),
                None => format!("unexpected `{found}`"),
            };
            let start = self.found == 0 && matches!(self.place, Place::Block | Place::Template);
            let error = Self::error(unexpected, token.span, message);
            return if start && token.kind == Kind::Word {
                error.help(format!("the verbs are {}", list(VERBS)))
            } else {
                error
            };
        }
        let Some(last) = self.tokens.last() else {
            return Self::error(unexpected, Span::default(), "expected a statement");
        };
        let word = shorten(last.text(self.source));
        let message = match expected {
            Some(expected) => format!("expected {expected} after `{word}`"),
            None => format!("something is missing after `{word}`"),
        };
        Self::error(unexpected, last.span, message)
    }

    /// The expected things as one phrase.
    fn expectation(&self) -> Option<String> {
        let mut all: Vec<&str> = Vec::new();
        let mut last: Vec<&str> = Vec::new();
        for &tried in self.expected {
            let needless = match tried {
                // Allowed by the grammar behind a rule, but not what one expects there.
                Rule::block | Rule::open => self.is_rule() && self.expects(Rule::comma),
                Rule::slash => self.expects(Rule::comma),
                Rule::flows => self.expects(Rule::unit),
                _ => false,
            };
            let Some(words) = words::words(tried).filter(|_| !needless) else {
                continue;
            };
            let clause = matches!(tried, Rule::clause | Rule::clause_word);
            let part = if clause { &mut last } else { &mut all };
            if !part.contains(&words) {
                part.push(words);
            }
        }
        all.append(&mut last);
        match all.as_slice() {
            [] => None,
            [one] => Some((*one).to_owned()),
            [most @ .., last] => Some(format!("{} or {last}", most.join(", "))),
        }
    }

    fn is_rule(&self) -> bool {
        VERBS.contains(&self.text(0)) || SHARED.contains(&self.text(0))
    }
}

/// A token's text, cut when it is long.
fn shorten(text: &str) -> String {
    const MOST: usize = 40;
    if text.chars().count() <= MOST {
        return text.to_owned();
    }
    text.chars().take(MOST).chain(['…']).collect()
}

/// Words as a phrase.
fn list(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    quoted.join(", ")
}
