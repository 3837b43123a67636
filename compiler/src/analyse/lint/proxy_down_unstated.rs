//! POL301

use polc_grammar::ast::{Item, ProxyOption};

use super::{Context, lint};
use crate::diagnostic::{Diagnostic, Edit, Fix};
use crate::policy::Value;
use crate::source::Span;

lint! {
    /// A proxy does not say what becomes of its flows while nobody listens.
    ///
    /// `down deny` drops them, `down direct` lets them go past the proxy. Proxies are there to look
    /// at traffic, to hide it or to pass it on, and for each of these another answer is right. What
    /// holds without the line is `deny`; a reader should not have to know.
    ///
    /// ## Bad
    ///
    /// ```pol
    /// zone lan = br0
    ///
    /// proxy box {
    ///   listen tcp at 127.0.0.1:12345
    ///   mark   0x1/0xff
    ///   table  100
    /// }
    ///
    /// steer { proxy tcp from lan to 198.51.100.0/24 via box }
    /// ```
    ///
    /// ## Good
    ///
    /// ```pol
    /// zone lan = br0
    ///
    /// proxy box {
    ///   listen tcp at 127.0.0.1:12345
    ///   mark   0x1/0xff
    ///   table  100
    ///   down   direct
    /// }
    ///
    /// steer { proxy tcp from lan to 198.51.100.0/24 via box }
    /// ```
    ///
    /// ## Fix
    ///
    /// `down deny` is added: what holds without it.
    pub(super) static LINT: "POL301" "proxy-down-unstated" Error, Default, Syntactic, fix;
    "A proxy does not say what happens while nobody listens."
}

pub(super) fn check(cx: &Context, out: &mut Vec<Diagnostic>) {
    let definitions = cx.policy.definitions.iter();
    for proxy in definitions.filter(|d| matches!(d.value, Value::Proxy(_))) {
        let syntax = cx.syntax(proxy.span.file);
        let mut items = syntax.items.iter();
        let Some(options) = items.find_map(|item| match &item.node {
            Item::Proxy(p) if p.name.span.start == proxy.span.start => Some(&p.options),
            _ => None,
        }) else {
            continue;
        };
        let is_down = |option: &ProxyOption| matches!(option, ProxyOption::Down(_));
        if options.iter().any(|option| is_down(&option.node)) {
            continue;
        }
        let title = format!(
            "the proxy `{}` does not say what happens while nobody listens",
            proxy.name
        );
        let diagnostic = LINT
            .report(title, proxy.span)
            .help("add `down deny`, which holds now, or `down direct`");
        let last = options.last().filter(|_| cx.is_own(proxy.span));
        out.push(match last {
            Some(last) => diagnostic.fix(add_down(Span::new(proxy.span.file, last.span))),
            None => diagnostic,
        });
    }
}

fn add_down(last: Span) -> Fix {
    Fix {
        safe: true,
        title: "say that they are dropped".to_owned(),
        edits: vec![Edit {
            span: Span {
                start: last.end,
                ..last
            },
            text: "\n  down   deny".to_owned(),
        }],
    }
}
