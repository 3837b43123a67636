//! How long it takes until a set has other contents, while its program runs.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use aya::programs::{TestRun as _, TestRunOptions, Xdp};
use polc_compiler::target::ebpf::SetData;

use crate::driver::Header;
use crate::programs::{Measured, PASS};

const ROUNDS: usize = 5;

/// The fastest of some rounds.
pub(crate) struct Refill {
    /// From the beginning until a packet is judged by the other contents.
    pub(crate) in_force: Duration,
    /// Until the kernel knows that no packet is judged by the old ones any more.
    pub(crate) settled: Duration,
}

/// Gives a set other contents and the first ones in turn: `header` passes with the others only.
pub(crate) fn measure(
    program: &mut Measured,
    [first, other]: [&SetData; 2],
    header: &Header,
) -> Refill {
    let mut best = Refill {
        in_force: Duration::MAX,
        settled: Duration::MAX,
    };
    let handle = program.handle();
    for _ in 0..ROUNDS {
        for (contents, passes) in [(other, true), (first, false)] {
            let (begun, changed) = watched(&handle, header, passes, || program.refill(contents));
            let settled = begun.elapsed();
            best.in_force = best.in_force.min(changed - begun);
            best.settled = best.settled.min(settled);
        }
    }
    best
}

/// When the work began, and when the header was judged otherwise.
fn watched(
    program: &Xdp,
    header: &Header,
    passes: bool,
    work: impl FnOnce(),
) -> (Instant, Instant) {
    let watching = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watch = scope.spawn(|| {
            while verdict(program, header) != passes {
                watching.store(true, Ordering::Release);
            }
            Instant::now()
        });
        while !watching.load(Ordering::Acquire) {
            std::hint::spin_loop();
        }
        let begun = Instant::now();
        work();
        (begun, watch.join().unwrap())
    })
}

fn verdict(program: &Xdp, header: &Header) -> bool {
    let options = TestRunOptions {
        data_in: Some(header),
        repeat: 1,
        ..TestRunOptions::default()
    };
    program.test_run(options).unwrap().return_value == PASS.cast_unsigned()
}
