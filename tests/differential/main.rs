//! The same script twice: directly at the target, and through the gateway. A client must not see a difference.
//!
//! A case is a name and a few lines in a file of `cases/`, which say the rest: nothing has to be built to add
//! one. Where a difference is meant, the case says why, and docs/compatibility.md repeats it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    dead_code,
    missing_docs,
    unreachable_pub,
    reason = "a test that can't go on has failed"
)]

mod cases;
mod compare;
mod page;
mod place;

#[path = "../ssh/bed.rs"]
mod bed;
#[path = "../support/mod.rs"]
mod support;

use rstest::rstest;

use compare::compare;
use place::{Places, Suite};

#[rstest]
#[case::psql("psql")]
#[case::libpq_programs("libpq")]
#[case::raw_messages("raw")]
#[case::psycopg("psycopg")]
#[case::asyncpg("asyncpg")]
#[case::node_pg("node-pg")]
#[tokio::test(flavor = "multi_thread")]
async fn postgres_clients_see_what_they_see_without_the_gateway(#[case] suite: &str) {
    compare(Suite::named(suite), &Places::postgres().await).await;
}

#[rstest]
#[case::openssh("openssh")]
#[case::file_transfer("files")]
#[case::asyncssh("asyncssh")]
#[case::paramiko("paramiko")]
#[case::rsync_and_git("rsync-git")]
#[tokio::test(flavor = "multi_thread")]
async fn ssh_clients_see_what_they_see_without_the_gateway(#[case] suite: &str) {
    compare(Suite::named(suite), &Places::ssh().await).await;
}

#[test]
fn the_page_about_compatibility_is_true() {
    page::check();
}
