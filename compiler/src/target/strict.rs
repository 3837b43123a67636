//! `strict tcp` beside `stateless` sections. It leaves alone what a packet's own destination, before steer, puts into
//! such a section. Targets that ask behind steer what a packet is in can only say so where that comes to the same.

use crate::field::{CT_MARK, META_MARK, TCP};
use crate::ir::{Atom, Balance, Block, DynamicId, Ir, Log, Rule, Stage, Verdict};

/// Steer rules behind which the filter may find packets of no flow in another section than they were sent to.
pub(crate) fn moves(ir: &Ir) -> impl Iterator<Item = &Rule> {
    let scopes = || stateless(ir).flat_map(|block| &block.scope);
    let mut fields = scopes().flat_map(|cube| cube.fields.keys());
    let asks_marks = fields.any(|field| [META_MARK, CT_MARK].contains(field));
    let asks_set = move |id: DynamicId| {
        let mut atoms = scopes().flat_map(|cube| cube.atoms.keys());
        atoms.any(|atom| matches!(atom, Atom::Dynamic { set, .. } if *set == id))
    };
    let moves = move |rule: &&Rule| {
        let elsewhere = matches!(rule.verdict, Some(Verdict::Dnat(_) | Verdict::Route { .. }));
        let marked = asks_marks && rule.effects.mark.is_some();
        let added = rule.effects.add.is_some_and(asks_set);
        (elsewhere || marked || added) && !rule.admit && is_of_tcp(rule)
    };
    asked(ir).filter(moves)
}

/// Steer rules that segments must not come to which are refused: they would leave something behind, or would not be
/// refused at all where the filter does not judge all that comes in.
pub(crate) fn remembers(ir: &Ir) -> impl Iterator<Item = &Rule> {
    let judges_all = ir.governs.input && ir.governs.forward;
    let remembers = move |rule: &&Rule| {
        let counts = |log: &Log| log.at.is_some();
        let turns = |verdict: &Verdict| {
            let Verdict::Dnat(nat) = verdict else {
                return false;
            };
            nat.balance == Some(Balance::RoundRobin)
        };
        let has_memory = !rule.limits.is_empty()
            || rule.effects.add.is_some()
            || rule.effects.log.as_ref().is_some_and(counts)
            || rule.verdict.as_ref().is_some_and(turns);
        !judges_all || has_memory && is_of_tcp(rule)
    };
    asked(ir).filter(remembers)
}

/// The rules of steer, in policies of this kind.
fn asked(ir: &Ir) -> impl Iterator<Item = &Rule> {
    let is_one = ir.strict_tcp && stateless(ir).next().is_some();
    ir.steer.iter().filter(move |_| is_one)
}

fn is_of_tcp(rule: &Rule) -> bool {
    rule.cubes.iter().any(|cube| cube.proto.contains(TCP))
}

fn stateless(ir: &Ir) -> impl Iterator<Item = &Block> {
    let blocks = ir.blocks.iter();
    blocks.filter(|block| block.stateless && block.stage == Stage::Filter)
}

#[cfg(test)]
mod tests {
    use std::io;

    use crate::target::{self, Capability, Options};
    use crate::{Files, compile};

    struct NoFiles;

    impl Files for NoFiles {
        fn read(&self, _: &str) -> io::Result<String> {
            Err(io::ErrorKind::NotFound.into())
        }
    }

    /// What `nftables`, `ebpf` and `iptables` refuse of a policy for not asking for a SYN where the language does.
    fn refused(scope: &str, steer: &str, default: &str) -> [Vec<Capability>; 3] {
        let text = format!(
            "policy p
             strict tcp
             steer {{ {steer} }}
             stateless {scope} to host {{ allow tcp/22  default deny }}
             {default}"
        );
        let made = compile("p.pol", &text, &NoFiles, &crate::Options::default());
        let ir = made.ir.unwrap();
        ["nftables", "ebpf", "iptables"].map(|name| {
            let target = target::find(name).unwrap();
            let errors = target.emit(&ir, &made.sources, &Options::default());
            let titles: Vec<String> = errors
                .err()
                .into_iter()
                .flatten()
                .map(|e| e.title)
                .collect();
            let known = [Capability::StrictMoved, Capability::StrictAsked];
            let is_among = |c: &Capability| titles.iter().any(|t| t.ends_with(c.describe()));
            known.into_iter().filter(is_among).collect()
        })
    }

    #[test]
    fn what_would_be_asked_too_late_is_refused() {
        use Capability::{StrictAsked, StrictMoved};
        let all = "default deny";
        let no = Vec::new;
        let dnat = "dnat tcp/80 only v4 => 10.0.0.2";
        let many = "dnat tcp/80 only v4 => 10.0.0.2, 10.0.0.3 balance";
        for fine in [
            &format!("{dnat} and allow"),
            &format!("{many} source and allow"),
            "redirect tcp/80 => :8080",
            "dnat udp/80 only v4 => 10.0.0.2",
            "deny udp/81 over 1/s",
            "match tcp mark 1/1 log",
        ] {
            assert_eq!(refused("from any", fine, all), [no(), no(), no()], "{fine}");
        }
        let every = |what: Capability| [(); 3].map(|()| vec![what]);
        let moved = every(StrictMoved);
        assert_eq!(refused("from any", dnat, all), moved);
        let route = "route tcp/80 from not 10.0.0.1 via table 201 mark 0x1/0x1";
        assert_eq!(refused("from any", route, all), moved);
        let marked = "from any when meta.mark == 1";
        assert_eq!(refused(marked, "match tcp mark 1/1", all), moved);
        let seen = "set seen = {} dynamic idle 1m\ndefault deny";
        let both = vec![StrictMoved, StrictAsked];
        assert_eq!(
            refused("from not @seen", "match tcp add @seen", seen),
            [vec![StrictMoved], both.clone(), both]
        );
        let other = "set seen = {} dynamic\nset other = {} dynamic\ndefault deny";
        let asked = [no(), vec![StrictAsked], vec![StrictAsked]];
        assert_eq!(
            refused("from not @seen", "match tcp add @other", other),
            asked
        );
        for rule in [
            "deny tcp/81 over 1/s",
            "match tcp log at 1/s",
            &format!("{many} roundrobin and allow"),
        ] {
            assert_eq!(refused("from any", rule, all), asked, "{rule}");
        }
        let host = "to host { default deny }";
        assert_eq!(refused("from any", "deny udp/81", host), asked);
    }
}
