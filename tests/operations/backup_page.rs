//! `docs/backup.md`: every command on it works as it stands there, in its order.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::small::{Running, Small};
use crate::support::{run, until_some};

const PAGE: &str = include_str!("../../docs/backup.md");

/// The commands of the page: lines that are indented by four spaces.
fn commands() -> Vec<&'static str> {
    PAGE.lines().filter_map(|line| line.strip_prefix("    ")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_of_the_page_about_backups_works() {
    let small = Small::new();
    let folder = small.folder.path().to_owned();
    fs::create_dir(folder.join("backups")).unwrap();
    let editor = editor(&folder);
    let mut running = Some(small.run().await);
    let mut ran = 0;
    for line in commands() {
        let here = line
            .replace("/var/backups/postern", &folder.join("backups").display().to_string())
            .replace("/srv/drill", &folder.join("drill").display().to_string());
        if line.starts_with("systemctl stop postern") {
            if let Some(running) = running.take() {
                running.stop().await;
            }
        } else if line.starts_with("postern up") {
            starts(&small, &here).await;
        } else {
            if line.contains("--up-to-date") {
                other_machine(&small);
            }
            let mut command = Command::new("sh");
            command
                .args(["-euc", &here])
                .env("EDITOR", &editor)
                .env("POSTERN_CONFIG", &small.config);
            command.env("PATH", path()).stdin(std::process::Stdio::null());
            command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
            let (ok, out, errors) = run(command).await;
            assert!(ok, "`{line}`: {out}{errors}");
        }
        ran += 1;
    }
    assert!(ran >= 15, "the page lost its commands: {ran}");
    drop::<Option<Running>>(running);
}

/// Runs `postern up …` until it is up, and stops it.
async fn starts(small: &Small, line: &str) {
    let args: Vec<&str> = line.split_whitespace().skip(1).collect();
    let log = small.path("page-log");
    let mut command = small.postern(&args);
    let mut child = command.stderr(fs::File::create(&log).unwrap()).spawn().unwrap();
    until_some("the gateway is up", async || {
        let output = fs::read_to_string(&log).unwrap();
        assert!(child.try_wait().unwrap().is_none(), "`{line}`: {output}");
        output.contains("the gateway is up").then_some(())
    })
    .await;
    let killed = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    assert!(killed.success());
    until_some("it has ended", async || child.try_wait().unwrap()).await;
}

/// Another machine has the configuration, and an empty state folder.
fn other_machine(small: &Small) {
    fs::remove_dir_all(small.state()).unwrap();
}

/// What a person does to the copy of the configuration: a state folder of its own, and its secrets.
fn editor(folder: &Path) -> String {
    use std::os::unix::fs::PermissionsExt;
    let path = folder.join("editor");
    let secret = folder.join("app_rw");
    let script = format!(
        "#!/bin/sh\nset -eu\nsed -i 's|^state = .*|state = \"state\"|; s|\"app_rw\"|\"{}\"|' \"$1\"\n",
        secret.display()
    );
    fs::write(&path, script).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
    path.display().to_string()
}

/// The path, with the program of this build first.
fn path() -> String {
    let program = Path::new(env!("CARGO_BIN_EXE_postern"));
    let rest = std::env::var("PATH").unwrap();
    format!("{}:{rest}", program.parent().unwrap().display())
}
