//! aya loads objects, and the kernel runs their programs.

use aya::maps::{Array, ArrayOfMaps, HashMap, Map, MapData, SkStorage};
use aya::programs::{CgroupSock, CgroupSockAddr, CgroupSockopt, SkLookup, Xdp};
use aya::{Ebpf, EbpfLoader};
use polc_bpf::asm::{Assembler, Isa};
use polc_bpf::insn::Cond::Ne;
use polc_bpf::insn::Helper;
use polc_bpf::insn::Reg::{R0, R1, R9};
use polc_bpf::insn::Width::B;
use polc_bpf::map::{Map as MapDefinition, MapFlags, MapType, Shape};
use polc_bpf::object::{Object, Section};

use crate::sample::{self, DROP, INNER_ENTRIES, PASS};
use crate::support::{
    BpfFs, ObjectFile, answer, frame_from, load_classifier, load_xdp, possible, run,
};

#[test]
fn programs_do_what_they_say() {
    if !possible() {
        return;
    }
    let mut loaded = Ebpf::load(&sample::object().write().unwrap()).unwrap();
    load_xdp(&mut loaded, "edge_xdp");
    let ask = |loaded: &Ebpf, last: u8| {
        let program = loaded.program("edge_xdp").unwrap();
        let program: &Xdp = program.try_into().unwrap();
        answer(program, &frame_from([192, 0, 2, last]))
    };
    for last in [1, 2] {
        assert_eq!(ask(&loaded, last), PASS);
    }
    // The last address stands in the read-only data.
    assert_eq!(ask(&loaded, 3), DROP);

    let mut blocked: HashMap<_, [u8; 4], u32> =
        loaded.map_mut("blocked").unwrap().try_into().unwrap();
    blocked.insert([192, 0, 2, 1], 1, 0).unwrap();
    let mut inner: HashMap<MapData, [u8; 4], u32> = HashMap::create(INNER_ENTRIES, 1).unwrap();
    inner.insert([192, 0, 2, 2], 1, 0).unwrap();
    let mut learned: ArrayOfMaps<_, HashMap<MapData, [u8; 4], u32>> =
        loaded.map_mut("learned").unwrap().try_into().unwrap();
    learned.set(0, &inner, 0).unwrap();
    for last in [1, 2] {
        assert_eq!(ask(&loaded, last), DROP);
    }
    assert_eq!(ask(&loaded, 4), PASS);

    let dropped: Array<_, u64> = loaded.map("dropped").unwrap().try_into().unwrap();
    assert_eq!(dropped.get(&0, 0).unwrap(), 3);
}

#[test]
fn functions_are_called_and_called_back() {
    if !possible() {
        return;
    }
    let mut loaded = Ebpf::load(&sample::object().write().unwrap()).unwrap();
    let frame = frame_from([192, 0, 2, 1]);
    let program = load_classifier(&mut loaded, "edge_loop");
    assert_eq!(answer(program, &frame), 1 + 2 + 3 + 4);
    let program = load_classifier(&mut loaded, "edge_tc");
    assert_eq!(answer(program, &frame).cast_signed(), -1);
    let dropped: Array<_, u64> = loaded.map("dropped").unwrap().try_into().unwrap();
    assert_eq!(dropped.get(&0, 0).unwrap(), 1);
}

/// The verifier follows only the branch that read-only data leaves open: the other would be
/// refused.
#[test]
fn read_only_data_is_constant() {
    if !possible() {
        return;
    }
    let object = |constant: u8| {
        let mut asm = Assembler::new("constant");
        let wrong = asm.label("wrong");
        asm.load_data(R1, "setting", 0);
        asm.load(B, R1, R1, 0);
        asm.jump_if(Ne, R1, 0, wrong);
        asm.mov(R0, 2);
        asm.exit();
        asm.bind(wrong);
        asm.mov(R0, R9);
        asm.exit();
        let mut object = Object::new();
        object.data("setting", vec![constant]);
        object.program(Section::Xdp, asm.finish(Isa::V3).unwrap());
        object.write().unwrap()
    };
    let mut loaded = Ebpf::load(&object(0)).unwrap();
    load_xdp(&mut loaded, "constant");
    let fs = BpfFs::new();
    let file = ObjectFile::new(&object(0));
    run(
        "bpftool",
        &["prog", "load", &file.path(), &fs.at("constant")],
    );

    let mut loaded = Ebpf::load(&object(1)).unwrap();
    let program: &mut Xdp = loaded.program_mut("constant").unwrap().try_into().unwrap();
    let refusal = format!("{:?}", program.load().unwrap_err());
    assert!(refusal.contains("R9 !read_ok"), "{refusal}");
}

#[test]
fn programs_for_sockets_load() {
    if !possible() {
        return;
    }
    let mut loaded = Ebpf::load(&sample::object().write().unwrap()).unwrap();
    let connect: &mut CgroupSockAddr = loaded
        .program_mut("edge_connect4")
        .unwrap()
        .try_into()
        .unwrap();
    connect.load().unwrap();
    let lookup: &mut SkLookup = loaded
        .program_mut("edge_sk_lookup")
        .unwrap()
        .try_into()
        .unwrap();
    lookup.load().unwrap();
    let made: &mut CgroupSock = loaded.program_mut("edge_sock").unwrap().try_into().unwrap();
    made.load().unwrap();
    let option: &mut CgroupSockopt = loaded
        .program_mut("edge_option")
        .unwrap()
        .try_into()
        .unwrap();
    option.load().unwrap();
}

/// What a program notes about a socket when it is made is there as long as the socket.
#[test]
fn values_stay_with_sockets() {
    if !possible() {
        return;
    }
    let mut loaded = Ebpf::load(&sample::object().write().unwrap()).unwrap();
    let map = loaded.map_mut("of_sockets").unwrap();
    let mut values: SkStorage<_, u64> = map.try_into().unwrap();
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    assert!(values.get(&socket, 0).is_err());
    values.insert(&socket, 7, 0).unwrap();
    assert_eq!(values.get(&socket, 0).unwrap(), 7);
}

#[test]
fn a_pinned_map_survives_its_object() {
    if !possible() {
        return;
    }
    let fs = BpfFs::new();
    let mut object = Object::new();
    let shape = Shape::new(MapType::Hash, 4, 4, 16);
    object.map(MapDefinition::new("kept", shape).pinned());
    object.map(MapDefinition::new("lost", shape));
    let bytes = object.write().unwrap();
    let load = || {
        EbpfLoader::new()
            .default_map_pin_directory(fs.path())
            .load(&bytes)
            .unwrap()
    };
    for (name, expected) in [("kept", Some(7)), ("lost", None)] {
        let mut first = load();
        let mut map: HashMap<_, u32, u32> = first.map_mut(name).unwrap().try_into().unwrap();
        map.insert(1, 7, 0).unwrap();
        drop(first);
        let second = load();
        let map: HashMap<_, u32, u32> = second.map(name).unwrap().try_into().unwrap();
        assert_eq!(map.get(&1, 0).ok(), expected, "{name}");
    }
}

#[test]
fn every_type_of_map_can_be_made() {
    if !possible() {
        return;
    }
    let no_prealloc = MapFlags::NO_PREALLOC;
    let inner = Shape::new(MapType::Hash, 4, 4, 16);
    let mut object = Object::new();
    for (name, shape) in [
        ("hash", Shape::new(MapType::Hash, 12, 20, 100)),
        ("array", Shape::new(MapType::Array, 4, 20, 100)),
        ("prog_array", Shape::new(MapType::ProgArray, 4, 4, 10)),
        ("percpu_hash", Shape::new(MapType::PercpuHash, 12, 24, 100)),
        ("percpu_array", Shape::new(MapType::PercpuArray, 4, 24, 100)),
        ("lru_hash", Shape::new(MapType::LruHash, 12, 24, 100)),
        (
            "lru_percpu",
            Shape::new(MapType::LruPercpuHash, 12, 24, 100),
        ),
        (
            "trie",
            Shape::new(MapType::LpmTrie, 20, 4, 100).with_flags(no_prealloc),
        ),
        ("dev", Shape::new(MapType::DevMap, 4, 4, 10)),
        ("dev_hash", Shape::new(MapType::DevMapHash, 4, 4, 10)),
        ("sock", Shape::new(MapType::SockMap, 4, 8, 10)),
        ("sock_hash", Shape::new(MapType::SockHash, 12, 8, 10)),
        ("ring", Shape::ring(4096)),
        ("of_sockets", Shape::of_sockets(12)),
    ] {
        object.map(MapDefinition::new(name, shape));
    }
    for (name, kind) in [
        ("maps_array", MapType::ArrayOfMaps),
        ("maps_hash", MapType::HashOfMaps),
    ] {
        object.map(MapDefinition::new(name, Shape::new(kind, 4, 4, 4)).of(inner));
    }
    let mut names: Vec<String> = Vec::new();
    for (name, map) in Ebpf::load(&object.write().unwrap()).unwrap().maps() {
        assert!(!matches!(map, Map::Unsupported(_)), "{name}");
        names.push(name.to_owned());
    }
    assert_eq!(names.len(), 16, "{names:?}");
}

#[test]
fn helpers_have_the_numbers_of_the_kernel() {
    if !possible() {
        return;
    }
    let types = run(
        "bpftool",
        &["btf", "dump", "file", "/sys/kernel/btf/vmlinux"],
    );
    for helper in Helper::ALL {
        let name = helper.name().replacen("bpf_", "BPF_FUNC_", 1);
        let expected = format!("'{name}' val={}", helper.number());
        assert!(
            types.lines().any(|line| line.trim() == expected),
            "{expected}"
        );
    }
}

#[test]
fn an_object_may_have_next_to_nothing() {
    if !possible() {
        return;
    }
    let mut asm = Assembler::new("bare");
    asm.mov(R0, 2);
    asm.exit();
    let mut object = Object::new();
    object.program(Section::XdpFrags, asm.finish(Isa::V3).unwrap());
    let mut loaded = Ebpf::load(&object.write().unwrap()).unwrap();
    let program = load_xdp(&mut loaded, "bare");
    assert_eq!(answer(program, &[0; 64]), PASS);
    Ebpf::load(&Object::new().write().unwrap()).unwrap();
}
