//! A thousand sessions at once, and thousands of statements a second.

use crate::support::raw::{query, read, read_until, send, session};
use crate::support::{Bed, Setup, client, run, until};
use futures_util::StreamExt;

#[tokio::test(flavor = "multi_thread")]
async fn heavy_a_revoke_cuts_a_thousand_live_sessions_and_leaves_none_upstream() {
    let bed = Bed::with(Setup { max_connections: 1_100, ..Setup::default() }).await;
    let grant = bed.grant("cert_user@orders", "30m").await;
    let files = bed.files("alice").await;
    let open = async |_| session(&bed, &files, "cert_user", "orders").await.0;
    let mut sessions: Vec<_> =
        futures_util::stream::iter(0..1_000).map(open).buffer_unordered(8).collect().await;
    assert_eq!(bed.metric("postern_sessions_live", "postgres").await as usize, 1_000);
    for stream in sessions.iter_mut().step_by(10) {
        send(stream, &query("select pg_sleep(600)")).await;
    }
    let bob = bed.actor("bob").await;
    bed.gateway.control().access.revoke(&bob, &grant.id, "incident 7".to_owned()).await.unwrap();
    for stream in &mut sessions {
        let error = read(stream).await.expect("a reason");
        assert_eq!((error.kind, error.field(b'C').as_str()), (b'E', "57P01"));
    }
    assert_eq!(bed.metric("postern_revoke_to_cut_seconds_count", "").await as usize, 1_000);
    bed.no_upstream_session_stays().await;
    assert_eq!(bed.metric("postern_sessions_live", "postgres").await as usize, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_statement_of_a_busy_hour_in_seconds_is_recorded() {
    let bed = Bed::start().await;
    bed.grant("app_rw@orders", "30m").await;
    let files = bed.files("alice").await;
    let script = bed.folder.path().join("one.sql");
    std::fs::write(&script, "select 1;\n").unwrap();
    let conninfo = bed.conninfo(&files, "app_rw", "orders");
    let bench = client(
        "pgbench",
        &["-n", "-f", script.to_str().unwrap(), "-c", "8", "-j", "2", "-t", "2500", &conninfo],
    );
    let (ok, out, errors) = run(bench).await;
    assert!(ok && out.contains("processed: 20000/20000"), "{out} {errors}");
    until("all are sealed", || bed.upstream_sessions() == 0).await;
    let mut recorded = 0;
    for path in bed.recordings() {
        let text = std::fs::read(path).unwrap();
        recorded += text.windows(10).filter(|window| *window == b"\"select 1;").count();
    }
    assert_eq!(recorded, 20_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_takes_its_query_with_it() {
    let bed = Bed::start().await;
    bed.grant("app_rw@orders", "30m").await;
    let files = bed.files("alice").await;
    let (mut stream, _) = session(&bed, &files, "app_rw", "orders").await;
    send(&mut stream, &query("select 1")).await;
    read_until(&mut stream, b'Z').await;
    send(&mut stream, &query("select pg_sleep(600)")).await;
    until("it runs", || bed.upstream_sessions() == 1).await;
    drop(stream);
    bed.no_upstream_session_stays().await;
}
