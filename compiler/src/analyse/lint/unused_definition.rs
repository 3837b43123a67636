//! POL705

use super::{Context, lint};
use crate::diagnostic::Diagnostic;
use crate::policy::{Definition, Value};

lint! {
    /// A set, service, zone, bucket, proxy, template or parameter of the policy's own file is used by
    /// nothing.
    ///
    /// Nobody tests what is not used. It misleads: who sees a set `admins` believes that somebody is
    /// let in by it. Perhaps a rule has another name in it than was meant.
    ///
    /// Definitions of files that the policy uses are not looked at: another policy may need them. Nor
    /// are those of a file without blocks, which is a library.
    ///
    /// ## Bad
    ///
    /// ```pol
    /// set admins = { 192.0.2.0/28 }
    ///
    /// to host {
    ///   allow https
    ///   default deny
    /// }
    /// ```
    ///
    /// ## Good
    ///
    /// ```pol
    /// set admins = { 192.0.2.0/28 }
    ///
    /// to host {
    ///   allow https
    ///   allow ssh from @admins
    ///   default deny
    /// }
    /// ```
    ///
    /// ## Fix
    ///
    /// The definition is deleted. A parameter is not: somebody may give it a value.
    pub(super) static LINT: "POL705" "unused-definition" Warning, Default, Syntactic, fix;
    "A definition that nothing uses."
}

pub(super) fn check(cx: &Context, out: &mut Vec<Diagnostic>) {
    if !cx.has_blocks() {
        return;
    }
    let unused = cx.policy.definitions.iter();
    for definition in unused.filter(|d| !d.used && cx.is_own(d.span)) {
        let (kind, name) = (kind(definition), &definition.name);
        let diagnostic = LINT
            .report(format!("nothing uses the {kind} `{name}`"), definition.span)
            .help("use it or delete it");
        let deletable = !matches!(definition.value, Value::Param);
        let fix = deletable.then(|| cx.delete(definition.span, "delete the definition"));
        out.push(match fix.flatten() {
            Some(fix) => diagnostic.fix(fix),
            None => diagnostic,
        });
    }
}

fn kind(definition: &Definition) -> &'static str {
    match definition.value {
        Value::Set(_) | Value::Dynamic(_) => "set",
        Value::Service(_) => "service",
        Value::Zone(_) => "zone",
        Value::Bucket(_) => "bucket",
        Value::Proxy(_) => "proxy",
        Value::Template => "template",
        Value::Param => "parameter",
    }
}

#[cfg(test)]
mod tests {
    use crate::analyse::lint::testing::found;

    #[test]
    fn every_kind_is_found_and_parameters_are_kept() {
        let text = "set a = {} set b = @a service s = ssh zone z = eth0 bucket u = 3/s
                    param p: port = 22 template t() { allow ssh }
                    to host { default deny }";
        let found = found("POL705", text);
        let titles: Vec<_> = found
            .iter()
            .map(|d| (d.title.as_str(), d.fix.is_some()))
            .collect();
        assert_eq!(
            titles,
            [
                ("nothing uses the set `b`", true),
                ("nothing uses the service `s`", true),
                ("nothing uses the zone `z`", true),
                ("nothing uses the bucket `u`", true),
                ("nothing uses the parameter `p`", false),
                ("nothing uses the template `t`", true),
            ]
        );
    }

    #[test]
    fn a_library_is_not_judged() {
        assert!(found("POL705", "set a = { 192.0.2.1 }").is_empty());
    }
}
