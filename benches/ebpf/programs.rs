//! Programs that guards are measured beside: one that does nothing, one that only reads the five
//! fields, and one that looks the source up in a trie of the kernel.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use aya::maps::lpm_trie::{Key, LpmTrie};

use aya::programs::{ProgramError, ProgramFd, Xdp};
use aya::{Ebpf, EbpfLoader};
use aya_obj::programs::XdpAttachType;
use polc_bpf::asm::{Assembler, Isa, Label, Program};
use polc_bpf::insn::Cond::{Eq, Gt, Ne};
use polc_bpf::insn::Reg::{R0, R1, R2, R3, R4, R5, R7, R10};
use polc_bpf::insn::Width::{B, DW, H, W};
use polc_bpf::insn::{Helper, SwapBits};
use polc_bpf::map::{Map, MapFlags, MapType, Shape};
use polc_bpf::object::{Object, Section};
use polc_compiler::target::ebpf::SetData;
use polc_runtime_loader::fill_set;

use crate::driver::HEADER;

const DROP: i32 = 1;
pub(crate) const PASS: i32 = 2;

const NETWORKS4: &str = "networks4";
const NETWORKS6: &str = "networks6";

/// Whether programs can be run.
pub(crate) fn possible() -> bool {
    object([unused()], empty()).is_some_and(|object| Ebpf::load(&object).is_ok())
}

/// A loaded object, and one program of it.
pub(crate) struct Measured {
    loaded: Ebpf,
    name: String,
    /// How long it took to load.
    pub(crate) loading: Duration,
}

impl Measured {
    /// Loads a program and what is in sets; or says why the kernel does not take it, in a line.
    pub(crate) fn new(object: &[u8], name: &str, sets: &[SetData]) -> Result<Self, String> {
        let start = Instant::now();
        let loaded = load(object, name, sets).map_err(|error| {
            let error = error.to_string();
            let refusal = error.lines().find(|line| line.starts_with("BPF program"));
            refusal.unwrap_or(&error).to_owned()
        })?;
        Ok(Self {
            loaded,
            name: name.to_owned(),
            loading: start.elapsed(),
        })
    }

    /// One of the programs below.
    fn of(program: Program, maps: impl IntoIterator<Item = Map>) -> Self {
        let name = program.name().to_owned();
        Self::new(&object(maps, program).unwrap(), &name, &[]).unwrap()
    }

    /// Does nothing.
    pub(crate) fn empty() -> Self {
        Self::of(empty(), [unused()])
    }

    /// Reads the five fields, and does nothing with them.
    pub(crate) fn parse() -> Self {
        Self::of(parse(), [unused()])
    }

    /// Looks the source up in maps of the kernel made for networks, one for each family.
    pub(crate) fn trie(networks: &[(IpAddr, u8)]) -> Self {
        let entries = u32::try_from(networks.len()).unwrap();
        let maps = [(NETWORKS4, 8), (NETWORKS6, 20)].map(|(name, key)| {
            let shape = Shape::new(MapType::LpmTrie, key, 4, entries);
            Map::new(name, shape.with_flags(MapFlags::NO_PREALLOC))
        });
        let start = Instant::now();
        let mut made = Self::of(trie(), maps);
        let map = made.loaded.take_map(NETWORKS4).unwrap();
        let mut v4: LpmTrie<_, [u8; 4], u32> = map.try_into().unwrap();
        let map = made.loaded.take_map(NETWORKS6).unwrap();
        let mut v6: LpmTrie<_, [u8; 16], u32> = map.try_into().unwrap();
        for (addr, len) in networks {
            let len = u32::from(*len);
            match addr {
                IpAddr::V4(addr) => v4.insert(&Key::new(len, addr.octets()), 1, 0).unwrap(),
                IpAddr::V6(addr) => v6.insert(&Key::new(len, addr.octets()), 1, 0).unwrap(),
            }
        }
        made.loading = start.elapsed();
        made
    }

    pub(crate) fn fd(&self) -> &ProgramFd {
        let program: &Xdp = self.loaded.program(&self.name).unwrap().try_into().unwrap();
        program.fd().unwrap()
    }

    /// Gives a set other contents.
    pub(crate) fn refill(&mut self, set: &SetData) {
        fill_set(&mut self.loaded, &set.map, &set.bytes).unwrap();
    }

    /// Another handle of the program.
    pub(crate) fn handle(&self) -> Xdp {
        let program: &Xdp = self.loaded.program(&self.name).unwrap().try_into().unwrap();
        let info = program.info().unwrap();
        Xdp::from_program_info(info, self.name.clone().into(), XdpAttachType::Interface).unwrap()
    }

    /// How many instructions the verifier has looked at.
    pub(crate) fn verified(&self) -> u32 {
        let program: &Xdp = self.loaded.program(&self.name).unwrap().try_into().unwrap();
        let looked = program.info().unwrap().verified_instruction_count();
        looked.unwrap_or(0)
    }
}

pub(crate) fn load(object: &[u8], name: &str, sets: &[SetData]) -> Result<Ebpf, ProgramError> {
    let mut loaded = EbpfLoader::new().load(object).unwrap();
    for set in sets {
        fill_set(&mut loaded, &set.map, &set.bytes).unwrap();
    }
    let program: &mut Xdp = loaded.program_mut(name).unwrap().try_into()?;
    program.load()?;
    Ok(loaded)
}

fn unused() -> Map {
    Map::new("unused", Shape::new(MapType::Array, 4, 4, 1))
}

fn object(maps: impl IntoIterator<Item = Map>, program: Program) -> Option<Vec<u8>> {
    let mut object = Object::new();
    maps.into_iter().for_each(|map| object.map(map));
    object.program(Section::Xdp, program);
    object.write().ok()
}

fn empty() -> Program {
    let mut asm = Assembler::new("empty");
    asm.mov(R0, PASS);
    asm.exit();
    asm.finish(Isa::V4).unwrap()
}

/// `R2` points to an Ethernet frame with the headers of an IP version and ports. Goes to `v6`, or on
/// with IPv4.
fn headers(asm: &mut Assembler, v6: Label) {
    let [fail, ipv4] = ["fail", "ipv4"].map(|name| asm.label(name));
    asm.load(W, R2, R1, 0);
    asm.load(W, R3, R1, 4);
    asm.mov(R4, R2);
    asm.add(R4, i32::from(HEADER) - 2);
    asm.jump_if(Gt, R4, R3, fail);
    asm.load(H, R5, R2, 12);
    asm.to_be(SwapBits::B16, R5);
    asm.jump_if(Eq, R5, 0x86dd, v6);
    asm.jump_if(Ne, R5, 0x0800, fail);
    asm.load(B, R5, R2, 14);
    asm.jump_if(Eq, R5, 0x45, ipv4);
    asm.bind(fail);
    asm.mov(R0, DROP);
    asm.exit();
    asm.bind(ipv4);
}

fn parse() -> Program {
    let mut asm = Assembler::new("parse");
    let v6 = asm.label("v6");
    headers(&mut asm, v6);
    for (at, offset) in [(-8, 26), (-16, 30)] {
        asm.load(W, R5, R2, offset);
        asm.to_be(SwapBits::B32, R5);
        asm.store(DW, R10, at, R5);
    }
    ports(&mut asm, 23, 34);
    asm.bind(v6);
    for (at, offset) in [(-8, 22), (-16, 30), (-48, 38), (-56, 46)] {
        asm.load(DW, R5, R2, offset);
        asm.to_be(SwapBits::B64, R5);
        asm.store(DW, R10, at, R5);
    }
    ports(&mut asm, 20, 54);
    asm.finish(Isa::V4).unwrap()
}

/// Reads the protocol and the ports, and ends.
fn ports(asm: &mut Assembler, proto: i16, first: i16) {
    let [done, read] = ["done", "read"].map(|name| asm.label(name));
    asm.load(B, R7, R2, proto);
    asm.store(DW, R10, -24, R7);
    asm.jump_if(Eq, R7, 6, read);
    asm.jump_if(Ne, R7, 17, done);
    asm.bind(read);
    for (at, offset) in [(-32, first), (-40, first + 2)] {
        asm.load(H, R5, R2, offset);
        asm.to_be(SwapBits::B16, R5);
        asm.store(DW, R10, at, R5);
    }
    asm.bind(done);
    asm.mov(R0, PASS);
    asm.exit();
}

fn trie() -> Program {
    let mut asm = Assembler::new("trie");
    let [v6, look, found] = ["v6", "look", "found"].map(|name| asm.label(name));
    headers(&mut asm, v6);
    asm.store(W, R10, -8, 32);
    asm.load(W, R5, R2, 26);
    asm.store(W, R10, -4, R5);
    asm.load_map(R1, NETWORKS4);
    asm.mov(R2, R10);
    asm.add(R2, -8);
    asm.call(Helper::MapLookupElem);
    asm.jump(look);
    asm.bind(v6);
    asm.store(W, R10, -20, 128);
    for (at, offset) in [(-16, 22), (-8, 30)] {
        asm.load(DW, R5, R2, offset);
        asm.store(DW, R10, at, R5);
    }
    asm.load_map(R1, NETWORKS6);
    asm.mov(R2, R10);
    asm.add(R2, -20);
    asm.call(Helper::MapLookupElem);
    asm.bind(look);
    asm.jump_if(Ne, R0, 0, found);
    asm.mov(R0, PASS);
    asm.exit();
    asm.bind(found);
    asm.mov(R0, DROP);
    asm.exit();
    asm.finish(Isa::V4).unwrap()
}
