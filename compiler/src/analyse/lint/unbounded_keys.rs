//! POL405

use super::{Context, lint};
use crate::diagnostic::{Diagnostic, Edit, Fix};
use crate::policy::Value;
use crate::source::Span;

lint! {
    /// A bucket with a key, or a dynamic set, does not say how many keys it remembers.
    ///
    /// The number is then that of `max_keys` in `polc.yaml`, the same for a bucket of whole networks
    /// and for one of single IPv6 addresses. It bounds the memory that a flood of forged sources
    /// costs, and says from which number of keys on new ones are treated as `full` says. Both are
    /// worth a decision.
    ///
    /// Rates that are written in a rule cannot have a `max` and are not meant.
    ///
    /// ## Bad
    ///
    /// ```pol
    /// bucket pps = 2000 packets/s burst 4k per source
    ///
    /// guard on eth0 {
    ///   deny over pps
    ///   default allow
    /// }
    /// ```
    ///
    /// ## Good
    ///
    /// ```pol
    /// bucket pps = 2000 packets/s burst 4k per source max 262144
    ///
    /// guard on eth0 {
    ///   deny over pps
    ///   default allow
    /// }
    /// ```
    ///
    /// ## Fix
    ///
    /// `max 65536` is added.
    pub(super) static LINT: "POL405" "unbounded-dynamic-set" Warning, Default, Syntactic, fix;
    "A keyed bucket or dynamic set does not say how many keys it has."
}

pub(super) fn check(cx: &Context, out: &mut Vec<Diagnostic>) {
    for definition in &cx.policy.definitions {
        let unbounded = match definition.value {
            Value::Bucket(at) => {
                let bucket = cx.policy.buckets.get(at);
                bucket
                    .filter(|b| b.key.is_some() && b.max.is_none())
                    .map(|_| "bucket")
            }
            Value::Dynamic(at) => {
                let set = cx.policy.dynamic.get(at);
                set.filter(|set| set.max.is_none()).map(|_| "set")
            }
            _ => None,
        };
        let Some(kind) = unbounded else { continue };
        let title = format!(
            "the {kind} `{}` does not say how many keys it has",
            definition.name
        );
        let diagnostic = LINT
            .report(title, definition.span)
            .help("add `max 65536`, or what its memory is worth");
        let end = end(cx, definition.span).filter(|_| cx.is_own(definition.span));
        out.push(match end {
            Some(end) => diagnostic.fix(bound(end)),
            None => diagnostic,
        });
    }
}

/// The end of the item at a place.
fn end(cx: &Context, span: Span) -> Option<Span> {
    let item = cx.around(span).into_iter().last()?;
    let item = Span::new(span.file, item.span);
    let text = cx.text_of(item).trim_end();
    let end = item.start.checked_add(u32::try_from(text.len()).ok()?)?;
    Some(Span {
        start: end,
        end,
        ..item
    })
}

fn bound(end: Span) -> Fix {
    Fix {
        safe: true,
        title: "remember at most 65536".to_owned(),
        edits: vec![Edit {
            span: end,
            text: " max 65536".to_owned(),
        }],
    }
}
