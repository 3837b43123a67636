//! Bugs in what rules decide.

use polc_compiler::ir::{Down, Ir, Reject, Rule, Verdict};

/// The default at the end of filter lets pass what it should refuse.
pub(super) fn missing_drop(ir: &mut Ir) {
    let last = ir.filter.last_mut().filter(|rule| rule.is_default);
    if let Some(rule) = last
        && matches!(rule.verdict, Some(Verdict::Deny | Verdict::Reject(_)))
    {
        rule.verdict = Some(Verdict::Allow);
    }
}

/// The first default of filter that can be told from the right one. That the last one lets pass what
/// it should drop is [`missing_drop`].
pub(super) fn wrong_default(ir: &mut Ir) {
    let end = ir.filter.len().saturating_sub(1);
    let rules = ir.filter.iter_mut().enumerate();
    for (at, rule) in rules.filter(|(_, rule)| rule.is_default) {
        let wrong = match rule.verdict {
            Some(Verdict::Reject(_)) => Verdict::Deny,
            Some(Verdict::Deny) if at < end => Verdict::Allow,
            _ => continue,
        };
        rule.verdict = Some(wrong);
        return;
    }
}

/// What a proxy that is down cannot take goes on, at every proxy that a rule uses.
pub(super) fn missing_proxy_drop(ir: &mut Ir) {
    for (id, proxy) in ir.proxies.iter_mut().enumerate() {
        let goes_there = |rule: &Rule| rule.verdict == Some(Verdict::Proxy(id));
        if ir.steer.iter().any(goes_there) {
            proxy.down = Down::Direct;
        }
    }
}

/// Every refusal says that there is a ban, and those that did say something else.
pub(super) fn wrong_answer(ir: &mut Ir) {
    for rule in &mut ir.filter {
        if let Some(Verdict::Reject(answer)) = &mut rule.verdict {
            *answer = match answer {
                Reject::AdminProhibited => Reject::HostUnreachable,
                _ => Reject::AdminProhibited,
            };
        }
    }
}
