//! Outcomes in the recording are what the target did, or "unknown": with a real Postgres, where a COPY
//! fails before its client knows, and beside it.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use audit::{Reader, Statement, Statements};

use crate::recording::{bed_with, sealed};
use crate::support::raw::{Message, Tls, framed, query, read_until, send, session};

fn statements(path: &Path) -> Vec<Statement> {
    let reader = Reader::new(BufReader::new(File::open(path).unwrap()));
    Statements::new(reader).map(Result::unwrap).collect()
}

/// Each statement's text, with the tags and SQLSTATEs of its outcomes.
fn outcomes(path: &Path) -> Vec<(String, Vec<String>)> {
    let all = statements(path).into_iter().map(|statement| {
        assert!(!statement.unknown, "{statement:?}");
        let outcomes = statement.outcomes.into_iter();
        let outcomes = outcomes.map(|outcome| outcome.sqlstate.unwrap_or(outcome.tag)).collect();
        (statement.text.as_deref().unwrap_or_default().to_owned(), outcomes)
    });
    all.collect()
}

/// The same as the client saw it: tags and SQLSTATEs in order.
fn seen(messages: &[Message]) -> Vec<String> {
    let outcomes = messages.iter().filter_map(|message| match message.kind {
        b'C' => Some(String::from_utf8_lossy(&message.body).trim_end_matches('\0').to_owned()),
        b'E' => Some(message.field(b'C')),
        b'V' => Some("FUNCTION CALL".to_owned()),
        _ => None,
    });
    outcomes.collect()
}

fn parse_bind_execute(sql: &str) -> Vec<u8> {
    [
        framed(Some(b'P'), format!("\0{sql}\0\0\0").as_bytes()),
        framed(Some(b'B'), &[0; 8]),
        framed(Some(b'E'), &[0; 5]),
    ]
    .concat()
}

fn sync() -> Vec<u8> {
    framed(Some(b'S'), b"")
}

async fn ready(stream: &mut Tls, times: usize) -> Vec<Message> {
    let mut all = Vec::new();
    for _ in 0..times {
        all.extend(read_until(stream, b'Z').await);
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_fails_before_its_client_knows_shifts_no_outcome() {
    let (bed, files) = bed_with("").await;
    let (mut stream, _) = session(&bed, &files, "app_rw", "orders").await;
    send(&mut stream, &query("create temp table nums (i int)")).await;
    ready(&mut stream, 1).await;
    // Many tables make the target's abort take a while: what is sent meanwhile waits for it.
    let many = "do $$ begin for i in 1..300 loop \
                execute format('create temp table t%s (i int, x text)', i); end loop; end $$";
    let flush = framed(Some(b'H'), b"");
    let copy = [parse_bind_execute(many), parse_bind_execute("copy nums from stdin"), flush];
    send(&mut stream, &copy.concat()).await;
    read_until(&mut stream, b'G').await;
    send(&mut stream, &[framed(Some(b'd'), b"not a number\n"), sync()].concat()).await;
    read_until(&mut stream, b'E').await;
    let next = [
        parse_bind_execute("select 1 / 0"),
        sync(),
        parse_bind_execute("create temp table stolen as select 'payroll' as w"),
        sync(),
    ];
    send(&mut stream, &next.concat()).await;
    // The Sync within the COPY was read behind the failure, so that it is answered too.
    assert_eq!(seen(&ready(&mut stream, 3).await), ["22012", "SELECT 1"]);
    send(&mut stream, &framed(Some(b'X'), b"")).await;
    let statements = outcomes(&sealed(&bed).await);
    let outcome = |text: &str| {
        statements
            .iter()
            .find(|(sql, _)| sql.contains(text))
            .map(|(_, outcomes)| outcomes.join(","))
    };
    assert_eq!(outcome("copy nums").as_deref(), Some("22P02"));
    assert_eq!(outcome("1 / 0").as_deref(), Some("22012"));
    assert_eq!(outcome("stolen").as_deref(), Some("SELECT 1"));
}

/// What is sent at once, how often the target is then ready, and the outcomes in all.
type Conversation = (Vec<Vec<u8>>, usize, &'static [&'static str]);

#[tokio::test(flavor = "multi_thread")]
async fn outcomes_are_what_the_client_saw_wherever_a_statement_fails() {
    let (bed, files) = bed_with("").await;
    let (mut stream, _) = session(&bed, &files, "app_rw", "orders").await;
    let set_up = "create table nums (i int);\n\
        create function refuse() returns trigger language plpgsql as \
        $$ begin raise 'no more than nine'; end $$;\n\
        create table late (i int);\n\
        create trigger t after insert on late for each statement execute function refuse();\n\
        create table early (i int);\n\
        create trigger t before insert on early for each statement execute function refuse()";
    let data = |bytes: &[u8]| framed(Some(b'd'), bytes);
    let end = || framed(Some(b'c'), b"");
    let call = |function: u32| {
        let body = [
            &function.to_be_bytes()[..],
            &[0, 0, 0, 2, 0, 0, 0, 1],
            b"2",
            &[0, 0, 0, 1],
            b"3",
            &[0, 0],
        ];
        framed(Some(b'F'), &body.concat())
    };
    let bad_bind = framed(Some(b'B'), b"\0\0\0\0\0\x01\0\0\0\x01x\0\0");
    let parse = framed(Some(b'P'), b"\0select $1::int, 'bound'\0\0\0");
    let execute = framed(Some(b'E'), &[0; 5]);
    let conversations: Vec<Conversation> = vec![
        (vec![query(set_up)], 1, &["CREATE TRIGGER"]),
        // A COPY of a simple query that fails early, with its rest and a Sync behind it.
        (
            vec![
                query("copy nums from stdin -- simple"),
                data(b"x\n"),
                sync(),
                data(b"1\n"),
                end(),
            ],
            2,
            &["22P02"],
        ),
        // One that fails before it takes any data, and one that fails at the end.
        (vec![query("copy early from stdin"), data(b"1\n"), end()], 1, &["P0001"]),
        (vec![query("copy late from stdin"), data(b"1\n"), sync(), end()], 1, &["P0001"]),
        (
            vec![
                parse_bind_execute("copy late from stdin -- x"),
                sync(),
                data(b"1\n"),
                end(),
                sync(),
            ],
            1,
            &["P0001"],
        ),
        // Several in one query, good and bad, and what follows is not run.
        (
            vec![
                query("copy nums from stdin; select 'mid'; copy nums from stdin; select 'end'"),
                data(b"1\n"),
                end(),
                data(b"2\n"),
                sync(),
                end(),
            ],
            1,
            &["COPY 1", "SELECT 1", "COPY 1", "SELECT 1"],
        ),
        (
            vec![query("select 'a'; copy nums from stdin; select 'b'"), data(b"x\n"), end()],
            1,
            &["SELECT 1", "22P02"],
        ),
        (vec![query("copy nums to stdout; select 1 / 0")], 1, &["COPY 2", "22012"]),
        (vec![call(177), call(1)], 2, &["FUNCTION CALL", "42883"]),
        // A Bind that fails skips its Execute, and the next segment runs.
        (
            vec![parse, bad_bind, execute, sync(), parse_bind_execute("select 'next'"), sync()],
            2,
            &["22P02", "SELECT 1"],
        ),
        (vec![query("select 'last'")], 1, &["SELECT 1"]),
    ];
    let mut all = Vec::new();
    for (messages, times, expected) in conversations {
        send(&mut stream, &messages.concat()).await;
        let answers = seen(&ready(&mut stream, times).await);
        let last = answers.len() - expected.len();
        assert_eq!(answers[last..], *expected);
        all.extend(answers);
    }
    send(&mut stream, &framed(Some(b'X'), b"")).await;
    let statements = outcomes(&sealed(&bed).await);
    let recorded: Vec<String> =
        statements.iter().flat_map(|(_, outcomes)| outcomes.clone()).collect();
    assert_eq!(recorded, all, "in the same order");
    for (text, outcome) in [
        ("-- simple", "22P02"),
        ("copy early", "P0001"),
        ("-- x", "P0001"),
        ("'mid'", "COPY 1,SELECT 1,COPY 1,SELECT 1"),
        ("'b'", "SELECT 1,22P02"),
        ("function call 1", "42883"),
        ("'bound'", "22P02"),
        ("'next'", "SELECT 1"),
        ("'last'", "SELECT 1"),
    ] {
        let all: Vec<_> = statements
            .iter()
            .filter(|(sql, _)| sql.ends_with(text) || sql.contains(text))
            .collect();
        assert!(all.iter().any(|(_, outcomes)| outcomes.join(",") == outcome), "{text}: {all:?}");
    }
}
