//! Objects, read back with an independent reader.

use std::collections::BTreeMap;

use object::read::elf::ElfFile64;
use object::{LittleEndian, Object as _, ObjectSection as _, ObjectSymbol as _, RelocationFlags};
use polc_bpf::asm::{Assembler, Isa, Program, SourceLine};
use polc_bpf::insn::Reg::{R0, R1};
use polc_bpf::insn::{Code, Relocation, Symbol, decode};
use polc_bpf::map::{Map, MapType, Shape};
use polc_bpf::object::{LICENSE, Object, ObjectError, Section};

fn hash(name: &str) -> Map {
    Map::new(name, Shape::new(MapType::Hash, 4, 4, 16))
}

fn program(name: &str, write: impl FnOnce(&mut Assembler)) -> Program {
    let mut asm = Assembler::new(name);
    write(&mut asm);
    asm.mov(R0, 0);
    asm.exit();
    asm.finish(Isa::V4).unwrap()
}

fn error(fill: impl FnOnce(&mut Object)) -> String {
    let mut object = Object::new();
    fill(&mut object);
    object.write().unwrap_err().to_string()
}

#[test]
fn programs_of_a_section_lie_behind_each_other() {
    let mut object = Object::new();
    object.map(hash("flows"));
    object.data("table", vec![1, 2, 3]);
    object.data("more", vec![4; 8]);
    let first = program("first", |asm| asm.load_map(R1, "flows"));
    let second = program("second", |asm| asm.load_data(R1, "more", 5));
    object.program(Section::Classifier, first.clone());
    object.program(Section::Xdp, program("elsewhere", |_| ()));
    object.program(Section::Classifier, second.clone());
    let bytes = object.write().unwrap();

    let elf = ElfFile64::<LittleEndian>::parse(bytes.as_slice()).unwrap();
    let license = elf.section_by_name("license").unwrap().data().unwrap();
    assert_eq!(license, [LICENSE.as_bytes(), &[0]].concat());
    assert_eq!(
        elf.section_by_name(".rodata").unwrap().data().unwrap(),
        [1, 2, 3, 0, 0, 0, 0, 0, 4, 4, 4, 4, 4, 4, 4, 4]
    );
    let section = elf.section_by_name("classifier").unwrap();
    let names: BTreeMap<u64, &str> = elf
        .symbols()
        .filter(|symbol| symbol.section_index() == Some(section.index()))
        .filter(|symbol| symbol.size() > 0)
        .map(|symbol| (symbol.address(), symbol.name().unwrap()))
        .collect();
    assert_eq!(names, BTreeMap::from([(0, "first"), (32, "second")]));

    let relocations = section.relocations().map(|(offset, relocation)| {
        let flags = RelocationFlags::Elf {
            r_type: object::elf::R_BPF_64_64,
        };
        assert_eq!(relocation.flags(), flags);
        let object::RelocationTarget::Symbol(index) = relocation.target() else {
            panic!("a relocation without a symbol")
        };
        let symbol = elf.symbol_by_index(index).unwrap().name().unwrap();
        let symbol = match symbol {
            "flows" => Symbol::Map(symbol.into()),
            _ => Symbol::Data(symbol.into()),
        };
        let slot = usize::try_from(offset).unwrap() / 8;
        Relocation { slot, symbol }
    });
    let code = Code {
        relocations: relocations.collect(),
        bytes: section.data().unwrap().to_vec(),
    };
    let written = [&first, &second].map(|program| program.functions()[0].insns());
    assert_eq!(decode(&code).unwrap(), written.concat());
}

#[test]
fn what_is_empty_is_left_out() {
    let mut object = Object::new();
    object.program(Section::Xdp, program("main", |_| ()));
    let bytes = object.write().unwrap();
    let elf = ElfFile64::<LittleEndian>::parse(bytes.as_slice()).unwrap();
    let names: Vec<&str> = elf
        .sections()
        .map(|section| section.name().unwrap())
        .collect();
    for absent in [".maps", ".rodata", ".text"] {
        assert!(!names.contains(&absent), "{names:?}");
    }
    // The header of `.BTF.ext` ends with the sizes of its tables: there are no lines.
    let ext = elf.section_by_name(".BTF.ext").unwrap().data().unwrap();
    assert_eq!(ext[20..24], [0, 0, 0, 0]);
}

/// One subsection for each section of the file, in which every function has a line.
#[test]
fn lines_are_grouped_by_section() {
    let mark = SourceLine {
        file: "edge.pol".into(),
        line: 3,
        column: 5,
        text: "deny".into(),
    };
    let mut object = Object::new();
    object.program(Section::Xdp, program("one", |asm| asm.at(&mark)));
    object.program(Section::Xdp, program("two", |_| ()));
    let three = program("three", |asm| {
        asm.load_wide(R1, 1);
        asm.at(&mark);
    });
    object.program(Section::Classifier, three);
    let bytes = object.write().unwrap();
    let elf = ElfFile64::<LittleEndian>::parse(bytes.as_slice()).unwrap();
    let ext = elf.section_by_name(".BTF.ext").unwrap().data().unwrap();
    let words: Vec<u32> = ext[32..]
        .as_chunks()
        .0
        .iter()
        .map(|word| u32::from_le_bytes(*word))
        .collect();
    // Functions: the size of records, then `classifier` with one and `xdp` with two.
    let [8, _, 1, 0, _, _, 2, 0, _, 16, _, ref lines @ ..] = words[..] else {
        panic!("{words:?}")
    };
    let place = 3 << 10 | 5;
    // Lines: `classifier` with two (the second behind a constant of two slots), `xdp` with two.
    let [
        16,
        _,
        2,
        0,
        0,
        _,
        0,
        16,
        _,
        _,
        p,
        _,
        2,
        0,
        _,
        _,
        q,
        16,
        0,
        _,
        0,
    ] = lines
    else {
        panic!("{lines:?}")
    };
    assert_eq!((*p, *q), (place, place));
}

#[test]
fn what_is_missing_is_named() {
    let xdp = |program| move |object: &mut Object| object.program(Section::Xdp, program);
    let uses_map = program("main", |asm| asm.load_map(R1, "flows"));
    assert_eq!(
        error(xdp(uses_map)),
        "`main` uses the map `flows`, which the object lacks"
    );
    let uses_data = program("main", |asm| asm.load_data(R1, "table", 4));
    let expected = "`main` uses byte 4 of the data `table`, which the object lacks";
    assert_eq!(error(xdp(uses_data.clone())), expected);
    let short = |object: &mut Object| {
        object.data("table", vec![0; 4]);
        object.program(Section::Xdp, uses_data);
    };
    assert_eq!(error(short), expected);
}

#[test]
fn names_are_unique_identifiers() {
    let twice = |object: &mut Object| {
        object.map(hash("same"));
        object.program(Section::Xdp, program("same", |_| ()));
    };
    assert_eq!(error(twice), "two things are called `same`");
    let strange = |object: &mut Object| object.map(hash("a b"));
    assert!(error(strange).starts_with("`a b` is not a name"));
    let long = |object: &mut Object| object.map(hash("abcdefghijklmnop"));
    assert!(error(long).contains("longer than 15"));
    let empty = |object: &mut Object| object.data("nothing", Vec::new());
    assert_eq!(error(empty), "the data `nothing` is empty");
}

#[test]
fn too_much_text_is_an_error() {
    let mut object = Object::new();
    let mark = SourceLine {
        file: "edge.pol".into(),
        line: 1,
        column: 1,
        text: "x".repeat(16 << 20).into(),
    };
    object.program(Section::Xdp, program("main", |asm| asm.at(&mark)));
    assert!(matches!(object.write(), Err(ObjectError::TooMuchText)));
}
