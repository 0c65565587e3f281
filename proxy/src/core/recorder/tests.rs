use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use audit::{Reader, Tail, Verified};
use policies::{Partition, Term};

use super::*;
use crate::core::testing::{Rig, at, lease};

fn rig() -> Rig {
    let rig = Rig::new();
    rig.grant(vec![lease("gr-1", Term::Until(at(600)))], Partition::Cut);
    rig
}

fn query(recorder: &Recorder, n: u64) -> Event<'static> {
    Event { t: recorder.elapsed(), kind: Kind::Query { n, text: "select 1".into() } }
}

fn path(rig: &Rig, session: &Session) -> PathBuf {
    rig.folder.path().join("recordings").join(format!("{}.rec", session.id()))
}

fn verify(path: &PathBuf) -> Verified {
    Reader::new(fs::File::open(path).unwrap()).verify().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_finished_recording_is_whole_and_tells_who_and_why() {
    let rig = rig();
    let session = rig.open();
    let mut recorder = Recorder::create(&rig.plane.spool, &session).unwrap();
    recorder.push(&query(&recorder, 1)).unwrap();
    recorder.flush().unwrap();
    let tally = Tally { bytes_in: 10, bytes_out: 20, statements: 1, head: None };
    let head = recorder.finish(&End::Revoked("by bob".into()), &tally).unwrap();
    let path = path(&rig, &session);
    let verified = verify(&path);
    assert_eq!((verified.tail, verified.head), (Tail::Sealed, Some(head)));
    let events: Vec<_> =
        Reader::new(fs::File::open(&path).unwrap()).map(|event| event.unwrap().kind).collect();
    let [Kind::Start(start), Kind::Query { .. }, Kind::End(end)] = &events[..] else {
        panic!("{events:?}");
    };
    let recorded = [&start.session, &start.principal, &start.grant, &start.target, &start.database];
    assert_eq!(recorded, [session.id().as_str(), "alice", "gr-1", "orders", "shop"]);
    assert_eq!(
        (&*end.end, &*end.reason, end.bytes_in, end.bytes_out),
        ("revoked", "by bob", 10, 20)
    );
}

#[tokio::test(start_paused = true)]
async fn what_was_flushed_stands_in_the_file_though_nobody_finishes_it() {
    let rig = rig();
    let session = rig.open();
    let mut recorder = Recorder::create(&rig.plane.spool, &session).unwrap();
    for n in 1..=1_000 {
        recorder.push(&query(&recorder, n)).unwrap();
        recorder.flush().unwrap();
        assert_eq!(recorder.writer.pending(), 0);
    }
    // As after a kill: the process does nothing more.
    std::mem::forget(recorder);
    let verified = verify(&path(&rig, &session));
    assert_eq!((verified.tail, verified.events), (Tail::Open, 1_001));
}

#[tokio::test(start_paused = true)]
async fn a_recorder_that_is_dropped_leaves_all_that_it_was_given() {
    let rig = rig();
    let session = rig.open();
    let mut recorder = Recorder::create(&rig.plane.spool, &session).unwrap();
    recorder.push(&query(&recorder, 1)).unwrap();
    drop(recorder);
    assert_eq!(verify(&path(&rig, &session)).events, 2);
}

#[tokio::test(start_paused = true)]
async fn memory_stays_bounded_without_a_flush() {
    let rig = rig();
    let session = rig.open();
    let mut recorder = Recorder::create(&rig.plane.spool, &session).unwrap();
    let text = "x".repeat(100_000);
    for n in 1..=20 {
        let kind = Kind::Query { n, text: text.as_str().into() };
        recorder.push(&Event { t: 0, kind }).unwrap();
        assert!(recorder.writer.pending() <= MOST_PENDING);
    }
    drop(recorder);
    assert_eq!(verify(&path(&rig, &session)).events, 21);
}

#[tokio::test(start_paused = true)]
async fn after_a_failed_write_nothing_is_recorded_any_more() {
    let rig = rig();
    let session = rig.open();
    let mut recorder = Recorder::create(&rig.plane.spool, &session).unwrap();
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let good = recorder.file.replace(full);
    recorder.push(&query(&recorder, 1)).unwrap();
    assert_eq!(recorder.flush().unwrap_err().kind(), io::ErrorKind::StorageFull);
    recorder.file = good;
    assert!(recorder.push(&query(&recorder, 2)).is_err());
    assert!(recorder.flush().is_err());
    assert!(recorder.finish(&End::RecorderFailed, &Tally::default()).is_err());
    assert_eq!(rig.plane.metrics.recorder_failures.get(), 1);
    assert_eq!(rig.plane.metrics.recorder_lag.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn recordings_are_for_their_owner_only_and_never_overwritten() {
    let rig = rig();
    let session = rig.open();
    let recorder = Recorder::create(&rig.plane.spool, &session).unwrap();
    let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(path(&rig, &session)), 0o600);
    assert_eq!(mode(rig.folder.path().join("recordings")), 0o700);
    let again = Recorder::create(&rig.plane.spool, &session);
    assert_eq!(again.unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    recorder.finish(&End::Closed, &Tally::default()).unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_recording_is_finished_even_where_the_spool_is_closed() {
    let rig = rig();
    let session = rig.open();
    let recorder = Recorder::create(&rig.plane.spool, &session).unwrap();
    rig.plane.spool.close();
    recorder.finish(&End::Drained, &Tally::default()).unwrap();
    assert_eq!(verify(&path(&rig, &session)).tail, Tail::Sealed);
    assert_eq!(rig.plane.metrics.recorder_unsettled.get(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_write_that_finds_the_disk_full_leaves_a_whole_recording() {
    let rig = rig();
    let session = rig.open();
    let mut recorder = Recorder::create(&rig.plane.spool, &session).unwrap();
    recorder.push(&query(&recorder, 1)).unwrap();
    recorder.flush().unwrap();
    recorder.push(&query(&recorder, 2)).unwrap();
    // As `write_all` leaves it: a part of the frame is in the file.
    let part = recorder.writer.seal()[..20].to_vec();
    recorder.file.as_mut().unwrap().write_all(&part).unwrap();
    let error = recorder.fail(io::Error::from_raw_os_error(28));
    assert_eq!(end_of(&error).code(), "recording-full");
    assert!(recorder.push(&query(&recorder, 3)).is_err(), "nothing passes any more");
    let path = path(&rig, &session);
    assert_eq!(recorder.account.used(), fs::metadata(&path).unwrap().len());
    let head = recorder.finish(&end_of(&error), &Tally::default()).unwrap();
    let verified = verify(&path);
    assert_eq!((verified.tail, verified.head, verified.events), (Tail::Sealed, Some(head), 3));
}
