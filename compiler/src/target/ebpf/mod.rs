//! eBPF: programs and map data that are made here, without a compiler on the user's machine.
//!
//! A program parses a packet, classifies it, and acts, in three parts that can be told apart in its
//! listing: `parse` writes what the rules ask for into a `record`, [`classify`] makes tables and the
//! plan of reading them, which `lookup` turns into instructions, and `act` does what the answer says.
//!
//! Programs are specialised: what no rule asks for is not read, and there is a program for each
//! class of interfaces that rules tell apart, once for Ethernet and once for frames without a header of
//! the link: both read the same tables.

mod act;
mod build;
mod bundle;
mod choice;
pub mod classify;
mod dynamic;
mod filter;
mod guard;
mod hook;
mod iface;
mod leave;
mod limit;
mod link;
mod list;
mod log;
mod look;
mod lookup;
mod nat;
mod needs;
mod noted;
mod parse;
mod rate;
mod record;
mod refuse;
mod rows;
mod sender;
mod sets;
mod socket;
mod soft;
mod state;
mod steer;
mod table;

use std::collections::BTreeMap;
use std::sync::Arc;

use polc_bpf::asm::{AsmError, Program};
use polc_bundle::{Bundle, ProgramHook, ProgramStage, Unresolved};

use self::build::Build;
pub use self::hook::Hook;
pub use self::needs::{Need, Needs};
pub use self::sets::SetData;
use super::{Capability, Options, Target};
use crate::diagnostic::{Code, Diagnostic, sort};
use crate::ir::{Ir, Stage};
use crate::packet::Pattern;
use crate::source::{SourceMap, Span};

/// The target `ebpf`.
#[derive(Clone, Copy, Debug)]
pub struct Ebpf;

impl Target for Ebpf {
    fn name(&self) -> &'static str {
        "ebpf"
    }

    fn has(&self, capability: Capability) -> bool {
        // A driver may take the VLAN tag out of the frame before a program sees it, and behind guard a
        // frame may have another Ethernet header. Programs before routing know no sections.
        let lacks = [Capability::DestEther, Capability::StrictAsked];
        capability.is_beyond_iptables() && !lacks.contains(&capability)
    }

    fn emit(
        &self,
        ir: &Ir,
        sources: &SourceMap,
        options: &Options,
    ) -> Result<Bundle, Vec<Diagnostic>> {
        let mut refused = refuse::policy(ir);
        if !refused.is_empty() {
            sort(&mut refused);
            return Err(refused);
        }
        let counting = options.counted(ir);
        let mut build = Build::new(&counting, sources, options);
        build.guard(guard_hook(ir))?;
        build.flows()?;
        bundle::bundle(&counting, sources, build.finish()?)
            .map_err(|error| vec![failed(&error, ir)])
    }
}

/// The programs of a policy.
#[derive(Clone, Debug)]
pub struct Programs {
    /// An ELF object with the programs, their maps and their tables.
    pub object: Vec<u8>,
    /// The programs, and which interfaces they are for, in the order in which patterns are to be
    /// tried.
    pub programs: Vec<Attached>,
    /// The rules that count, in the order of their counters: places in their stages.
    pub counted: Vec<(Stage, usize)>,
    /// The programs as text.
    pub listing: String,
    /// What the programs use that not every kernel with the hook has.
    pub needs: Needs,
    /// The maps of the object that outlive an apply, by name.
    pub state: Vec<String>,
    /// What a loader has to fill maps of the object with before programs run.
    pub sets: Vec<SetData>,
    /// The numbers in the log of the rules that log, by name.
    pub log_ids: BTreeMap<Arc<str>, u32>,
    /// The classes of interfaces that programs ask for by number.
    pub classes: Vec<(Pattern, u64)>,
    /// The programs for sockets.
    pub sockets: Vec<ForSockets>,
    /// What a loader has to look up and fill the map `principals` with, by place.
    pub unresolved: Vec<Unresolved>,
}

/// A program for the sockets of all processes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForSockets {
    /// Its name in the object.
    pub name: String,
    /// Where the kernel meets it.
    pub hook: ProgramHook,
    /// Which part of the policy needs it.
    pub stage: ProgramStage,
}

/// A program, and where it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attached {
    /// Its name in the object; none for interfaces that no rule speaks of.
    pub name: Option<String>,
    /// The name of the one that does the same with frames that begin with the header of IP.
    pub bare: Option<String>,
    /// Where the kernel meets it.
    pub hook: Hook,
    /// Which part of the policy it is, or would be.
    pub stage: ProgramStage,
    /// The interfaces: those that the pattern means and no earlier one of the hook and stage does.
    pub pattern: Pattern,
}

/// The guard of a policy as programs for a hook, or one error for each thing that these cannot do.
pub fn guard(
    ir: &Ir,
    sources: &SourceMap,
    hook: Hook,
    options: &Options,
) -> Result<Programs, Vec<Diagnostic>> {
    let refused = refuse::guard(ir, hook);
    if !refused.is_empty() {
        return Err(refused);
    }
    let mut build = Build::new(ir, sources, options);
    build.guard(hook)?;
    build.finish()
}

/// The filter of a policy as programs, or one error for each thing that these cannot do.
pub fn filter(
    ir: &Ir,
    sources: &SourceMap,
    options: &Options,
) -> Result<Programs, Vec<Diagnostic>> {
    let refused = refuse::filter(ir);
    if !refused.is_empty() {
        return Err(refused);
    }
    let mut build = Build::new(ir, sources, options);
    build.flows()?;
    build.finish()
}

/// The steer, filter and egress of a policy as programs, or one error for each thing that these cannot do.
pub fn flows(ir: &Ir, sources: &SourceMap, options: &Options) -> Result<Programs, Vec<Diagnostic>> {
    let mut refused = refuse::filter(ir);
    refused.extend(refuse::steered(ir));
    if !refused.is_empty() {
        return Err(refused);
    }
    let mut build = Build::new(ir, sources, options);
    build.flows()?;
    build.finish()
}

/// The program that answers `SO_ORIGINAL_DST` from the flow table, whose maps have these names.
pub fn original_destination(flows: [&str; 2]) -> Result<Program, AsmError> {
    socket::original("getsockopt", flows)
}

/// Where the guard of a policy runs: nothing can be noted on frames before the kernel has made packets of them.
fn guard_hook(ir: &Ir) -> Hook {
    if noted::untracks(ir) || ir.guard.iter().any(|rule| rule.effects.mark.is_some()) {
        Hook::Ingress
    } else {
        Hook::Xdp
    }
}

/// A program that cannot be made.
fn failed(error: &dyn std::error::Error, ir: &Ir) -> Diagnostic {
    let span = ir
        .rules()
        .next()
        .map_or_else(Span::default, |(_, r)| r.span);
    let title = format!("there is no program for these rules: {error}");
    Diagnostic::error(Code::Unsupported, title, span)
        .help("build for `nftables`, or write fewer rules")
}
