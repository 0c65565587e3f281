use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::sync::atomic::AtomicUsize;

use audit::{Event, Kind, Reader, Start, Tail, Verified, Writer};
use policies::{Amount, Partition, Size, Term};
use proptest::prelude::*;
use rstest::rstest;
use rustix::io::Errno;
use tempfile::TempDir;

use super::*;
use crate::core::identity::Identity;
use crate::core::recorder::Recorder;
use crate::core::session::{Session, Tally};
use crate::core::settings::LimitSettings;
use crate::core::spool::Spool;
use crate::core::testing::{Rig, alice, at, lease, settings};

const KIB: u64 = 1_024;

fn size(bytes: u64) -> Amount {
    Amount::Size(Size::from_bytes(bytes))
}

fn roomy() -> RecordingSettings {
    let all = size(1 << 50);
    RecordingSettings {
        session_quota: all,
        principal_quota: all,
        spool_quota: all,
        reserve: size(1),
    }
}

fn metrics() -> Arc<Metrics> {
    Arc::new(Metrics::new(&prometheus::Registry::new()).unwrap())
}

fn room(folder: &Path, recording: RecordingSettings) -> Room {
    let settings = settings(folder.to_owned(), LimitSettings::default());
    Room::new(&Settings { recording, ..settings }, metrics())
}

/// A finished recording of this principal, of at least so many bytes.
fn recording(room: &Room, number: usize, principal: &str, bytes: usize) -> u64 {
    let id = format!("se-{number}");
    let start = Start {
        session: id.as_str().into(),
        principal: principal.into(),
        name: "x".repeat(bytes).into(),
        ..Start::default()
    };
    let mut account = room.account(&principal.parse().unwrap(), &id.parse().unwrap());
    let mut writer = Writer::new(&id);
    writer.push(&Event { t: 0, kind: Kind::Start(Box::new(start)) }).unwrap();
    let stored = writer.seal();
    let mut file = fs::File::create_new(room.folder.join(format!("{id}.rec"))).unwrap();
    file.write_all(stored).unwrap();
    account.add(stored.len() as u64);
    account.written()
}

#[rstest]
#[case::share_of_a_large_disk("5%", 100 << 30, 5 << 30)]
#[case::at_least_half_a_gibibyte("5%", 4 << 30, 512 << 20)]
#[case::a_quarter_of_a_tiny_disk("5%", 64 << 20, 16 << 20)]
#[case::a_size_is_taken_as_it_is("1MiB", 100 << 30, 1 << 20)]
fn the_reserve_fits_its_disk(#[case] reserve: &str, #[case] whole: u64, #[case] bytes: u64) {
    let settings = RecordingSettings { reserve: reserve.parse().unwrap(), ..roomy() };
    // A hundredth of a size isn't a whole number of bytes.
    assert!(settings.reserve_of(whole).abs_diff(bytes) < 100);
}

#[test]
fn who_is_over_quota_is_refused_and_others_are_not() {
    let folder = TempDir::new().unwrap();
    let quotas = RecordingSettings { principal_quota: size(4 * KIB), ..roomy() };
    let room = room(folder.path(), quotas);
    let (alice, bob) = ("alice".parse().unwrap(), "bob".parse().unwrap());
    assert_eq!(room.admit(&alice), Ok(()));
    recording(&room, 1, "alice", 5_000);
    let refused = room.admit(&alice).unwrap_err();
    assert_eq!(refused.code(), "principal-quota");
    assert!(refused.to_string().starts_with("your recordings take 5"), "{refused}");
    assert_eq!(room.admit(&bob), Ok(()));

    assert!(room.wants_count(), "a session was refused: files may have been moved away");
    fs::remove_file(folder.path().join("se-1.rec")).unwrap();
    room.count();
    assert_eq!(room.admit(&alice), Ok(()));
}

#[test]
fn the_quota_of_the_spool_is_everybodys() {
    let folder = TempDir::new().unwrap();
    let quotas = RecordingSettings { spool_quota: size(4 * KIB), ..roomy() };
    let room = room(folder.path(), quotas);
    recording(&room, 1, "alice", 5_000);
    assert_eq!(room.admit(&"bob".parse().unwrap()).unwrap_err().code(), "spool-quota");
}

#[test]
fn below_the_reserve_no_session_begins_and_below_half_of_it_live_ones_end() {
    let folder = TempDir::new().unwrap();
    let room = room(folder.path(), roomy());
    let alice = "alice".parse().unwrap();
    let account = room.account(&alice, &"se-1".parse().unwrap());
    let free = measure(folder.path()).unwrap().free;
    for (reserve, begins, goes_on) in
        [(free / 2, true, true), (free + free / 2, false, true), (free * 4, false, false)]
    {
        room.set(RecordingSettings { reserve: size(reserve), ..roomy() });
        let admitted = room.admit(&alice);
        assert_eq!(admitted.is_ok(), begins, "{reserve}");
        if let Err(full) = admitted {
            assert_eq!(full.code(), "reserve");
        }
        assert_eq!(room.full(&account).is_none(), goes_on, "{reserve}");
    }
}

#[test]
fn the_disk_of_the_state_keeps_its_reserve() {
    let (folder, state) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let mut settings = settings(folder.path().to_owned(), LimitSettings::default());
    settings.state = Some(state.path().join("moved-away"));
    let room = Room::new(&settings, metrics());
    let alice = "alice".parse().unwrap();
    assert_eq!(room.admit(&alice), Err(Full::Unmeasured(Errno::NOENT)));
    fs::create_dir(state.path().join("moved-away")).unwrap();
    assert_eq!(room.admit(&alice), Ok(()));
}

#[test]
fn where_the_space_cannot_be_measured_no_session_begins() {
    let folder = TempDir::new().unwrap();
    let room = room(&folder.path().join("spool"), roomy());
    let alice = "alice".parse().unwrap();
    assert_eq!(room.admit(&alice), Err(Full::Unmeasured(Errno::NOENT)));
    fs::create_dir(folder.path().join("spool")).unwrap();
    assert_eq!(room.admit(&alice), Ok(()), "it comes back by itself");
}

#[test]
fn what_is_no_recording_belongs_to_nobody_and_counts_in_all() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("se-1.rec"), "no recording").unwrap();
    fs::write(folder.path().join("notes.txt"), "not counted").unwrap();
    fs::create_dir(folder.path().join("se-2.rec")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, folder.path().join("se-3.rec"), 0o600.into()).unwrap();
    let room = room(folder.path(), roomy());
    let whole = recording(&room, 4, "alice", 10);
    // Alice's, under another name: it doesn't verify, so that it isn't hers.
    fs::copy(folder.path().join("se-4.rec"), folder.path().join("se-5.rec")).unwrap();
    room.count();
    room.count();
    assert_eq!(room.ledger.used_by(&"alice".parse().unwrap()), whole);
    assert_eq!(room.ledger.total(), whole * 2 + 12);
}

#[test]
fn a_count_during_writes_loses_nothing() {
    const THREADS: usize = 4;
    const EACH: usize = 200;
    let folder = TempDir::new().unwrap();
    let room = room(folder.path(), roomy());
    let running = AtomicUsize::new(THREADS);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (room, running) = (&room, &running);
            scope.spawn(move || {
                for n in 0..EACH {
                    recording(room, thread * EACH + n, ["alice", "bob"][n % 2], n);
                }
                running.fetch_sub(1, Ordering::Relaxed);
            });
        }
        while running.load(Ordering::Relaxed) > 0 {
            room.count();
        }
    });
    let accounted = ["alice", "bob"].map(|who| room.ledger.used_by(&who.parse().unwrap()));
    let files = fs::read_dir(folder.path()).unwrap();
    let on_disk: u64 = files.map(|file| file.unwrap().metadata().unwrap().len()).sum();
    assert_eq!((accounted.iter().sum(), room.ledger.total()), (on_disk, on_disk));
    let again = super::super::spool_use(folder.path()).unwrap();
    assert_eq!(again.by_principal[&"alice".parse().unwrap()], accounted[0]);
    assert_eq!(again.total(), on_disk);
}

/// What a test does to recordings; the number chooses among those that there are.
#[derive(Debug, Clone)]
enum Step {
    Begin(usize),
    Write(usize, usize),
    End(usize),
    /// The session's task is torn down.
    Drop(usize),
    /// An admin moves a finished recording away.
    Remove(usize),
    Count,
    /// The process is killed, and starts again.
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..3_usize).prop_map(Step::Begin),
        8 => (0..8_usize, 0..20_000_usize).prop_map(|(which, bytes)| Step::Write(which, bytes)),
        2 => (0..8_usize).prop_map(Step::End),
        1 => (0..8_usize).prop_map(Step::Drop),
        1 => (0..8_usize).prop_map(Step::Remove),
        1 => Just(Step::Count),
        1 => Just(Step::Restart),
    ]
}

const WHO: [&str; 3] = ["alice", "bob", "carol"];

/// A gateway's recordings, and whose each file is.
struct Model {
    rig: Rig,
    spool: Spool,
    live: Vec<(Session, Recorder)>,
    owners: BTreeMap<SessionId, &'static str>,
}

impl Model {
    fn new() -> Self {
        let rig = Rig::new();
        let leases = WHO.map(|who| policies::Lease {
            key: crate::core::testing::key(who, "app@orders/shop"),
            ..lease(&format!("gr-{who}"), Term::Until(at(600)))
        });
        rig.grant(leases.into(), Partition::Cut);
        let spool = rig.plane.spool.clone();
        Self { rig, spool, live: Vec::new(), owners: BTreeMap::new() }
    }

    async fn take(&mut self, step: &Step) {
        let among = |which: &usize, many: usize| which.checked_rem(many);
        match step {
            Step::Begin(who) => {
                let principal = WHO[*who].parse().unwrap();
                let identity = Identity { principal, ..alice() };
                let session = self.rig.open_as(identity, "192.0.2.7:5555");
                let recorder = Recorder::create(&self.spool, &session).unwrap();
                self.owners.insert(session.id().clone(), WHO[*who]);
                self.live.push((session, recorder));
            }
            Step::Write(which, bytes) => {
                let Some(which) = among(which, self.live.len()) else { return };
                let text = "x".repeat(*bytes);
                let kind = Kind::Query { n: 1, text: text.as_str().into() };
                let (_, recorder) = &mut self.live[which];
                recorder.push(&Event { t: 0, kind }).unwrap();
                recorder.flush().unwrap();
            }
            Step::End(which) => {
                let Some(which) = among(which, self.live.len()) else { return };
                let (_session, recorder) = self.live.swap_remove(which);
                recorder.finish(&policies::End::Closed, &Tally::default()).unwrap();
            }
            Step::Drop(which) => {
                let Some(which) = among(which, self.live.len()) else { return };
                drop(self.live.swap_remove(which));
            }
            Step::Remove(which) => {
                let live = |id: &SessionId| self.live.iter().any(|(session, _)| session.id() == id);
                let over: Vec<_> = self.owners.keys().filter(|id| !live(id)).cloned().collect();
                let Some(which) = among(which, over.len()) else { return };
                fs::remove_file(self.path(&over[which])).unwrap();
                self.owners.remove(&over[which]);
                self.spool.room().count();
            }
            Step::Count => self.spool.room().count(),
            Step::Restart => {
                self.live.drain(..).for_each(std::mem::forget);
                let plane = &self.rig.plane;
                let opened = Spool::open(&plane.settings, plane.clock.clone(), metrics());
                self.spool = opened.unwrap();
                self.spool.counted().await;
            }
        }
    }

    fn path(&self, session: &SessionId) -> PathBuf {
        self.rig.plane.settings.recordings.join(format!("{session}.rec"))
    }

    fn check(&self) {
        let mut sizes = BTreeMap::from(WHO.map(|who| (who, 0)));
        for (session, who) in &self.owners {
            *sizes.entry(who).or_default() += fs::metadata(self.path(session)).unwrap().len();
        }
        let ledger = &self.spool.room().ledger;
        for (who, size) in &sizes {
            assert_eq!(ledger.used_by(&who.parse().unwrap()), *size, "{who}");
        }
        assert_eq!(ledger.total(), sizes.values().sum::<u64>());
        assert_eq!(ledger.largest(), *sizes.values().max().unwrap());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn what_is_accounted_is_what_the_files_take(steps in proptest::collection::vec(step(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut model = Model::new();
            model.spool.counted().await;
            for step in &steps {
                model.take(step).await;
                model.check();
            }
        });
    }
}

fn query(text: &str) -> Event<'_> {
    Event { t: 0, kind: Kind::Query { n: 1, text: text.into() } }
}

fn verify(rig: &Rig, session: &Session) -> Verified {
    let path = rig.plane.settings.recordings.join(format!("{}.rec", session.id()));
    Reader::new(fs::File::open(path).unwrap()).verify().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_session_that_reaches_its_quota_is_recorded_to_its_end() {
    let rig = Rig::new();
    rig.grant(vec![lease("gr-1", Term::Until(at(600)))], Partition::Cut);
    let quotas = RecordingSettings { session_quota: size(2 * KIB), ..roomy() };
    rig.plane.spool.set(quotas);
    let session = rig.open();
    let mut recorder = Recorder::create(&rig.plane.spool, &session).unwrap();
    recorder.push(&query("select 1")).unwrap();
    recorder.flush().unwrap();
    let large = "x".repeat(2_048);
    recorder.push(&query(&large)).unwrap();
    let error = recorder.flush().unwrap_err();
    let policies::End::RecordingFull(why) = super::super::end_of(&error) else { panic!("{error}") };
    assert!(why.contains("its quota of 2KiB"), "{why}");
    assert!(recorder.push(&query("select 2")).is_err(), "nothing passes any more");
    assert!(recorder.flush().is_err());
    let head = recorder.finish(&super::super::end_of(&error), &Tally::default()).unwrap();
    let verified = verify(&rig, &session);
    assert_eq!((verified.tail, verified.head, verified.events), (Tail::Sealed, Some(head), 4));
}
