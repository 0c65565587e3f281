//! What the relay does with bytes besides moving them: scan headers, and record statements.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a bench that can't go on has failed"
)]

use std::hint::black_box;
use std::time::Duration;

use audit::{Event, Writer};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use proxy::bench::Scanners;
use tokio::time::Instant;

/// As much as a relay's buffer holds in bulk.
const BUFFER: usize = 256 * 1024;

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap();
    [&[kind][..], &length.to_be_bytes(), body].concat()
}

/// A row of one value.
fn row(size: usize) -> Vec<u8> {
    let length = u32::try_from(size).unwrap().to_be_bytes();
    message(b'D', &[&[0, 1][..], &length, &vec![b'x'; size]].concat())
}

/// One prepared statement of `pgbench -S`, as libpq sends it, and its answer.
fn prepared() -> (Vec<u8>, Vec<u8>) {
    let bind = [&b"\0P0_1\0\0\0\0\x01"[..], &5_u32.to_be_bytes(), b"42424\0\0"];
    let up = [
        message(b'B', &bind.concat()),
        message(b'D', b"P\0"),
        message(b'E', b"\0\0\0\0\0"),
        message(b'S', b""),
    ];
    (up.concat(), answer())
}

/// The same as a simple query.
fn simple() -> (Vec<u8>, Vec<u8>) {
    let up = message(b'Q', b"SELECT abalance FROM pgbench_accounts WHERE aid = 42424;\0");
    (up, answer())
}

fn answer() -> Vec<u8> {
    let mut field = b"\0\x01abalance\0".to_vec();
    field.extend([0; 18]);
    let messages = [
        message(b'2', b""),
        message(b'T', &field),
        row(1),
        message(b'C', b"SELECT 1\0"),
        message(b'Z', b"I"),
    ];
    messages.concat()
}

/// A statement there and back: scanned only, and scanned and put into a recording.
fn statements(c: &mut Criterion) {
    let mut group = c.benchmark_group("statement");
    let now = Instant::now();
    for (name, (up, down)) in [("simple", simple()), ("prepared", prepared())] {
        group.throughput(Throughput::Elements(1));
        let mut scanners = Scanners::default();
        group.bench_function(format!("{name}/scan"), |b| {
            b.iter(|| {
                let sent = scanners.up(&up, now, |kind| drop(black_box(kind)));
                let got = scanners.down(&down, now, |kind| drop(black_box(kind)));
                assert_eq!((sent, got), (Some(up.len()), Some(down.len())));
            });
        });
        let (mut scanners, mut writer) = (Scanners::default(), Writer::new("session"));
        group.bench_function(format!("{name}/scan and record"), |b| {
            b.iter(|| {
                scanners.up(&up, now, |kind| writer.push(&Event { t: 1, kind }).unwrap());
                black_box(writer.seal());
                writer.clear();
                scanners.down(&down, now, |kind| writer.push(&Event { t: 2, kind }).unwrap());
            });
        });
    }
    group.finish();
}

/// Streams in bulk, a buffer at a time.
fn bulk(c: &mut Criterion) {
    let mut group = c.benchmark_group("bulk");
    let now = Instant::now();
    for (name, whole) in [
        ("rows of 100 bytes", row(100)),
        ("rows of 1 KiB", row(1024)),
        ("COPY out of 8 KB", message(b'd', &[7; 8000])),
    ] {
        let bytes = whole.repeat(16 * BUFFER / whole.len());
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        let mut scanners = Scanners::default();
        group.bench_function(name, |b| {
            b.iter(|| pass(&bytes, |piece| scanners.down(piece, now, |_| ())));
        });
    }
    let bytes = message(b'd', &[7; 8000]).repeat(16 * BUFFER / 8005);
    group.throughput(Throughput::Bytes(bytes.len() as u64));
    let mut scanners = Scanners::default();
    group.bench_function("COPY in of 8 KB", |b| {
        b.iter(|| pass(&bytes, |piece| scanners.up(piece, now, |_| ())));
    });
    group.finish();
}

/// What a scanner doesn't let through comes again with the next piece, as in the relay.
fn pass(bytes: &[u8], mut scan: impl FnMut(&[u8]) -> Option<usize>) {
    let mut rest = bytes;
    while !rest.is_empty() {
        let piece = rest.get(..BUFFER).unwrap_or(rest);
        let clear = scan(black_box(piece)).unwrap();
        assert_ne!(clear, 0, "a whole message passes");
        rest = rest.get(clear..).unwrap_or_default();
    }
}

fn briefly() -> Criterion {
    Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
}

criterion_group! { name = benches; config = briefly(); targets = statements, bulk }
criterion_main!(benches);
