//! One program a channel, and no bytes before it.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::bed::{OPEN, Setup, SshBed, kept};
use crate::support::until;
use crate::wire::{hostile, hostile_with};

/// A folder in which the target's login may write.
fn open_folder(above: &Path) -> tempfile::TempDir {
    let folder = tempfile::tempdir_in(above).unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    folder
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_program_on_a_channel_ends_it_and_nothing_happens_outside_the_limit() {
    let above = std::env::temp_dir().canonicalize().unwrap();
    let (inside, outside) = (open_folder(&above), open_folder(&above));
    let target = format!("under = [\"{}\"]", inside.path().display());
    let bed = SshBed::with(&target, OPEN).await;
    bed.grant("1h").await;
    let case = "a_second_program_within_a_write_reaches_nothing";
    hostile_with(&bed, case, &[inside.path(), outside.path()]).await;
    until("the session is over", || kept(&bed.events(), "\"e\":\"end\"")).await;
    let events = bed.events();
    let refused = events.iter().find(|line| line.contains("this channel has had its program"));
    let refused = refused.unwrap_or_else(|| panic!("{events:?}"));
    assert!(refused.contains(r#""ssh":"refused","ch":0,"what":"subsystem""#), "{refused}");
    assert!(!kept(&events, "hidden"), "what was hidden in a write never was an operation");
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_have_no_way_to_a_target_before_a_program_and_it_is_recorded_that_some_came() {
    let bed = SshBed::start().await;
    bed.grant("1h").await;
    hostile(&bed, "bytes_have_no_way_before_a_program").await;
    assert!(!bed.at_home("early").exists());
    until("all of it stands in the recording", || {
        let events = bed.events();
        let count = |what: &str| events.iter().filter(|line| line.contains(what)).count();
        count("data came before any program") == 2
            && count("after the end of its input") == 1
            && count("this channel has had its program") == 3
            && count(r#""ssh":"closed""#) == 6
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn file_transfer_in_a_terminal_is_refused_since_the_target_would_read_other_bytes() {
    let bed = SshBed::made(Setup { target: "read_only = true", ..Setup::default() }).await;
    bed.grant("1h").await;
    hostile(&bed, "file_transfer_has_no_terminal").await;
    until("it stands in the recording", || kept(&bed.events(), "without a terminal")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_prepares_a_program_is_refused_once_it_runs_and_signals_and_sizes_are_not() {
    let bed = SshBed::start().await;
    bed.grant("1h").await;
    hostile(&bed, "nothing_prepares_a_program_that_runs").await;
    until("what went on stands in the recording", || {
        let events = bed.events();
        kept(&events, r#""ssh":"resize""#) && kept(&events, r#""ssh":"signal""#)
    })
    .await;
    assert!(!kept(&bed.events(), r#""ssh":"terminal""#));
}
