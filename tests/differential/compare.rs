//! Runs each case of a suite at both places, and compares what the client printed and how it ended.

use std::fmt::Write as _;
use std::process::Command;

use regex::Regex;

use crate::cases::{self, Case};
use crate::place::{Place, Places, Suite};

/// How long one script may take, in seconds.
const TIMEOUT: &str = "60";

/// What differs from run to run, whoever answers.
const VARYING: [(&str, &str); 4] = [
    (r"(server process with PID|backend pid) \d+", "$1 <pid>"),
    (r"127\.0\.0\.1:\d+", "<address>"),
    (r"\bport \d{4,5}", "port <port>"),
    (r"\d+\.\d+ (ms|s\b|seconds)", "<time> $1"),
];

/// Fails with all cases that should be the same and aren't, or should differ and don't.
pub async fn compare(suite: &Suite, places: &Places) {
    let only = std::env::var("CASE").unwrap_or_default();
    let mut wrong = String::new();
    for case in cases::read(suite.name).iter().filter(|case| case.name.contains(&only)) {
        let direct = run(suite, &places.direct, places, case).await;
        let through = run(suite, &places.through, places, case).await;
        if (direct == through) == case.differs.is_some() {
            let Case { name, script, .. } = case;
            let _ = write!(
                wrong,
                "\n== {name}\n{script}-- direct:\n{direct}-- through the gateway:\n{through}"
            );
        }
    }
    assert!(wrong.is_empty(), "the {} cases that are not as they should be:\n{wrong}", suite.name);
}

async fn run(suite: &Suite, place: &Place, places: &Places, case: &Case) -> String {
    places.reset();
    let mut command = Command::new("timeout");
    command.args(["--kill-after=5", TIMEOUT]);
    suite.command(&mut command, place, &case.script);
    let output = tempfile::tempfile().unwrap();
    command.stdout(output.try_clone().unwrap()).stderr(output.try_clone().unwrap());
    let status = tokio::task::spawn_blocking(move || command.status()).await.unwrap().unwrap();
    let text = String::from_utf8_lossy(&read(output)).into_owned();
    let end = status.code().map_or_else(|| status.to_string(), |code| format!("exit {code}"));
    format!("{}\n{end}\n", place.mask(&steady(text)))
}

fn read(mut file: std::fs::File) -> Vec<u8> {
    use std::io::{Read, Seek};
    let mut bytes = Vec::new();
    file.rewind().and_then(|()| file.read_to_end(&mut bytes)).unwrap();
    bytes
}

fn steady(mut text: String) -> String {
    for (pattern, replacement) in VARYING {
        text = Regex::new(pattern).unwrap().replace_all(&text, replacement).into_owned();
    }
    text
}
