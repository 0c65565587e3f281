use std::collections::BTreeSet;

use policies::{Lock, Ttl};

use super::*;
use crate::model::high_water::{Factor, IssuedCredential};

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

fn point(epoch: u64, event: i64) -> StorePoint {
    StorePoint { store: "a".into(), epoch, event, digest: format!("digest-{event}") }
}

fn known(epoch: u64, event: i64) -> Known {
    Known::new(point(epoch, event), NOW)
}

fn lock_on(id: &str, reason: &str) -> Lock {
    Lock {
        id: id.parse().unwrap(),
        subject: "principal:alice".parse().unwrap(),
        reason: reason.into(),
        by: "eve".parse().unwrap(),
        at: NOW,
        until: None,
        members: BTreeSet::new(),
    }
}

fn path(folder: &tempfile::TempDir) -> PathBuf {
    folder.path().join(HIGH_WATER_FILE)
}

fn read_back(path: &Path) -> Known {
    read(path).unwrap().unwrap().unwrap()
}

#[test]
fn a_store_that_lacks_what_is_known_went_back_and_every_other_did_not() {
    let restored = Known { restored: Some(NOW), ..known(1, 7) };
    let (newest, older, other) = (Some("digest-7"), None, Some("another"));
    for (store, marked, known, digest, went_back) in [
        (point(1, 7), true, Some(known(1, 7)), newest, false),
        // Killed before the mark was written.
        (point(1, 9), true, Some(known(1, 7)), newest, false),
        (point(2, 3), true, Some(known(1, 7)), older, false),
        (point(1, 7), false, None, older, false),
        (point(1, 0), false, Some(known(1, 0)), older, false),
        (point(1, 6), true, Some(known(1, 7)), older, true),
        (point(1, 9), true, Some(known(1, 7)), other, true),
        (point(1, 99), true, Some(known(2, 7)), newest, true),
        (point(1, 7), true, None, newest, true),
        (point(1, 7), true, Some(restored.clone()), newest, true),
        (point(2, 7), true, Some(restored), newest, false),
        (StorePoint { store: "b".into(), ..point(1, 7) }, false, Some(known(1, 7)), newest, true),
    ] {
        let compared = compare(&store, marked, known.as_ref(), digest);
        assert_eq!(compared.is_err(), went_back, "{store:?} {known:?}: {compared:?}");
    }
}

#[test]
fn what_was_saved_is_read_again_and_a_line_that_a_kill_tore_is_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let mark = HighWater::new(path(&folder), known(1, 1));
    mark.save().unwrap();
    let issued = IssuedCredential {
        id: "0f3a".parse().unwrap(),
        whose: "alice".parse().unwrap(),
        expires_at: NOW.after(Ttl::from_secs(60)),
    };
    let facts = vec![
        Fact::Locked(lock_on("lk-1", "lost")),
        Fact::Locked(lock_on("lk-2", "a \"quoted\"\nreason")),
        Fact::Lifted("lk-1".parse().unwrap()),
        Fact::Issued(issued.clone()),
        Fact::removed(Factor::Passkey("pk-1".into()), NOW),
        Fact::removed(Factor::App("bob".parse().unwrap()), NOW),
    ];
    mark.note(facts, Some((5, "digest-5".into())), NOW);
    mark.save().unwrap();
    let found = read_back(&path(&folder));
    assert_eq!(found.point, point(1, 5));
    assert_eq!(found.locks.keys().map(|id| id.as_str()).collect::<Vec<_>>(), ["lk-2"]);
    assert_eq!(found.issued.values().collect::<Vec<_>>(), [&issued]);
    assert_eq!(found.removed.len(), 2);
    // The same from a file that was replaced as a whole.
    assert_eq!(found, Known::of(found.facts()).unwrap());

    let text = std::fs::read_to_string(path(&folder)).unwrap();
    let first = text.find('\n').unwrap() + 1;
    for end in first..text.len() {
        let cut = file::parse(&text[..end]).unwrap();
        assert!(cut.point.event <= 5, "{end}");
    }
    for damaged in [&text[..first - 1], "", "{}\n", &format!("{text}x\n"), &text[1..]] {
        assert!(matches!(file::parse(damaged), Err(Rollback::Damaged(_))), "{damaged}");
    }
}

#[test]
fn the_file_holds_what_counts_and_does_not_grow_for_ever() {
    let folder = tempfile::tempdir().unwrap();
    let mark = HighWater::new(path(&folder), known(1, 1));
    let reason = "x".repeat(50_000);
    let mut longest = 0;
    for event in 2..40 {
        mark.note(vec![Fact::Locked(lock_on("lk-1", &reason))], Some((event, "d".into())), NOW);
        mark.save().unwrap();
        longest = longest.max(path(&folder).metadata().unwrap().len());
    }
    assert!(longest < 600_000, "{longest}");
    assert_eq!(read_back(&path(&folder)).point.event, 39);
}

#[test]
fn after_a_write_that_failed_everything_is_written_anew() {
    let folder = tempfile::tempdir().unwrap();
    let (state, away) = (folder.path().join("state"), folder.path().join("away"));
    std::fs::create_dir(&state).unwrap();
    let file = state.join(HIGH_WATER_FILE);
    let mark = HighWater::new(file.clone(), known(1, 1));
    std::fs::rename(&state, &away).unwrap();
    mark.note(vec![Fact::Locked(lock_on("lk-1", "lost"))], Some((2, "d".into())), NOW);
    assert!(mark.save().is_err());
    assert!(mark.save().is_err(), "it is still to be written");
    std::fs::rename(&away, &state).unwrap();
    mark.save().unwrap();
    let found = read_back(&file);
    assert_eq!((found.point.event, found.locks.len()), (2, 1));
}

#[test]
fn what_ended_by_itself_is_forgotten_and_removed_keys_are_kept_for_years() {
    let mut known = known(1, 1);
    let lock = Lock { until: Some(NOW), ..lock_on("lk-1", "over") };
    known.apply(Fact::Locked(lock));
    known.apply(Fact::Locked(lock_on("lk-2", "lasting")));
    known.apply(Fact::removed(Factor::SshKey("sk-1".into()), NOW));
    known.forget(NOW.after(Ttl::from_secs(366 * 24 * 3_600)));
    assert_eq!((known.locks.len(), known.removed.len()), (1, 1));
    for number in 0..10_010 {
        let at = NOW.after(Ttl::from_secs(number));
        known.apply(Fact::removed(Factor::Passkey(format!("pk-{number}")), at));
    }
    known.forget(NOW);
    assert_eq!(known.removed.len(), 10_000);
    assert!(known.removed.contains_key(&Factor::Passkey("pk-10009".into())));
}
