//! Stock clients against a real Postgres, through the gateway, TLS required.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, Stdio};

use crate::support::{Bed, Files, client, psql, resident, run};

/// A gateway with a grant for alice's application login.
async fn bed() -> (Bed, Files) {
    let bed = Bed::start().await;
    bed.grant("app_rw@orders", "30m").await;
    let files = bed.files("alice").await;
    (bed, files)
}

async fn sql(bed: &Bed, files: &Files, sql: &str) -> String {
    let mut command = psql(&bed.conninfo(files, "app_rw", "orders"));
    command.args(["-Atq", "-c", sql]);
    let (ok, out, errors) = run(command).await;
    assert!(ok, "{errors}");
    out.trim().to_owned()
}

fn environment(bed: &Bed, files: &Files, command: &mut Command, database: &str) {
    command
        .env("PGHOST", "localhost")
        .env("PGPORT", bed.port().to_string())
        .env("PGUSER", "app_rw")
        .env("PGDATABASE", database)
        .env("PGSSLMODE", "verify-full")
        .env("PGSSLROOTCERT", &files.ca)
        .env("PGSSLCERT", &files.cert)
        .env("PGSSLKEY", &files.key);
}

#[tokio::test(flavor = "multi_thread")]
async fn psql_runs_statements_and_shows_the_targets_own_errors() {
    let (bed, files) = bed().await;
    assert_eq!(sql(&bed, &files, "select 6 * 7").await, "42");
    assert_eq!(sql(&bed, &files, "select current_user, current_database()").await, "app_rw|shop");
    let mut command = psql(&bed.conninfo(&files, "app_rw", "orders"));
    command.args(["-c", "select * from nowhere"]);
    let (ok, _, errors) = run(command).await;
    assert!(!ok && errors.contains("relation \"nowhere\" does not exist"), "{errors}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_by_certificate_upstream_works() {
    let (bed, files) = bed().await;
    bed.grant("cert_user@orders", "30m").await;
    let mut command = psql(&bed.conninfo(&files, "cert_user", "orders"));
    command.args(["-Atq", "-c", "select current_user"]);
    let (ok, out, errors) = run(command).await;
    assert!(ok, "{errors}");
    assert_eq!(out.trim(), "cert_user");
}

#[tokio::test(flavor = "multi_thread")]
async fn pgbench_works_in_all_its_protocols() {
    let (bed, files) = bed().await;
    let mut init = client("pgbench", &["-i", "-q", "-s", "1"]);
    environment(&bed, &files, &mut init, "orders");
    let (ok, _, errors) = run(init).await;
    assert!(ok, "{errors}");
    for protocol in ["simple", "extended", "prepared"] {
        let mut bench =
            client("pgbench", &["-n", "-M", protocol, "-c", "4", "-j", "2", "-t", "50"]);
        environment(&bed, &files, &mut bench, "orders");
        let (ok, out, errors) = run(bench).await;
        assert!(ok && out.contains("processed: 200/200"), "{protocol}: {out} {errors}");
    }
    let mut reconnecting = client("pgbench", &["-n", "-S", "-C", "-c", "2", "-t", "20"]);
    environment(&bed, &files, &mut reconnecting, "orders");
    let (ok, out, errors) = run(reconnecting).await;
    assert!(ok && out.contains("processed: 40/40"), "{out} {errors}");
}

#[tokio::test(flavor = "multi_thread")]
async fn pg_dump_and_pg_restore_work() {
    let (bed, files) = bed().await;
    bed.grant("app_rw@orders/reporting", "30m").await;
    let made = "create table items (id serial primary key, name text, picture bytea); \
                insert into items (name, picture) select 'item ' || g, decode(repeat('00ff', 500), 'hex') \
                from generate_series(1, 2000) g; select lo_from_bytea(4711, 'large')";
    sql(&bed, &files, made).await;
    let archive = bed.folder.path().join("shop.dump");
    let mut dump = client("pg_dump", &["-Fc", "--no-owner", "-f", archive.to_str().unwrap()]);
    environment(&bed, &files, &mut dump, "orders");
    let (ok, _, errors) = run(dump).await;
    assert!(ok, "{errors}");
    let mut restore = client(
        "pg_restore",
        &["--no-owner", "--exit-on-error", "-d", "orders/reporting", archive.to_str().unwrap()],
    );
    environment(&bed, &files, &mut restore, "orders/reporting");
    let (ok, _, errors) = run(restore).await;
    assert!(ok, "{errors}");
    let count = "select count(*), sum(length(picture)), encode(lo_get(4711), 'escape') from items";
    assert_eq!(bed.cluster.psql_in("reporting", count).unwrap().trim(), "2000|2000000|large");
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_in_psql_cancels_the_query_and_keeps_the_session() {
    let (bed, files) = bed().await;
    // A psql that nobody types into ends at Ctrl-C, so this one has a terminal.
    let conninfo = bed.conninfo(&files, "app_rw", "orders");
    // `exec`, because a shell that waits for psql would die of the same Ctrl-C.
    let typed = format!("exec psql -XAtq '{conninfo}'");
    let mut terminal = client("script", &["-qec", &typed, "/dev/null"]);
    terminal.env("SHELL", "/bin/sh").env("PAGER", "cat");
    let mut child = terminal.stdin(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let mut seen = Seen::by(child.stdout.take().unwrap());
    seen.wait_for("orders=>").await;
    input.write_all(b"select pg_sleep(600);\n").unwrap();
    crate::support::until("the target runs the query", || {
        let running = "select count(*) from pg_stat_activity where query like 'select pg_sleep%' and state = 'active'";
        bed.cluster.psql(running).unwrap().trim() == "1"
    })
    .await;
    input.write_all(b"\x03").unwrap();
    seen.wait_for("canceling statement due to user request").await;
    // The prompt comes back before the next line is typed, as before a person's eyes.
    seen.wait_for("orders=>").await;
    input.write_all(b"select 'still ' || 'here';\n").unwrap();
    seen.wait_for("still here").await;
    input.write_all(b"\\q\n").unwrap();
    assert!(child.wait().unwrap().success());
}

/// What a terminal shows, read as it comes.
struct Seen {
    shown: tokio::sync::mpsc::Receiver<String>,
    text: String,
}

impl Seen {
    fn by(mut out: std::process::ChildStdout) -> Self {
        let (show, shown) = tokio::sync::mpsc::channel(64);
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = out.read(&mut bytes) {
                let text = String::from_utf8_lossy(&bytes[..count]).into_owned();
                if show.blocking_send(text).is_err() {
                    return;
                }
            }
        });
        Self { shown, text: String::new() }
    }

    /// Waits until the text is shown, and forgets all up to its end.
    async fn wait_for(&mut self, wanted: &str) {
        let shown = async {
            loop {
                if let Some(at) = self.text.find(wanted) {
                    self.text.drain(..at + wanted.len());
                    return;
                }
                let more = self.shown.recv().await;
                self.text += &more.unwrap_or_else(|| panic!("{wanted} never came: {}", self.text));
            }
        };
        let waited = tokio::time::timeout(std::time::Duration::from_secs(60), shown).await;
        assert!(waited.is_ok(), "{wanted} did not come: {}", self.text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn heavy_a_gigabyte_is_copied_both_ways_in_flat_memory() {
    let (bed, files) = bed().await;
    sql(&bed, &files, "create unlogged table big (a text)").await;
    let conninfo = bed.conninfo(&files, "app_rw", "orders");
    let before = resident();
    let mut writer = psql(&conninfo);
    let mut child =
        writer.args(["-q", "-c", "\\copy big from pstdin"]).stdin(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let most = tokio::task::spawn_blocking(move || {
        let block = format!("{}\n", "y".repeat(1023)).repeat(1024);
        let mut most = 0;
        for number in 0..1024 {
            input.write_all(block.as_bytes()).unwrap();
            if number % 64 == 0 {
                most = most.max(resident());
            }
        }
        most
    })
    .await
    .unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(
        sql(&bed, &files, "select count(*), sum(length(a)) from big").await,
        "1048576|1072693248"
    );

    let mut reader = psql(&conninfo);
    let mut child = reader.args(["-q", "-c", "\\copy big to pstdout"]).spawn().unwrap();
    let mut out = child.stdout.take().unwrap();
    let (bytes, most) = tokio::task::spawn_blocking(move || {
        let (mut sink, mut bytes, mut most) = (vec![0; 1 << 20], 0_u64, most);
        loop {
            let count = out.read(&mut sink).unwrap();
            if count == 0 {
                return (bytes, most);
            }
            if bytes >> 26 != (bytes + count as u64) >> 26 {
                most = most.max(resident());
            }
            bytes += count as u64;
        }
    })
    .await
    .unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(bytes, 1 << 30);
    assert!(most < before + 64 * 1024, "memory went from {before} to {most} KiB");
}

#[tokio::test(flavor = "multi_thread")]
async fn notifications_come_from_the_target_with_its_real_process_id() {
    let (bed, files) = bed().await;
    let mut command = psql(&bed.conninfo(&files, "app_rw", "orders"));
    command.args([
        "-Atq",
        "-c",
        "listen news",
        "-c",
        "select pg_backend_pid()",
        "-c",
        "notify news, 'hello'",
        "-c",
        "select 1",
    ]);
    let (ok, out, errors) = run(command).await;
    assert!(ok, "{errors}");
    let pid = out.lines().next().unwrap();
    let expected = format!(
        "Asynchronous notification \"news\" with payload \"hello\" received from server process with PID {pid}."
    );
    assert!(out.contains(&expected), "{out}");
}

/// Runs a script of another language against the gateway with a token, and expects its `ok`.
async fn script(bed: &Bed, files: &Files, interpreter: &str, script: &str) {
    let root = env!("CARGO_MANIFEST_DIR");
    let token = bed.token("app_rw@orders").await;
    let mut command =
        client(&format!("{root}/{interpreter}"), &[&format!("{root}/tests/clients/{script}")]);
    environment(bed, files, &mut command, "orders");
    command.env_remove("PGSSLCERT").env_remove("PGSSLKEY").env("PGPASSWORD", token);
    command
        .env("PGSSLCERT", "/nonexistent")
        .env("NODE_PATH", format!("{root}/.cache/node/node_modules"));
    let (ok, out, errors) = run(command).await;
    assert!(ok && out.trim().ends_with("ok"), "{script}: {out} {errors}");
}

#[tokio::test(flavor = "multi_thread")]
async fn psycopg_works_with_pipelines_copy_and_large_values() {
    let (bed, files) = bed().await;
    script(&bed, &files, ".cache/venv/bin/python", "psycopg_journey.py").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn asyncpg_works() {
    let (bed, files) = bed().await;
    script(&bed, &files, ".cache/venv/bin/python", "asyncpg_journey.py").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn node_pg_works() {
    let (bed, files) = bed().await;
    let root = env!("CARGO_MANIFEST_DIR");
    let token = bed.token("app_rw@orders").await;
    let mut command = client("node", &[&format!("{root}/tests/clients/pg_journey.js")]);
    environment(&bed, &files, &mut command, "orders");
    command.env("PGPASSWORD", token).env("NODE_PATH", format!("{root}/.cache/node/node_modules"));
    let (ok, out, errors) = run(command).await;
    assert!(ok && out.trim().ends_with("ok"), "{out} {errors}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tokio_postgres_works_with_pipelining_and_transactions() {
    let (bed, files) = bed().await;
    let token = bed.token("app_rw@orders").await;
    let tls = tokio_postgres_rustls::MakeRustlsConnect::new(
        (*crate::support::raw::tls_config(&bed, None, &[])).clone(),
    );
    let conninfo = format!(
        "host=localhost port={} user=app_rw dbname=orders password={token} sslmode=require",
        bed.port()
    );
    let (mut client, connection) = tokio_postgres::connect(&conninfo, tls).await.unwrap();
    let driving = tokio::spawn(connection);
    client.batch_execute("create table t (id int primary key, name text)").await.unwrap();
    let insert = client.prepare("insert into t values ($1, $2)").await.unwrap();
    let inserts = (0..500_i32).map(|id| {
        let (client, insert) = (&client, &insert);
        async move { client.execute(insert, &[&id, &format!("name {id}")]).await }
    });
    let done = futures_util::future::join_all(inserts).await;
    assert!(done.into_iter().all(|count| count.unwrap() == 1));
    let transaction = client.transaction().await.unwrap();
    transaction.execute("delete from t", &[]).await.unwrap();
    transaction.rollback().await.unwrap();
    let row = client
        .query_one("select count(*) from t where name = $1 or id > $2", &[&"name 7", &499])
        .await
        .unwrap();
    assert_eq!(row.get::<_, i64>(0), 1);
    let error = client.query("select 1 / 0", &[]).await.unwrap_err();
    assert_eq!(error.code().unwrap().code(), "22012");
    drop(client);
    driving.await.unwrap().unwrap();
    drop(files);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_of_a_fast_query_does_not_fill_the_memory() {
    let (bed, files) = bed().await;
    let before = resident();
    let mut command = psql(&bed.conninfo(&files, "app_rw", "orders"));
    let sql = "\\copy (select repeat('x', 1000) from generate_series(1, 300000)) to pstdout";
    let mut child = command.args(["-q", "-c", sql]).spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    // Nothing more is read until the target itself is held up: back-pressure has gone all the way.
    crate::support::until("the target waits for its client", || {
        let seen = "select count(*) from pg_stat_activity where wait_event = 'ClientWrite'";
        bed.cluster.psql(seen).unwrap().trim() == "1"
    })
    .await;
    let most = resident();
    assert!(most < before + 32 * 1024, "memory went from {before} to {most} KiB");
    let rest = std::io::copy(&mut out, &mut std::io::sink()).unwrap();
    assert_eq!(rest + line.len() as u64, 300_000 * 1_001);
    assert!(child.wait().unwrap().success());
}
