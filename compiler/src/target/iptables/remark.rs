//! Where the kernel does something else than the policy says.

use super::Build;
use crate::diagnostic::{Code, Diagnostic};

impl Build<'_> {
    /// Warnings about what has been lowered in both families.
    pub(super) fn remarks(&self) -> Vec<Diagnostic> {
        let buckets = self.ir.buckets.iter().enumerate();
        let doubled = buckets.filter(|(id, _)| {
            let asked = |family| self.unkeyed.contains(&(*id, family));
            asked("v4") && asked("v6")
        });
        let remark = |(_, bucket): (usize, &crate::ir::Bucket)| {
            let title = format!(
                "IPv4 and IPv6 each get all of `{}`: target `iptables` counts by family",
                bucket.name
            );
            let help = "write a rule for each family with half of it, if the sum matters";
            Diagnostic::warning(Code::FamilyScope, title, bucket.span).help(help)
        };
        doubled.map(remark).collect()
    }
}
