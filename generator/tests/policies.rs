//! What is made up compiles, and uses the whole language.

use polc_compiler::{Files, Options, compile, field};
use polc_generator::{Coverage, Feature, Kind, Shape, family, random_policy, valid_policy};

/// No file can be read.
struct NoFiles;

impl Files for NoFiles {
    fn read(&self, _path: &str) -> std::io::Result<String> {
        Err(std::io::ErrorKind::NotFound.into())
    }
}

fn problems(text: &str) -> Vec<String> {
    let options = Options {
        as_of: "2026-01-01".to_owned(),
        ..Options::default()
    };
    let compilation = compile("random.pol", text, &NoFiles, &options);
    let codes = compilation.diagnostics.iter();
    if compilation.ir.is_some() {
        return Vec::new();
    }
    codes
        .map(|d| format!("{} {}", d.code.id(), d.title))
        .collect()
}

fn number(name: &str, otherwise: u64) -> u64 {
    let given = std::env::var(name).ok();
    given
        .and_then(|text| text.parse().ok())
        .unwrap_or(otherwise)
}

#[test]
fn random_policies_compile_and_use_the_whole_language() {
    let (count, first) = (number("POLC_POLICIES", 2000), number("POLC_SEED", 1));
    let shape = Shape::default().with(Feature::Stateless);
    let mut coverage = Coverage::default();
    let mut attempts = 0;
    for seed in first..first + count {
        let draw = valid_policy(seed, &shape, |text| {
            let problems = problems(text);
            if std::env::var("POLC_PROBLEMS").is_ok() {
                for problem in &problems {
                    println!("{seed}: {problem}");
                }
            }
            problems.is_empty()
        });
        let draw = draw.unwrap();
        coverage.add(&draw.text);
        attempts += u64::from(draw.attempts);
    }
    let percent = count * 100 / attempts;
    println!("{coverage}\n{count} policies of {attempts} made up: {percent} % are valid");
    assert_eq!(coverage.missing(), Vec::<&str>::new());
    assert!(percent >= 50, "{percent} %");
}

#[test]
fn every_field_of_the_language_is_asked_about() {
    let coverage = Coverage::default();
    let missing: Vec<&str> = field::names()
        .filter(|name| coverage.of(name).is_none())
        .collect();
    assert_eq!(missing, Vec::<&str>::new());
}

#[test]
fn the_same_seed_makes_the_same_policy() {
    let shape = Shape::default();
    assert_eq!(random_policy(7, &shape), random_policy(7, &shape));
    assert_ne!(random_policy(7, &shape), random_policy(8, &shape));
    for kind in Kind::ALL {
        assert_eq!(family(kind, 50, 7), family(kind, 50, 7));
    }
}

#[test]
fn features_that_are_left_out_are_not_used() {
    let shape = Shape {
        features: [].into(),
        ..Shape::default()
    };
    let mut coverage = Coverage::default();
    for seed in 0..50 {
        coverage.add(&random_policy(seed, &shape));
    }
    for word in [
        "when", "set", "zone", "within", "mark", "by", "not", "dnat", "strict",
    ] {
        assert!(coverage.missing().contains(&word), "{word}");
    }
}

#[test]
fn families_compile_and_have_as_many_rules_as_asked() {
    for kind in Kind::ALL {
        let text = family(kind, 500, 3);
        assert_eq!(problems(&text), Vec::<String>::new(), "{}", kind.name());
        let rules = text
            .lines()
            .filter(|l| l.starts_with("  ") && !l.contains("default"));
        assert_eq!(rules.count(), 500);
    }
}
