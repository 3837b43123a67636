use polc_conformance::*;
use polc_generator::Shape;
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let (seed, n, packets): (u64, u64, u64) = (a[1].parse().unwrap(), a[2].parse().unwrap(), a[3].parse().unwrap());
    let backends: Vec<Backend> = if a.len() > 4 { a[4].split(',').flat_map(Backend::named).collect() } else { Backend::ALL.to_vec() };
    let mut shape = Shape::default();
    if std::env::var("LESS").is_ok() { use polc_generator::Feature as F; shape = shape.with(F::Stateless).without(F::Original).without(F::Strict); }
    if let Ok(s) = std::env::var("STAGES") { let v: Vec<usize> = s.split(',').map(|x| x.parse().unwrap()).collect(); shape.guard = v[0]; shape.steer = v[1]; shape.filter = v[2]; shape.egress = v[3]; }
    for s in seed..seed + n {
        let t = std::time::Instant::now();
        let subject = match std::env::var("POLICY") { Ok(p) => Subject::new(&std::fs::read_to_string(p).unwrap()).unwrap(), _ => draw(s, &shape).unwrap() };
        let d = t.elapsed();
        match trial(&subject, &backends, (s, packets)) {
            Err(e) => println!("{s}: ERROR {e}\n{}", subject.text),
            Ok(tried) => for t in tried {
                match t.mismatch {
                    None => println!("{s} {} ok {:?}", t.backend, t.totals),
                    Some(m) => {
                        println!("{s} {} {} after {}: {}\n{}", t.backend, m.difference, t.totals.packets, m.text, subject.text);
                        if let Ok(calls) = std::env::var("SMALLER") {
                            let text = smaller(&subject, (t.backend, m.difference), (s, packets), calls.parse().unwrap());
                            println!("smaller {s} {}:\n{text}\n.", t.backend);
                            for t in trial(&Subject::new(&text).unwrap(), &[t.backend], (s, packets)).unwrap() { println!("{}", t.mismatch.map(|m| m.text).unwrap_or_default()); }
                        }
                    }
                }
            }
        }
        println!("{s}: draw {d:?} all {:?}", t.elapsed());
    }
}
