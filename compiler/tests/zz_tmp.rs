use polc_compiler::analyse::lint::{self, Persona, Settings};
use polc_compiler::diagnostic::human::{self, Style};
use polc_compiler::{Files, Options, compile};
use std::{fs, io};
struct Disk;
impl Files for Disk {
    fn read(&self, path: &str) -> io::Result<String> {
        fs::read_to_string(path)
    }
}
#[test]
fn policies() {
    let dir = format!("{}/../policies", env!("CARGO_MANIFEST_DIR"));
    let mut paths: Vec<_> = fs::read_dir(&dir)
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.extension().is_some_and(|e| e == "pol"))
        .collect();
    paths.sort();
    for path in paths {
        let text = fs::read_to_string(&path).unwrap();
        let path = path.to_str().unwrap();
        let options = Options {
            as_of: "2026-11-21".to_owned(),
            ..Options::default()
        };
        let result = compile(path, &text, &Disk, &options);
        for persona in [Persona::Default, Persona::Audit] {
            let settings = Settings {
                persona,
                ..Settings::default()
            };
            let t = std::time::Instant::now();
            let found = lint::lint(&result, &settings).findings;
            println!(
                "=== {path} {persona:?}: {} findings, ir {} {:?}",
                found.len(),
                result.ir.is_some(),
                t.elapsed()
            );
            let style = Style {
                colour: false,
                width: 120,
            };
            for d in &found {
                println!("{}", human::render(d, &result.sources, style));
            }
        }
    }
}
#[test]
fn large() {
    let mut text = String::from("zone wan = eth0\nzone lan = eth1\n\nfrom wan to lan {\n");
    let mut seed: u64 = 12345;
    let mut rnd = |n: u64| {
        seed = seed
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (seed >> 33) % n
    };
    let wild = std::env::var("WILD").is_ok();
    for i in 0..10_000 {
        let verb = if rnd(2) == 0 { "allow" } else { "deny" };
        let proto = if rnd(2) == 0 { "tcp" } else { "udp" };
        let len = |r: u64| {
            if wild {
                [0, 1, 8, 16, 24, 32][r as usize]
            } else {
                [16, 20, 24, 28, 32, 24][r as usize]
            }
        };
        let (a, b) = (rnd(1 << 32), rnd(1 << 32));
        let (la, lb) = (len(rnd(6)), len(rnd(6)));
        let m = |x: u64, l: u64| {
            if l == 0 {
                0
            } else {
                x & !((1u64 << (32 - l)) - 1) & 0xffff_ffff
            }
        };
        let ip = |x: u64| {
            format!(
                "{}.{}.{}.{}",
                x >> 24 & 255,
                x >> 16 & 255,
                x >> 8 & 255,
                x & 255
            )
        };
        let port = rnd(65000);
        let sport = rnd(60000);
        text.push_str(&format!("  {verb} {proto}/{port}-{} from {}/{la} to {}/{lb} when {proto}.sport >= {sport} as r{i}\n", port + rnd(500), ip(m(a, la)), ip(m(b, lb))));
    }
    text.push_str("  default deny\n}\ndefault deny\n");
    let options = Options {
        as_of: "2026-11-21".to_owned(),
        ..Options::default()
    };
    let t = std::time::Instant::now();
    let result = compile("big.pol", &text, &Disk, &options);
    println!("compile {:?} {}", t.elapsed(), result.ir.is_some());
    for d in result.diagnostics.iter().take(3) {
        println!("{}", d.title);
    }
    for persona in [Persona::Default, Persona::Audit] {
        let settings = Settings {
            persona,
            ..Settings::default()
        };
        let t = std::time::Instant::now();
        let found = lint::lint(&result, &settings).findings;
        println!("{persona:?} {} findings {:?}", found.len(), t.elapsed());
        let mut counts = std::collections::BTreeMap::new();
        for d in &found {
            *counts.entry(d.code.id()).or_insert(0) += 1;
        }
        println!("{counts:?}");
    }
}
