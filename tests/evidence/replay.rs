//! What `postern replay` makes of the recording of an SSH session that somebody hostile left.
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use audit::ssh::{FileOp, Ssh, Transfer};
use audit::{Digest, End, Event, Kind, Source, Start, Text, Value, Writer};
use tempfile::TempDir;

/// What takes over a terminal, in front of every text below.
const EVIL: &str = "\u{1b}]52;c;ZXZpbA==\u{7}\u{1b}]0;title\u{7}\u{1b}[2J\u{1b}[c\u{9b}31m\u{202e}";

fn recorded(folder: &Path) -> PathBuf {
    let evil = |text: &str| Text::from(format!("{EVIL}{text}").into_bytes());
    let session = [
        Ssh::Terminal { ch: 0, term: evil("xterm"), columns: 90, rows: 30 },
        Ssh::Exec { ch: 0, command: evil("top") },
        Ssh::Output { ch: 0, data: evil("load \u{1b}[31m1.5\u{1b}[0m\r\nfa") },
        Ssh::Output { ch: 0, data: Text::from(&b"\xc3"[..]) },
        Ssh::Output { ch: 0, data: Text::from(&b"\xbcnf\r\n"[..]) },
        Ssh::Input { ch: 0, data: Value::Omitted(8) },
        Ssh::File { ch: 1, n: 1, op: FileOp::Remove { path: evil("/srv/a") } },
        Ssh::FileDone { ch: 1, n: 1, status: 3, path: None },
        Ssh::FileClosed { ch: 1, n: 2, transfer: Transfer { cut: true, ..Transfer::default() } },
        Ssh::Refused { ch: None, what: evil("agent"), reason: "not allowed".into() },
        Ssh::Closed { ch: 0, bytes_in: 1, bytes_out: 2 },
    ];
    let start = Start {
        session: "se-1".into(),
        name: format!("{EVIL}Alice").into(),
        kind: "ssh".into(),
        login: "deploy".into(),
        target: "web-1".into(),
        at: "2026-01-02T03:04:05Z".into(),
        ..Start::default()
    };
    let mut writer = Writer::new("se-1");
    let begun = [Kind::Start(Box::new(start))].into_iter();
    let ended = End { end: "closed".into(), ..End::default() };
    let all = begun.chain(session.map(Kind::Ssh)).chain([Kind::End(ended)]);
    for (t, kind) in (0..).step_by(1_000).zip(all) {
        writer.push(&Event { t, kind }).unwrap();
    }
    let path = folder.join("se-1.rec");
    fs::write(&path, writer.take()).unwrap();
    path
}

fn replay(more: &[&str]) -> String {
    let folder = TempDir::new().unwrap();
    replayed(&recorded(folder.path()), more)
}

fn replayed(file: &Path, more: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_postern"));
    let output = command.args(["replay", "--file"]).arg(file).args(more).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn assert_harmless(text: &str) {
    let acts = |it: char| it.is_control() && it != '\n' || it == '\u{202e}';
    assert_eq!(text.chars().find(|it| acts(*it)), None, "{text:?}");
}

#[test]
fn an_ssh_session_is_read_without_a_terminal_being_touched() {
    for args in [&[][..], &["--speed", "1000"]] {
        let shown = replay(args);
        assert_harmless(&shown);
        for wanted in [
            "as deploy@web-1, by grant",
            "[0] exec ",
            "load 1.5\nfaünf\n",
            "␛]52;c;ZXZpbA==",
            "[1] #1 remove ",
            "#1 failed: permission denied",
            "cut by the end of the channel",
            "refused ",
            "the recording is whole and sealed",
        ] {
            assert!(shown.contains(wanted), "{wanted:?} in {shown}");
        }
    }
}

#[test]
fn json_has_every_event_as_it_was_recorded() {
    let shown = replay(&["--json"]);
    assert_harmless(&shown);
    let read: serde_json::Value = serde_json::from_str(&shown).unwrap();
    let events = read["events"].as_array().unwrap();
    assert_eq!(events.len(), 11);
    assert_eq!(events[1]["command"], format!("{EVIL}top"));
    assert_eq!(events[3]["data"]["base64"], "ww==");
    assert_eq!(events[5]["data"]["omitted"], 8);
    assert_eq!(read["recording"]["state"], "sealed");
}

#[test]
fn the_terminal_can_be_taken_to_another_player() {
    let shown = replay(&["--asciicast"]);
    assert_harmless(&shown);
    let lines: Vec<serde_json::Value> =
        shown.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&lines[0]["version"], &lines[0]["width"]), (&2.into(), &90.into()));
    assert_eq!(lines[0]["timestamp"], 1_767_323_045);
    let output: String = lines[1..]
        .iter()
        .filter(|line| line[1] == "o")
        .map(|line| line[2].as_str().unwrap())
        .collect();
    assert_eq!(output, format!("{EVIL}load \u{1b}[31m1.5\u{1b}[0m\r\nfaünf\r\n"));
}

/// A session of Postgres, of which not all can be known.
fn of_postgres(folder: &Path) -> PathBuf {
    let digest = Some(Digest([0xab; 32]));
    let values =
        vec![Value::Cut { first: evil_text("begin"), sha256: digest, from: 9, len: 99_999 }];
    let start = Start { session: "se-2".into(), kind: "postgres".into(), ..Start::default() };
    let done = |n| Kind::Done { n, tag: "SELECT 1".into(), rows: 1, bytes: 2, micros: 3 };
    let events = [
        Kind::Start(Box::new(start)),
        Kind::Query { n: 1, text: "copy t from stdin".into() },
        Kind::Data { of: Source::CopyIn, n: 1, data: evil_text("row") },
        Kind::CopyIn { n: 1, bytes: 12_345, sha256: digest, from: 0 },
        done(1),
        Kind::Parse { statement: "".into(), text: "select $1".into() },
        Kind::Bind { portal: "".into(), statement: "".into(), values: values.into() },
        Kind::Execute { n: 2, portal: "".into(), max_rows: 0 },
        Kind::Query { n: 3, text: "delete from t".into() },
        Kind::Unknown { from: 2, to: Some(3) },
        done(0),
        Kind::End(End { end: "closed".into(), ..End::default() }),
    ];
    let mut writer = Writer::new("se-2");
    for (t, kind) in (0..).step_by(1_000).zip(events) {
        writer.push(&Event { t, kind }).unwrap();
    }
    let path = folder.join("se-2.rec");
    fs::write(&path, writer.take()).unwrap();
    path
}

fn evil_text(text: &str) -> Text<'static> {
    Text::from(format!("{EVIL}{text}").into_bytes())
}

#[test]
fn what_is_not_known_of_a_statement_is_said_and_what_is_kept_of_data_is_shown() {
    let folder = TempDir::new().unwrap();
    let file = of_postgres(folder.path());
    let shown = replayed(&file, &[]);
    assert_harmless(&shown);
    assert_eq!(shown.matches("outcome unknown").count(), 2, "{shown}");
    let sha256 = "ab".repeat(32);
    for wanted in [
        format!("row' (12345 B, sha256 {sha256})"),
        format!("begin' (99999 B, sha256 {sha256} from byte 9 on)"),
        "#3 +8.0ms  outcome unknown\n    delete from t".to_owned(),
    ] {
        assert!(shown.contains(&wanted), "{wanted:?} in {shown}");
    }
    let read: serde_json::Value = serde_json::from_str(&replayed(&file, &["--json"])).unwrap();
    let statements = read["statements"].as_array().unwrap();
    let unknown: Vec<_> = statements.iter().map(|it| it["unknown"].as_bool().unwrap()).collect();
    assert_eq!(unknown, [false, true, true]);
    assert_eq!(statements[0]["copies"][0]["sha256"], sha256);
    assert_eq!(statements[1]["values"][0]["len"], 99_999);
}
