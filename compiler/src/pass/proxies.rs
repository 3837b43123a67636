//! Proxies that get nothing.

use crate::ir::{Ir, Verdict};

/// Leaves out the proxies that no rule names: nothing is done for them.
pub fn drop_unnamed(ir: &mut Ir) {
    let named = |id: usize| {
        let mut rules = ir.steer.iter();
        rules.any(|rule| matches!(rule.verdict, Some(Verdict::Proxy(of)) if of == id))
    };
    let kept: Vec<usize> = (0..ir.proxies.len()).filter(|id| named(*id)).collect();
    for rule in &mut ir.steer {
        if let Some(Verdict::Proxy(id)) = &mut rule.verdict
            && let Some(place) = kept.iter().position(|kept| kept == id)
        {
            *id = place;
        }
    }
    let mut number = 0..;
    ir.proxies
        .retain(|_| number.next().is_some_and(|id| kept.contains(&id)));
}

#[cfg(test)]
mod tests {
    use std::io;

    use polc_bundle::Bundle;

    use crate::ir::Verdict;
    use crate::target::{self, Options};
    use crate::{Compilation, Files, compile};

    struct NoFiles;

    impl Files for NoFiles {
        fn read(&self, _: &str) -> io::Result<String> {
            Err(io::ErrorKind::NotFound.into())
        }
    }

    fn compiled(blocks: &str) -> Compilation {
        let text = format!(
            "policy p
             proxy one {{ listen tcp at 127.0.0.1:1 mark 0x1/0xf table 100 }}
             proxy two {{ listen tcp at 127.0.0.1:2 mark 0x2/0xf table 101 }}
             {blocks}"
        );
        compile("p.pol", &text, &NoFiles, &crate::Options::default())
    }

    #[test]
    fn rules_keep_their_proxies() {
        let ir = compiled("steer { proxy tcp only v4 via two }  default deny")
            .ir
            .unwrap();
        assert_eq!(ir.proxies.len(), 1);
        assert_eq!(&*ir.proxies[0].name, "two");
        assert_eq!(ir.steer[0].verdict, Some(Verdict::Proxy(0)));
    }

    #[test]
    fn nothing_is_done_for_a_proxy_that_no_rule_names() {
        let with = compiled("to host { default allow }");
        let without = compile(
            "p.pol",
            "policy p to host { default allow }",
            &NoFiles,
            &crate::Options::default(),
        );
        assert_eq!(with.ir.as_ref().map(|ir| ir.proxies.len()), Some(0));
        // What is loaded, but for the lines that say from which text it was made.
        let script = |bundle: &Bundle, name: &str| {
            let lines = bundle.file(name).into_iter().flat_map(str::lines);
            let own = lines.filter(|line| !line.contains("polc ") && !line.contains("generation"));
            own.map(str::to_owned).collect::<Vec<_>>()
        };
        for target in target::all() {
            let [with, without] = [&with, &without].map(|made| {
                let ir = made.ir.as_ref().unwrap();
                let bundle = target.emit(ir, &made.sources, &Options::default());
                let bundle = bundle.unwrap();
                let manifest = bundle.manifest();
                let needed = (manifest.routing.clone(), manifest.sysctls.clone());
                let scripts = ["policy.nft", "policy.v4", "policy.v6"];
                (needed, scripts.map(|name| script(&bundle, name)))
            });
            assert_eq!(with, without, "{}", target.name());
        }
    }
}
