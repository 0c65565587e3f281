//! The demo runs all of its steps by itself, with the real `psql`, and checks every step.

use std::process::{Command, Stdio};

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_tells_its_story_and_every_step_is_as_told() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_postern"));
    command.args(["demo", "--script"]).stdin(Stdio::null());
    let (ok, out, errors) = crate::support::run(command).await;
    assert!(ok, "{out}\n{errors}");
    for step in [
        "refused, with what to do",
        "there are rows",
        "its person",
        "cut after",
        "the command ran",
        "the file is here",
        "cut in the middle",
        "All steps passed",
    ] {
        assert!(out.contains(step), "{step}: {out}");
    }
}
