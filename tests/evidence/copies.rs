//! What the recording keeps of data that runs through: nothing that a target may execute by a trigger or
//! a function leaves without a trace.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use audit::{Digest, Event, Kind, Reader, Source, Statement, Statements, Value};

use crate::recording::{bed_with, sealed};
use crate::support::raw::{Tls, framed, query, read_until, send, session};
use crate::support::{Bed, Files, Setup};

fn events(path: &Path) -> Vec<Event<'static>> {
    Reader::new(BufReader::new(File::open(path).unwrap())).map(Result::unwrap).collect()
}

fn statement(path: &Path, text: &str) -> Statement {
    let reader = Reader::new(BufReader::new(File::open(path).unwrap()));
    let mut all = Statements::new(reader).map(Result::unwrap);
    all.find(|statement| statement.text.as_deref().unwrap_or_default().contains(text)).unwrap()
}

/// The data that is kept whole.
fn kept(path: &Path, wanted: Source) -> Vec<u8> {
    let mut all = Vec::new();
    for event in events(path) {
        if let Kind::Data { of, data, .. } = event.kind
            && of == wanted
        {
            all.extend_from_slice(data.as_bytes());
        }
    }
    all
}

async fn copy_in(stream: &mut Tls, sql: &str, data: &[u8]) {
    send(stream, &query(sql)).await;
    read_until(stream, b'G').await;
    for piece in data.chunks(8192) {
        send(stream, &framed(Some(b'd'), piece)).await;
    }
    send(stream, &framed(Some(b'c'), b"")).await;
    read_until(stream, b'Z').await;
}

async fn bed_that_keeps_data() -> (Bed, Files) {
    let rules = r#"
        permit (principal in Group::"engineering", action == Action::"connect", resource);
        @record("data") forbid (principal, action == Action::"connect", resource);
    "#;
    let bed = Bed::with(Setup { rules, ..Setup::default() }).await;
    bed.grant("app_rw@orders", "30m").await;
    let files = bed.files("alice").await;
    (bed, files)
}

/// Lines of text, so many bytes at least.
fn lines(bytes: usize) -> Vec<u8> {
    (0..)
        .map(|n| format!("line {n}\n"))
        .scan(0, |all, line| {
            let before = *all;
            *all += line.len();
            (before < bytes).then_some(line)
        })
        .collect::<String>()
        .into_bytes()
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_that_run_as_copy_data_are_in_the_recording() {
    let (bed, files) = bed_with("").await;
    let (mut stream, _) = session(&bed, &files, "app_rw", "orders").await;
    let set_up = "create temp table j (s text);\n\
        create function pg_temp.x() returns trigger language plpgsql as \
        $f$ begin execute new.s; return null; end $f$;\n\
        create trigger x before insert on j for each row execute function pg_temp.x()";
    send(&mut stream, &query(set_up)).await;
    read_until(&mut stream, b'Z').await;
    let hidden = b"create temp table proof as select 'the-hidden-statement' as what\n";
    copy_in(&mut stream, "copy j from stdin", hidden).await;
    send(&mut stream, &query("select * from proof")).await;
    let rows = read_until(&mut stream, b'Z').await;
    assert!(rows.iter().any(|row| row.kind == b'D'), "it ran");
    send(&mut stream, &framed(Some(b'X'), b"")).await;
    let copy = statement(&sealed(&bed).await, "copy j from stdin").copies.remove(0);
    assert_eq!((copy.first.as_slice(), copy.sha256), (&hidden[..], Some(Digest::of(hidden))));
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_both_ways_leave_their_first_bytes_length_and_digest() {
    let (bed, files) = bed_with("").await;
    let (mut stream, _) = session(&bed, &files, "app_rw", "orders").await;
    send(&mut stream, &query("create temp table t (s text)")).await;
    read_until(&mut stream, b'Z').await;
    let data = lines(3 << 20);
    copy_in(&mut stream, "copy t from stdin", &data).await;
    send(&mut stream, &query("copy t to stdout")).await;
    read_until(&mut stream, b'Z').await;
    send(&mut stream, &framed(Some(b'X'), b"")).await;
    let path = sealed(&bed).await;
    let sent = statement(&path, "copy t from stdin").copies.remove(0);
    assert_eq!(sent.first, data[..8192]);
    let got = statement(&path, "copy t to stdout").copies.remove(0);
    assert!(got.out && got.first.is_empty());
    for copy in [sent, got] {
        assert_eq!((copy.bytes, copy.sha256), (data.len() as u64, Some(Digest::of(&data))));
    }
    assert!(std::fs::metadata(&path).unwrap().len() < 64 * 1024, "no more than that is kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_both_ways_are_kept_whole_where_a_rule_wants_it() {
    let (bed, files) = bed_that_keeps_data().await;
    let (mut stream, _) = session(&bed, &files, "app_rw", "orders").await;
    send(&mut stream, &query("create temp table t (s text)")).await;
    read_until(&mut stream, b'Z').await;
    let data = lines(600_000);
    copy_in(&mut stream, "copy t from stdin", &data).await;
    send(&mut stream, &query("copy t to stdout")).await;
    read_until(&mut stream, b'Z').await;
    send(&mut stream, &framed(Some(b'X'), b"")).await;
    let path = sealed(&bed).await;
    assert!(kept(&path, Source::CopyIn) == data);
    assert!(kept(&path, Source::CopyOut) == data);
}

/// Runs `select length($1)` with this value, and returns the values that the statement shows.
async fn bound(bed: &Bed, files: &Files, value: &[u8]) -> Vec<Value<'static>> {
    let (mut stream, _) = session(bed, files, "app_rw", "orders").await;
    let length = u32::try_from(value.len()).unwrap().to_be_bytes();
    let packet = [
        framed(Some(b'P'), b"\0select length($1::text)\0\0\0"),
        framed(Some(b'B'), &[&[0, 0, 0, 0, 0, 1][..], &length, value, &[0, 0]].concat()),
        framed(Some(b'E'), &[0; 5]),
        framed(Some(b'S'), b""),
    ];
    send(&mut stream, &packet.concat()).await;
    let answer = read_until(&mut stream, b'Z').await;
    assert!(answer.iter().any(|message| message.kind == b'D'), "{answer:?}");
    send(&mut stream, &framed(Some(b'X'), b"")).await;
    statement(&sealed(bed).await, "length").values.to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_bind_value_leaves_its_first_bytes_length_and_digest() {
    let value = [&b"select 'hidden in a value'"[..], &b" ".repeat(300_000)].concat();
    let (bed, files) = bed_with("").await;
    let values = bound(&bed, &files, &value).await;
    let [Value::Cut { first, sha256, from: 0, len }] = &values[..] else { panic!("{values:?}") };
    assert_eq!(first.as_bytes(), &value[..8192]);
    assert_eq!((*sha256, *len), (Some(Digest::of(&value)), value.len() as u64));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_bind_value_is_kept_whole_where_a_rule_wants_it() {
    let value = lines(700_000);
    let (bed, files) = bed_that_keeps_data().await;
    let values = bound(&bed, &files, &value).await;
    let [Value::Cut { first, .. }] = &values[..] else { panic!("{values:?}") };
    let whole = [first.as_bytes(), &kept(&sealed(&bed).await, Source::Value)].concat();
    assert!(whole == value);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_leaves_values_out_leaves_data_out() {
    let (bed, files) = bed_with("binds = \"omit\"").await;
    let (mut stream, _) = session(&bed, &files, "app_rw", "orders").await;
    send(&mut stream, &query("create temp table t (s text)")).await;
    read_until(&mut stream, b'Z').await;
    copy_in(&mut stream, "copy t from stdin", b"canary-data\n").await;
    send(&mut stream, &framed(Some(b'X'), b"")).await;
    let path = sealed(&bed).await;
    let copy = statement(&path, "copy t from stdin").copies.remove(0);
    assert_eq!((copy.bytes, copy.sha256, copy.first.len()), (12, None, 0));
    assert!(!String::from_utf8_lossy(&std::fs::read(&path).unwrap()).contains("canary"));
}
