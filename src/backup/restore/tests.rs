use super::*;

/// A state folder with an old state, and a restore into it that is done but for the moves.
fn begun(folder: &Path) {
    let _ = fs::remove_dir_all(folder);
    let pending = folder.join(PENDING);
    fs::create_dir_all(folder.join(AUTHORITY)).unwrap();
    fs::create_dir_all(pending.join(AUTHORITY)).unwrap();
    for name in [DATABASE, "postern.db-wal", VAULT_KEY, "authority/ca.pem"] {
        fs::write(folder.join(name), "old").unwrap();
    }
    for name in [DATABASE, VAULT_KEY, "authority/ca.pem", HIGH_WATER_FILE] {
        fs::write(pending.join(name), "new").unwrap();
    }
    let brings = [DATABASE, VAULT_KEY, AUTHORITY].map(str::to_owned).to_vec();
    let plan = Plan { brings, replaced: "replaced-1".to_owned(), recordings: None };
    write_plan(&pending.join(PLAN), &plan).unwrap();
}

fn is_new(folder: &Path) {
    for name in [DATABASE, VAULT_KEY, "authority/ca.pem", HIGH_WATER_FILE] {
        assert_eq!(fs::read_to_string(folder.join(name)).unwrap(), "new", "{name}");
        if name != HIGH_WATER_FILE {
            let kept = folder.join("replaced-1").join(name);
            assert_eq!(fs::read_to_string(kept).unwrap(), "old", "{name}");
        }
    }
    assert!(!is_there(&folder.join("postern.db-wal")), "it belongs to the old database");
    assert!(!is_there(&folder.join(PENDING)));
}

/// The moves of a restore in their order: those before a kill were made, those after it were not.
#[test]
fn a_restore_that_was_interrupted_anywhere_is_finished() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("state");
    let aside = folder.join("replaced-1");
    let pending = folder.join(PENDING);
    let moves: Vec<(PathBuf, PathBuf)> = [
        ("postern.db-wal", true),
        (DATABASE, true),
        (DATABASE, false),
        (VAULT_KEY, true),
        (VAULT_KEY, false),
        (AUTHORITY, true),
        (AUTHORITY, false),
        (HIGH_WATER_FILE, false),
    ]
    .into_iter()
    .map(|(name, away)| match away {
        true => (folder.join(name), aside.join(name)),
        false => (pending.join(name), folder.join(name)),
    })
    .collect();
    for done in 0..=moves.len() {
        begun(&folder);
        fs::create_dir(&aside).unwrap();
        for (from, to) in moves.iter().take(done) {
            fs::rename(from, to).unwrap();
        }
        finish_restore(&folder).unwrap();
        is_new(&folder);
        finish_restore(&folder).unwrap();
        is_new(&folder);
    }
    begun(&folder);
    finish_restore(&folder).unwrap();
    is_new(&folder);
}

#[test]
fn a_restore_that_never_began_is_cleared_away() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("state");
    fs::create_dir_all(folder.join(STAGED)).unwrap();
    fs::write(folder.join(STAGED).join(DATABASE), "half of it").unwrap();
    fs::write(folder.join(DATABASE), "old").unwrap();
    finish_restore(&folder).unwrap();
    assert!(!is_there(&folder.join(STAGED)));
    assert_eq!(fs::read_to_string(folder.join(DATABASE)).unwrap(), "old");
}

#[test]
fn recordings_are_moved_and_none_is_replaced() {
    let parent = tempfile::tempdir().unwrap();
    let (folder, recordings) = (parent.path().join("state"), parent.path().join("recordings"));
    begun(&folder);
    let staged = recordings.join(STAGED);
    fs::create_dir_all(&staged).unwrap();
    fs::write(staged.join("se-1.rec"), "restored").unwrap();
    fs::write(staged.join("se-2.rec"), "restored").unwrap();
    fs::write(recordings.join("se-2.rec"), "longer than it was").unwrap();
    let plan = Plan {
        brings: [DATABASE, VAULT_KEY, AUTHORITY].map(str::to_owned).to_vec(),
        replaced: "replaced-1".to_owned(),
        recordings: Some(recordings.clone()),
    };
    fs::remove_file(folder.join(PENDING).join(PLAN)).unwrap();
    write_plan(&folder.join(PENDING).join(PLAN), &plan).unwrap();
    finish_restore(&folder).unwrap();
    let read = |name: &str| fs::read_to_string(recordings.join(name)).unwrap();
    assert_eq!(
        (read("se-1.rec").as_str(), read("se-2.rec").as_str()),
        ("restored", "longer than it was")
    );
    assert!(!is_there(&staged));
}
