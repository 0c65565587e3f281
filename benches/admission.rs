//! Lease lookup and decision, while control's news comes in.
//!
//! What is timed is what a start-up pays: its request was parsed just now, so the names are in the
//! nearest cache and parsing them isn't timed; its lease lies anywhere. Every lease of the table is
//! asked for in turn, so that no cache holds what comes next, with the allocator of the program.
//!
//! Besides criterion's means it prints percentiles: one slow admission in a hundred is what a shard
//! that is being written to would show as.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a bench measures time, and one that can't go on has failed"
)]

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use mimalloc::MiMalloc;
use policies::{AdmissionQuery, End, Lease, LeaseKey, Term, Timestamp, Ttl};
use proxy::{Clock, Delta, Leases, Snapshot};

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

const DAY: Ttl = Ttl::from_secs(86_400);
/// How many requests the second reader keeps ready.
const READY: usize = 65_536;
/// How many requests are parsed ahead of the admissions that are timed: few enough to stay at hand.
const PARSED: u64 = 32;
/// Admissions of which the percentiles are taken.
const TIMED: usize = 400_000;

fn key(number: usize) -> LeaseKey {
    LeaseKey {
        principal: format!("person-{number}").parse().unwrap(),
        resource: format!("app@orders-{}/shop", number % 100).parse().unwrap(),
    }
}

fn lease(number: usize, generation: usize) -> Lease {
    Lease {
        grant: format!("gr-{generation}-{number}").parse().unwrap(),
        key: key(number),
        name: String::new(),
        term: Term::Until(Timestamp::from_millis(i64::MAX / 2)),
        record: Default::default(),
    }
}

fn table(size: usize) -> Arc<Leases> {
    let leases = Leases::new(Clock::system());
    let snapshot = Snapshot {
        leases: (0..size).map(|number| lease(number, 0)).collect(),
        ..Snapshot::default()
    };
    leases.apply_snapshot(1, DAY, snapshot);
    Arc::new(leases)
}

/// Which lease is looked up in this turn: all over the table, in an order that no cache foresees.
fn asked(turn: usize, size: usize) -> usize {
    turn * 7_919 % size
}

fn admit(leases: &Leases, key: &LeaseKey) -> bool {
    leases.admit(&AdmissionQuery { key, device: None, credential: None }).is_ok()
}

/// Threads that work beside what is measured, until they are dropped.
struct Beside {
    stop: Arc<AtomicBool>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Beside {
    fn new() -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let threads = Vec::new();
        Self { stop, threads }
    }

    fn run(&mut self, mut work: impl FnMut(usize) + Send + 'static) {
        let stop = Arc::clone(&self.stop);
        self.threads.push(thread::spawn(move || {
            let mut turn = 0;
            while !stop.load(Ordering::Relaxed) {
                work(turn);
                turn += 1;
            }
        }));
    }

    /// Applies about a thousand deltas a second, each of which ends one lease and enters another.
    fn write(&mut self, leases: &Arc<Leases>, size: usize) {
        let leases = Arc::clone(leases);
        let mut revision = leases.revision().unwrap();
        self.run(move |turn| {
            revision += 1;
            let (number, generation) =
                (turn % size, turn / size + usize::try_from(revision).unwrap());
            let gone = leases
                .admit(&AdmissionQuery { key: &key(number), device: None, credential: None })
                .unwrap();
            let delta = Delta {
                gone: vec![(gone.grant().clone(), End::Done)],
                leases: vec![lease(number, generation)],
                ..Delta::default()
            };
            leases.apply_delta(revision, DAY, delta).unwrap();
            thread::sleep(Duration::from_millis(1));
        });
    }

    fn read(&mut self, leases: &Arc<Leases>, size: usize) {
        let leases = Arc::clone(leases);
        let keys: Vec<LeaseKey> = (0..READY).map(|turn| key(asked(turn, size))).collect();
        self.run(move |turn| {
            black_box(admit(&leases, keys.get(turn % READY).unwrap()));
        });
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().unwrap();
        }
    }
}

fn admission(c: &mut Criterion) {
    let mut group = c.benchmark_group("admission");
    let mut tails = Vec::new();
    for size in [1_000, 100_000, 1_000_000] {
        let leases = table(size);
        for (name, writes, reads) in [
            ("one thread", false, false),
            ("one thread, a writer", true, false),
            ("two threads, a writer", true, true),
        ] {
            let mut beside = Beside::new();
            if writes {
                beside.write(&leases, size);
            }
            if reads {
                beside.read(&leases, size);
            }
            let mut turns = 0..;
            let mut parsed = || key(asked(turns.next().unwrap(), size));
            group.bench_function(BenchmarkId::new(name, size), |b| {
                let few = BatchSize::NumIterations(PARSED);
                b.iter_batched_ref(&mut parsed, |key| admit(&leases, key), few);
            });
            tails.push((name, size, percentiles(&leases, size)));
        }
    }
    group.finish();
    println!("\nevery admission timed by itself, the clock's own time in it, in ns:");
    println!("{:<24}{:>10}{:>8}{:>8}{:>9}", "", "leases", "p50", "p99", "p99.9");
    for (name, size, [p50, p99, p999]) in tails {
        println!("{name:<24}{size:>10}{p50:>8}{p99:>8}{p999:>9}");
    }
}

fn percentiles(leases: &Leases, size: usize) -> [u128; 3] {
    let time = |turn| {
        let key = key(asked(turn, size));
        let start = Instant::now();
        black_box(admit(leases, &key));
        start.elapsed().as_nanos()
    };
    let mut spent: Vec<u128> = (0..TIMED).map(time).collect();
    spent.sort_unstable();
    let at = |thousandths: usize| *spent.get(TIMED * thousandths / 1_000).unwrap();
    [at(500), at(990), at(999)]
}

fn briefly() -> Criterion {
    Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
}

criterion_group! { name = benches; config = briefly(); targets = admission }
criterion_main!(benches);
