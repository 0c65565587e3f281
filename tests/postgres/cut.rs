//! Cuts: whatever ends a grant ends its sessions, whatever they are doing, and nothing stays upstream.

use std::time::Duration;

use crate::support::raw::{Tls, framed, query, read, read_until, send, session};
use crate::support::{Bed, until};
use policies::Grant;
use rstest::rstest;

/// What ends the grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    Revoke,
    Expiry,
    Lock,
    Done,
    Drain,
}

/// What the session is doing.
#[derive(Debug, Clone, Copy)]
enum During {
    Statement,
    CopyIn,
    CopyOut,
    IdleInTransaction,
}

impl By {
    fn ttl(self) -> &'static str {
        if self == Self::Expiry { "3s" } else { "10m" }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Revoke => "the grant was revoked",
            Self::Expiry => "the grant has expired",
            Self::Lock => "access is locked: incident 7",
            Self::Done => "the grant was given back",
            Self::Drain => "the gateway is shutting down",
        }
    }

    async fn happen(self, bed: &mut Option<Bed>, grant: &Grant) {
        let there = bed.as_ref().unwrap();
        let (alice, bob) = (there.actor("alice").await, there.actor("bob").await);
        let control = there.gateway.control();
        match self {
            Self::Revoke => {
                control.access.revoke(&bob, &grant.id, "incident 7".to_owned()).await.unwrap();
            }
            Self::Lock => {
                let subject = "login:app_rw@orders".parse().unwrap();
                control.access.lock(&bob, subject, "incident 7".to_owned(), None).await.unwrap();
            }
            Self::Done => {
                control.access.done(&alice, &grant.id).await.unwrap();
            }
            Self::Expiry => {}
            Self::Drain => {
                let Bed { gateway, cluster, folder, config } = bed.take().unwrap();
                gateway.shutdown(Duration::from_secs(20)).await;
                let seen =
                    "select count(*) from pg_stat_activity where application_name like 'postern:%'";
                until("the target has no session", || cluster.psql(seen).unwrap().trim() == "0")
                    .await;
                drop((folder, config));
            }
        }
    }
}

impl During {
    /// Brings the session into the middle of it.
    async fn begin(self, stream: &mut Tls) {
        match self {
            Self::Statement => send(stream, &query("select pg_sleep(600)")).await,
            Self::IdleInTransaction => {
                send(
                    stream,
                    &query("begin; create table half (a int); insert into half values (1)"),
                )
                .await;
                read_until(stream, b'Z').await;
            }
            Self::CopyIn => {
                send(stream, &query("create table t (a text)")).await;
                read_until(stream, b'Z').await;
                send(stream, &query("copy t from stdin")).await;
                read_until(stream, b'G').await;
                for _ in 0..100 {
                    send(stream, &framed(Some(b'd'), &[b'x'; 1_000])).await;
                }
            }
            Self::CopyOut => {
                let sql = "copy (select repeat('x', 100) from generate_series(1, 100000) a, generate_series(1, 100000) b) to stdout";
                send(stream, &query(sql)).await;
                read_until(stream, b'H').await;
            }
        }
    }
}

/// Reads to the very end; the last message is the reason.
async fn last_words(stream: &mut Tls) -> (String, String, bool) {
    let mut last = None;
    while let Some(message) = read(stream).await {
        last = Some(message);
    }
    let last = last.expect("a last message");
    (last.field(b'C'), last.field(b'M'), last.kind == b'E')
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn an_end_cuts_in_the_middle(
    #[values(By::Revoke, By::Expiry, By::Lock, By::Done, By::Drain)] by: By,
    #[values(
        During::Statement,
        During::CopyIn,
        During::CopyOut,
        During::IdleInTransaction
    )]
    during: During,
) {
    let bed = Bed::start().await;
    let grant = bed.grant("app_rw@orders", by.ttl()).await;
    let files = bed.files("alice").await;
    let (mut stream, _) = session(&bed, &files, "app_rw", "orders").await;
    during.begin(&mut stream).await;
    until("the target sees the session", || bed.upstream_sessions() == 1).await;
    let mut bed = Some(bed);
    let reading = tokio::spawn(async move { last_words(&mut stream).await });
    by.happen(&mut bed, &grant).await;
    let (sqlstate, words, is_error) = reading.await.unwrap();
    assert!(is_error && sqlstate == "57P01", "{sqlstate} {words}");
    assert!(words.contains(by.words()), "{words}");
    if let Some(bed) = bed {
        bed.no_upstream_session_stays().await;
        let kept = bed.cluster.psql_in("shop", "select to_regclass('half') is null").unwrap();
        assert_eq!(kept.trim(), "t", "an open transaction was committed");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_session_is_cut_too_and_nothing_it_says_afterwards_passes() {
    let bed = Bed::start().await;
    let grant = bed.grant("app_rw@orders", "10m").await;
    let files = bed.files("alice").await;
    let (mut stream, _) = session(&bed, &files, "app_rw", "orders").await;
    let bob = bed.actor("bob").await;
    bed.gateway.control().access.revoke(&bob, &grant.id, "incident 7".to_owned()).await.unwrap();
    let error = read(&mut stream).await.unwrap();
    assert_eq!((error.kind, error.field(b'C').as_str()), (b'E', "57P01"));
    let _ =
        tokio::io::AsyncWriteExt::write_all(&mut stream, &query("create table late (a int)")).await;
    bed.no_upstream_session_stays().await;
    let made = bed.cluster.psql_in("shop", "select to_regclass('late') is null").unwrap();
    assert_eq!(made.trim(), "t");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_on_a_device_cuts_that_device_only() {
    let bed = Bed::start().await;
    bed.grant("app_rw@orders", "10m").await;
    let (laptop, desktop) =
        (bed.files_for("alice", "laptop").await, bed.files_for("alice", "desktop").await);
    let (mut on_laptop, _) = session(&bed, &laptop, "app_rw", "orders").await;
    let (mut on_desktop, _) = session(&bed, &desktop, "app_rw", "orders").await;
    let bob = bed.actor("bob").await;
    let subject = "device:laptop".parse().unwrap();
    bed.gateway.control().access.lock(&bob, subject, "stolen".to_owned(), None).await.unwrap();
    assert!(last_words(&mut on_laptop).await.1.contains("locked: stolen"));
    send(&mut on_desktop, &query("select 1")).await;
    read_until(&mut on_desktop, b'Z').await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_of_another_grant_is_not_cut() {
    let bed = Bed::start().await;
    let grant = bed.grant("app_rw@orders", "10m").await;
    bed.grant("app_ro@orders", "10m").await;
    let files = bed.files("alice").await;
    let (mut cut, _) = session(&bed, &files, "app_rw", "orders").await;
    let (mut other, _) = session(&bed, &files, "app_ro", "orders").await;
    let bob = bed.actor("bob").await;
    bed.gateway.control().access.revoke(&bob, &grant.id, "incident 7".to_owned()).await.unwrap();
    last_words(&mut cut).await;
    send(&mut other, &query("select 1")).await;
    read_until(&mut other, b'Z').await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_catches_its_cancel_does_not_outlive_the_cut() {
    let bed = Bed::start().await;
    let grant = bed.grant("app_rw@orders", "10m").await;
    let files = bed.files("alice").await;
    let (mut stream, _) = session(&bed, &files, "app_rw", "orders").await;
    let stubborn = "do $$ begin loop begin perform pg_sleep(600); \
                    exception when query_canceled then null; end; end loop; end $$";
    send(&mut stream, &query(stubborn)).await;
    until("it runs", || bed.upstream_sessions() == 1).await;
    let bob = bed.actor("bob").await;
    bed.gateway.control().access.revoke(&bob, &grant.id, "incident 7".to_owned()).await.unwrap();
    last_words(&mut stream).await;
    bed.no_upstream_session_stays().await;
}
