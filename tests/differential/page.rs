//! docs/compatibility.md, written from the cases: `UPDATE_DOCS=1` writes it again.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cases;
use crate::place::{SUITES, Suite};
use crate::support::program_path;

const HEAD: &str = "# Compatibility

What a client sees through the gateway is compared with what it sees at the target: the same script runs at
both places, and all that it prints and its exit status have to be the same. `tests/differential` has the
scripts, and this page is written from them.

| client | version tried | scripts | the same | meant to differ |
| --- | --- | --- | --- | --- |
";

/// Fails where the page isn't what the cases say. Versions may be newer here than when it was written.
pub fn check() {
    let (path, now) = (path(), text());
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &now).unwrap();
    }
    let page = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(
        without_versions(&page),
        without_versions(&now),
        "{path:?} is out of date: run this test with UPDATE_DOCS=1"
    );
}

fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/compatibility.md")
}

fn text() -> String {
    let (mut page, mut differences) = (HEAD.to_owned(), String::new());
    for suite in &SUITES {
        let cases = cases::read(suite.name);
        let differing: Vec<_> =
            cases.iter().filter_map(|case| Some((&case.name, case.differs.as_ref()?))).collect();
        let (all, other) = (cases.len(), differing.len());
        let (client, version) = (suite.client, version(suite));
        let _ = writeln!(page, "| {client} | {version} | {all} | {} | {other} |", all - other);
        for (name, why) in differing {
            let _ = writeln!(differences, "| {client} | {name} | {why} |");
        }
    }
    page + "\n## What is meant to differ\n\n| client | script | why |\n| --- | --- | --- |\n"
        + &differences
}

/// What the client says its version is.
fn version(suite: &Suite) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (program, words) = suite.version.split_first().unwrap();
    let mut command = Command::new(program_path(program));
    command.args(words).current_dir(root).env("NODE_PATH", root.join(".cache/node/node_modules"));
    let output = command.output().unwrap();
    String::from_utf8_lossy(&output.stdout).trim().replace('\n', ", ")
}

fn without_versions(page: &str) -> Vec<String> {
    page.lines()
        .map(|line| match line.split(" | ").collect::<Vec<_>>()[..] {
            [client, _, all, same, other] => [client, all, same, other].join(" | "),
            _ => line.to_owned(),
        })
        .collect()
}
