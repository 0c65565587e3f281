//! What a client can rely on, through the gateway as without it.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rstest::rstest;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::raw::{framed, query, read, read_until, secure, send, session, startup, tcp};
use crate::support::{Bed, SECRET_RW, run, until, until_some};

/// How many statements behind a late cancel were hit by it.
async fn hit(conninfo: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut command = Command::new(root.join(".cache/venv/bin/python"));
    command.arg(root.join("tests/postgres/cancel_races.py")).args(["1000", conninfo]);
    let (ok, out, errors) = run(command).await;
    assert!(ok, "{out}{errors}");
    out
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_that_is_acknowledged_never_hits_the_next_statement() {
    let bed = Bed::start().await;
    bed.grant("app_rw@orders", "10m").await;
    let files = bed.files("alice").await;
    let port = bed.cluster.port();
    let direct = format!(
        "host=127.0.0.1 port={port} user=app_rw password={SECRET_RW} dbname=shop sslmode=require"
    );
    let through = bed.conninfo(&files, "app_rw", "orders");
    let (through, direct) = tokio::join!(hit(&through), hit(&direct));
    assert_eq!((through.trim(), direct.trim()), ("0", "0"));
}

/// The request that cancels what this session runs.
fn cancel(messages: &[crate::support::raw::Message]) -> Vec<u8> {
    let key = messages.iter().find(|message| message.kind == b'K').unwrap();
    framed(None, &[&80_877_102_u32.to_be_bytes()[..], &key.body].concat())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_encrypted_cancel_ends_in_order_once_it_is_done() {
    let bed = Bed::start().await;
    bed.grant("app_rw@orders", "10m").await;
    let files = bed.files("alice").await;
    let (mut stream, messages) = session(&bed, &files, "app_rw", "orders").await;
    send(&mut stream, &query("select pg_sleep(600)")).await;
    let mut gate = secure(&bed, None).await;
    send(&mut gate, &cancel(&messages)).await;
    // Without an alert that the connection ends, TLS reports that it was cut off.
    assert_eq!(gate.read(&mut [0; 1]).await.unwrap(), 0);
    let error = crate::support::raw::read_error(&mut stream).await;
    assert_eq!(error.field(b'C'), "57014");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_holds_a_valid_key_may_cancel_two_hundred_times_a_second() {
    let bed = Bed::start().await;
    bed.grant("app_rw@orders", "10m").await;
    let files = bed.files("alice").await;
    let (_stream, messages) = session(&bed, &files, "app_rw", "orders").await;
    let request = cancel(&messages);
    for _ in 0..200 {
        let mut gate = tcp(&bed).await;
        gate.write_all(&request).await.unwrap();
        assert_eq!(gate.read(&mut [0; 1]).await.unwrap(), 0);
    }
    assert_eq!(bed.metric("postern_connections_total", "cancel-unknown").await, 0.0);
    until_some("each is counted", async || {
        let taken = bed.metric("postern_connections_total", "\"cancel\"").await;
        (taken >= 200.0).then_some(())
    })
    .await;
}

#[rstest]
#[case::certificate(true, None)]
#[case::token(false, Some("-c postern.auth=token"))]
#[case::access_token(false, Some("-c postern.auth=oauth"))]
#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_spoken_is_said_before_anything_is_asked(
    #[case] certificate: bool,
    #[case] options: Option<&str>,
) {
    let bed = Bed::start().await;
    bed.grant("app_rw@orders", "10m").await;
    let files = bed.files("alice").await;
    let mut stream = secure(&bed, certificate.then_some(&files)).await;
    let mut parameters = vec![("user", "app_rw"), ("database", "orders"), ("_pq_.novelty", "1")];
    parameters.extend(options.map(|options| ("options", options)));
    send(&mut stream, &startup(0x0003_270f, &parameters)).await;
    let first = read(&mut stream).await.unwrap();
    assert_eq!((first.kind, &first.body[..8]), (b'v', &[0, 3, 0, 2, 0, 0, 0, 1][..]));
    assert_eq!(read(&mut stream).await.unwrap().kind, b'R');
}

/// A Bind of 32 KiB for the unnamed statement, and an Execute.
fn bind_and_execute() -> Vec<u8> {
    let value = vec![b'x'; 32 * 1024];
    let length = u32::try_from(value.len()).unwrap().to_be_bytes();
    let bind = [&b"\0\0\0\0\0\x01"[..], &length, &value, b"\0\0"].concat();
    [framed(Some(b'B'), &bind), framed(Some(b'E'), b"\0\0\0\0\0")].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_reaches_a_client_that_goes_on_sending() {
    let bed = Bed::start().await;
    bed.grant("app_rw@orders", "10m").await;
    let files = bed.files("alice").await;
    let (stream, _) = session(&bed, &files, "app_rw", "orders").await;
    let (mut from, mut to) = tokio::io::split(stream);
    let heard = Arc::new(AtomicBool::new(false));
    let sending = tokio::spawn({
        let heard = Arc::clone(&heard);
        async move {
            let parse = framed(Some(b'P'), b"\0select 1 / 0 where length($1) > 0\0\0\0");
            to.write_all(&parse).await.unwrap();
            let (more, mut sent) = (bind_and_execute(), 0);
            while !heard.load(Ordering::Relaxed) && sent < 512 * 1024 * 1024 {
                to.write_all(&more).await.unwrap();
                sent += more.len();
            }
            send(&mut to, &framed(Some(b'S'), b"")).await;
            (sent, to)
        }
    });
    let messages = read_until(&mut from, b'E').await;
    heard.store(true, Ordering::Relaxed);
    let (sent, _to) = sending.await.unwrap();
    assert!(sent < 64 * 1024 * 1024, "{sent} bytes went on before the error came back");
    assert!(messages.last().is_some_and(|error| !error.field(b'C').is_empty()));
    read_until(&mut from, b'Z').await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_client_says_goes_on_while_answers_stream() {
    let bed = Bed::start().await;
    bed.grant("app_rw@orders", "10m").await;
    let files = bed.files("alice").await;
    let (mut stream, _) = session(&bed, &files, "app_rw", "orders").await;
    let rows = "select generate_series(1, 1000000000), repeat('x', 8000)";
    send(&mut stream, &query(rows)).await;
    let mut sink = vec![0; 256 * 1024];
    let mut streamed = 0;
    while streamed < 16 * 1024 * 1024 {
        streamed += stream.read(&mut sink).await.unwrap();
    }
    // It is recorded before it goes on, and goes on while the answer to the first one streams.
    send(&mut stream, &query("select 'canary'")).await;
    let path = bed.recordings().pop().unwrap();
    let seen = || String::from_utf8_lossy(&std::fs::read(&path).unwrap()).contains("canary");
    let mut more = 0;
    while !seen() {
        for _ in 0..64 {
            more += stream.read(&mut sink).await.unwrap();
        }
        assert!(more < 1024 * 1024 * 1024, "the client was not heard in {more} bytes");
    }
    drop(stream);
    until("the target's session ends", || bed.upstream_sessions() == 0).await;
}

/// The timers of the connections of this process that are established, with this text in their line.
fn timers(place: &str) -> Vec<String> {
    let table = std::fs::read_to_string("/proc/self/net/tcp").unwrap();
    let of = table.lines().filter(|line| line.contains(place) && line.contains(" 01 "));
    of.filter_map(|line| line.split_whitespace().nth(5).map(ToOwned::to_owned)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn both_sides_of_a_session_are_asked_whether_they_are_still_there() {
    let bed = Bed::start().await;
    bed.grant("app_rw@orders", "10m").await;
    let files = bed.files("alice").await;
    let (_stream, _) = session(&bed, &files, "app_rw", "orders").await;
    let (gate, target) = (bed.port(), bed.cluster.port());
    // The local side of what the gateway accepted, and the remote side of what it dialled.
    for place in [format!(": 0100007F:{gate:04X} "), format!(" 0100007F:{target:04X} 01 ")] {
        until("its timer is that of keep-alive", || {
            let timers = timers(&place);
            !timers.is_empty() && timers.iter().all(|timer| timer.starts_with("02:"))
        })
        .await;
    }
}
