//! Evidence: every statement stands in the recording before the target gets it, and nothing secret does.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use crate::support::raw::{framed, query, read_error, read_until, send, session};
use crate::support::{Bed, Files, SECRET_RO, SECRET_RW, Setup, psql, resident, run, until};
use audit::{Kind, Reader, Statements, Tail};

pub(crate) async fn bed_with(target: &str) -> (Bed, Files) {
    let bed = Bed::with(Setup { target: target.to_owned(), ..Setup::default() }).await;
    bed.grant("app_rw@orders", "30m").await;
    let files = bed.files("alice").await;
    (bed, files)
}

fn tail(path: &Path) -> Tail {
    let mut reader = Reader::new(BufReader::new(File::open(path).unwrap()));
    while let Some(event) = reader.next_event().unwrap() {
        drop(event);
    }
    reader.tail().expect("it was read to the end")
}

/// The one recording, once it is sealed.
pub(crate) async fn sealed(bed: &Bed) -> std::path::PathBuf {
    until("the recording is sealed", || {
        bed.recordings().first().is_some_and(|path| matches!(tail(path), Tail::Sealed))
    })
    .await;
    bed.recordings().remove(0)
}

fn text(path: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_are_recorded_with_rows_bytes_and_sqlstate() {
    let (bed, files) = bed_with("").await;
    let mut command = psql(&bed.conninfo(&files, "app_rw", "orders"));
    command.args([
        "-v",
        "ON_ERROR_STOP=0",
        "-c",
        "create table t (a int)",
        "-c",
        "insert into t select generate_series(1, 7)",
    ]);
    command.args([
        "-c",
        "select a from t",
        "-c",
        "select 1 / 0",
        "-c",
        "select a from t where a > $1 \\bind 5 \\g",
    ]);
    run(command).await;
    let path = sealed(&bed).await;
    let reader = Reader::new(BufReader::new(File::open(&path).unwrap()));
    let all: Vec<_> = Statements::new(reader).map(Result::unwrap).collect();
    let lines: Vec<String> = all
        .iter()
        .map(|statement| {
            let outcome = &statement.outcomes[0];
            format!(
                "{} | {} {} {:?}",
                statement.text.as_deref().unwrap_or_default(),
                outcome.tag,
                outcome.rows,
                outcome.sqlstate
            )
        })
        .collect();
    assert!(
        lines.iter().any(|line| line.contains("insert into t") && line.contains("INSERT 0 7 7")),
        "{lines:#?}"
    );
    assert!(
        lines
            .iter()
            .any(|line| line.starts_with("select a from t |") && line.contains("SELECT 7 7")),
        "{lines:#?}"
    );
    assert!(
        lines.iter().any(|line| line.contains("1 / 0") && line.contains("22012")),
        "{lines:#?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn every_way_to_run_something_is_recorded_in_full() {
    let (bed, files) = bed_with("").await;
    let (mut stream, _) = session(&bed, &files, "app_rw", "orders").await;
    let ways = [
        "select 1; select 2; select 'three'",
        "do $x$ begin perform 'in a block'; end $x$",
        "prepare p as select $1::text",
        "execute p('with a value')",
        "set role none",
        "set session authorization default",
        "reset all",
        "copy (select 1) to program 'id'",
        "this is not SQL at all",
    ];
    for way in ways {
        send(&mut stream, &query(way)).await;
        read_until(&mut stream, b'Z').await;
    }
    // FunctionCall of `int4pl(int4, int4)`, whose object id is 177.
    let call =
        [&177_u32.to_be_bytes()[..], &[0, 0, 0, 2, 0, 0, 0, 1], b"2", &[0, 0, 0, 1], b"3", &[0, 0]]
            .concat();
    send(&mut stream, &framed(Some(b'F'), &call)).await;
    read_until(&mut stream, b'Z').await;
    send(&mut stream, &framed(Some(b'X'), b"")).await;
    let path = sealed(&bed).await;
    let reader = Reader::new(BufReader::new(File::open(&path).unwrap()));
    let mut texts = Vec::new();
    let mut called = None;
    for event in reader {
        match event.unwrap().kind {
            Kind::Query { text, .. } => {
                texts.push(String::from_utf8(text.as_bytes().to_vec()).unwrap())
            }
            Kind::Call { function, values, .. } => called = Some((function, values.len())),
            _ => {}
        }
    }
    assert_eq!(texts, ways);
    assert_eq!(called, Some((177, 2)));
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_in_statements_are_masked_in_the_recording() {
    let (bed, files) = bed_with("").await;
    bed.cluster.psql("alter role app_rw createrole").unwrap();
    let mut command = psql(&bed.conninfo(&files, "app_rw", "orders"));
    command.args([
        "-c",
        "create user temp password 'canary-one'",
        "-c",
        "alter role temp password 'canary-two'",
    ]);
    command.args([
        "-c",
        "select 'host=x password=canary-three'",
        "-c",
        "select 'postgres://u:canary-four@h/d'",
    ]);
    let (ok, _, errors) = run(command).await;
    assert!(ok, "{errors}");
    let recorded = text(&sealed(&bed).await);
    assert!(!recorded.contains("canary"), "{recorded}");
    assert!(recorded.contains("create user temp password '***'"));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_is_executed_is_masked() {
    let (bed, files) = bed_with("").await;
    let (mut stream, _) = session(&bed, &files, "app_rw", "orders").await;
    let ways = [
        // Names in quotes, behind a column and its alias `by`.
        "select (select t.identified by) || \"query_to_xml\"('select 7', false, true, '')::text \
         from (select ''::text identified) t",
        "copy (select 'password' = 'x') to program 'touch /tmp/password=x'",
        "copy (select 'password' = 'x') to '/var/lib/secret-file'",
        "select 'x' = query_to_xml('select 1 as password where ''secret'' = ''x''', false, true, '')::text",
        "do $$ declare password text; begin password := 'perform 1'; password = 'select 8'; \
         execute password; end $$",
        "do $$ begin execute 'select ''' || 'password = '' ; select 9; --'''; end $$",
        "create temp table users (name text, password text)",
        "with new as (insert into users (name, password) values ('x', repeat('select 1', 1)) \
         returning password) select query_to_xml(password, false, true, '') from new",
    ];
    for way in ways {
        send(&mut stream, &query(way)).await;
        read_until(&mut stream, b'Z').await;
    }
    send(&mut stream, &framed(Some(b'X'), b"")).await;
    let path = sealed(&bed).await;
    let events = Reader::new(BufReader::new(File::open(&path).unwrap()));
    let queries = events.filter_map(|event| match event.unwrap().kind {
        Kind::Query { text, .. } => Some(String::from_utf8_lossy(text.as_bytes()).into_owned()),
        _ => None,
    });
    assert_eq!(queries.collect::<Vec<_>>(), ways);
}

#[tokio::test(flavor = "multi_thread")]
async fn bind_values_in_the_place_of_secrets_are_masked() {
    let (bed, files) = bed_with("").await;
    let (mut stream, _) = session(&bed, &files, "app_rw", "orders").await;
    for text in [
        "create table users (name text, password text)",
        "select set_config('app.token', 'canary-one', false)",
        "select 1 /* Authorization: Bearer canary-two.canary */",
    ] {
        send(&mut stream, &query(text)).await;
        read_until(&mut stream, b'Z').await;
    }
    for (name, text, values) in [
        ("", "insert into users (name, password) values ($1, $2)", ["ann", "canary-three"]),
        ("named", "update users set password = $1 where name = $2", ["canary-four", "ann"]),
        ("", "select set_config('app.token', $2, false), $1::text", ["ann", "canary-five"]),
    ] {
        let parse = format!("{name}\0{text}\0\0\0");
        send(
            &mut stream,
            &[framed(Some(b'P'), parse.as_bytes()), framed(Some(b'S'), b"")].concat(),
        )
        .await;
        read_until(&mut stream, b'Z').await;
        let mut bind = format!("\0{name}\0\0\0\0\x02").into_bytes();
        for value in values {
            bind.extend(u32::try_from(value.len()).unwrap().to_be_bytes());
            bind.extend(value.bytes());
        }
        bind.extend([0, 0]);
        let run = [framed(Some(b'B'), &bind), framed(Some(b'E'), &[0; 5]), framed(Some(b'S'), b"")];
        send(&mut stream, &run.concat()).await;
        let answer = read_until(&mut stream, b'Z').await;
        assert!(answer.iter().any(|message| message.kind == b'C'), "{text} was done");
    }
    send(&mut stream, &framed(Some(b'X'), b"")).await;
    let recorded = text(&sealed(&bed).await);
    assert!(!recorded.contains("canary"), "{recorded}");
    assert_eq!(recorded.matches(r#""values":["ann","***"]"#).count(), 2, "{recorded}");
    assert!(recorded.contains(r#""values":["***","ann"]"#), "{recorded}");
}

#[tokio::test(flavor = "multi_thread")]
async fn bind_values_are_left_out_where_the_target_says_so() {
    let (bed, files) = bed_with("binds = \"omit\"").await;
    let recorded = recorded_with_a_value(&bed, &files, b"canary-value").await;
    assert!(!recorded.contains("canary-value"), "{recorded}");
    assert!(recorded.contains(r#""values":[{"omitted":12}]"#), "{recorded}");
}

#[tokio::test(flavor = "multi_thread")]
async fn bind_values_are_kept_where_a_rule_wants_them_whatever_the_target_says() {
    let rules = r#"
        permit (principal in Group::"engineering", action == Action::"connect", resource);
        @record("binds") forbid (principal, action == Action::"connect", resource);
    "#;
    let target = "binds = \"omit\"".to_owned();
    let bed = Bed::with(Setup { rules, target, ..Setup::default() }).await;
    bed.grant("app_rw@orders", "30m").await;
    let files = bed.files("alice").await;
    let recorded = recorded_with_a_value(&bed, &files, b"a-value-kept").await;
    assert!(recorded.contains("a-value-kept"), "{recorded}");
}

/// What the recording of a session holds that binds this value, of twelve bytes.
async fn recorded_with_a_value(bed: &Bed, files: &Files, value: &[u8; 12]) -> String {
    let (mut stream, _) = session(bed, files, "app_rw", "orders").await;
    let bound = [&[0, 0, 0, 0, 0, 1, 0, 0, 0, 12][..], &value[..], &[0, 0]].concat();
    let packet = [
        framed(Some(b'P'), b"\0select $1::text\0\0\0"),
        framed(Some(b'B'), &bound),
        framed(Some(b'E'), &[0; 5]),
        framed(Some(b'S'), b""),
    ];
    send(&mut stream, &packet.concat()).await;
    let answer = read_until(&mut stream, b'Z').await;
    let row = answer.iter().find(|message| message.kind == b'D').expect("a row");
    assert!(row.body.ends_with(value), "the target did not get the value");
    send(&mut stream, &framed(Some(b'X'), b"")).await;
    text(&sealed(bed).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn heavy_a_statement_of_hundreds_of_megabytes_is_recorded_in_bounded_memory() {
    let (bed, files) = bed_with("").await;
    let (mut stream, _) = session(&bed, &files, "app_rw", "orders").await;
    let length = 200 << 20;
    send(
        &mut stream,
        &[&b"Q"[..], &u32::try_from(length + 4).unwrap().to_be_bytes(), b"select length('"]
            .concat(),
    )
    .await;
    let block = vec![b'z'; 1 << 20];
    let mut left = length - b"select length('".len() - b"')\0".len();
    let mut most = 0;
    while left > 0 {
        let count = left.min(block.len());
        send(&mut stream, &block[..count]).await;
        left -= count;
        most = most.max(resident());
    }
    send(&mut stream, b"')\0").await;
    let answer = read_until(&mut stream, b'Z').await;
    assert!(answer.iter().any(|message| message.kind == b'C'), "{:?}", answer.last());
    send(&mut stream, &framed(Some(b'X'), b"")).await;
    let path = sealed(&bed).await;
    assert!(std::fs::metadata(&path).unwrap().len() > length as u64);
    assert!(most < 160 * 1024, "{most} KiB were resident");
}

#[tokio::test(flavor = "multi_thread")]
async fn deep_nesting_many_values_and_a_long_pipeline_harm_nobody() {
    let (bed, files) = bed_with("").await;
    let (mut stream, _) = session(&bed, &files, "app_rw", "orders").await;
    send(&mut stream, &query(&format!("select {}1", "1+".repeat(100_000)))).await;
    read_until(&mut stream, b'Z').await;
    let parse = framed(Some(b'P'), b"\0select 1\0\0\0");
    let bind = framed(Some(b'B'), &[0; 8]);
    let execute = framed(Some(b'E'), &[0; 5]);
    let one = [parse, bind, execute].concat();
    let (mut reading, mut writing) = tokio::io::split(stream);
    let count = 100_000_usize;
    let writer = tokio::spawn(async move {
        for _ in 0..count / 1_000 {
            send(&mut writing, &one.repeat(1_000)).await;
        }
        send(&mut writing, &framed(Some(b'S'), b"")).await;
        send(&mut writing, &framed(Some(b'X'), b"")).await;
    });
    let answers = read_until(&mut reading, b'Z').await;
    writer.await.unwrap();
    assert_eq!(answers.iter().filter(|message| message.kind == b'C').count(), count);
    let path = sealed(&bed).await;
    let reader = Reader::new(BufReader::new(File::open(&path).unwrap()));
    let executed =
        reader.filter(|event| matches!(event.as_ref().unwrap().kind, Kind::Execute { .. })).count();
    assert_eq!(executed, count);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_cannot_be_recorded_is_refused_and_nothing_of_it_passes() {
    let (bed, files) = bed_with("").await;
    let recordings = bed.folder.path().join("state/recordings");
    // A plain file where the folder was: not even root can make a recording below it.
    std::fs::rename(&recordings, bed.folder.path().join("elsewhere")).unwrap();
    std::fs::write(&recordings, "").unwrap();
    let mut stream = crate::support::raw::secure(&bed, Some(&files)).await;
    let hello =
        crate::support::raw::startup(0x0003_0000, &[("user", "app_rw"), ("database", "orders")]);
    send(&mut stream, &hello).await;
    let error = read_error(&mut stream).await;
    assert_eq!(error.field(b'C'), "58030");
    assert!(error.field(b'M').contains("can't be recorded"));
    bed.no_upstream_session_stays().await;
    assert!(bed.metric("postern_recorder_failures_total", "").await >= 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_shows_in_recordings_state_metrics_or_configuration_errors() {
    let (bed, files) = bed_with("").await;
    let token = bed.token("app_rw@orders").await;
    let mut command = psql(&bed.token_conninfo("app_rw", "orders"));
    command.args(["-c", "select 1"]).env("PGPASSWORD", &token).env("PGAPPNAME", "report");
    let (ok, _, errors) = run(command).await;
    assert!(ok, "{errors}");
    sealed(&bed).await;
    let url = format!("http://{}/metrics", bed.gateway.metrics_addr().unwrap());
    let metrics = reqwest::get(url).await.unwrap().text().await.unwrap();
    let shown = format!("{:?} {metrics}", bed.gateway);
    let mut everything = vec![("metrics and Debug".to_owned(), shown.into_bytes())];
    let mut folders = vec![bed.folder.path().join("state")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_none_or(|ending| ending != "key") {
                everything.push((path.display().to_string(), std::fs::read(&path).unwrap()));
            }
        }
    }
    let key = std::fs::read_to_string(&files.key).unwrap();
    let key_line = key.lines().nth(1).unwrap();
    for (place, bytes) in everything {
        for secret in [SECRET_RW, SECRET_RO, &token, key_line] {
            let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!found, "{place} holds a secret");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_whose_end_never_passed_is_never_completed_by_our_goodbye() {
    let (bed, files) = bed_with("").await;
    let (mut stream, _) = session(&bed, &files, "app_rw", "orders").await;
    send(&mut stream, &query("create table t (n int)")).await;
    read_until(&mut stream, b'Z').await;
    let statement = query(&format!("insert into t values (1) -- {}", "z".repeat(400_000)));
    let (most, last) = statement.split_at(statement.len() - 2);
    send(&mut stream, most).await;
    until("most of it is on its way", || {
        std::fs::metadata(&bed.recordings()[0]).unwrap().len() > 390_000
    })
    .await;
    // The rest comes together with something that ends the session.
    send(&mut stream, &[last, b"?\0\0\0\x04"].concat()).await;
    assert_eq!(read_error(&mut stream).await.field(b'C'), "08P01");
    bed.no_upstream_session_stays().await;
    assert_eq!(bed.cluster.psql_in("shop", "select count(*) from t").unwrap().trim(), "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn outcomes_belong_to_their_statements_whatever_failed_before() {
    let (bed, files) = bed_with("").await;
    let (mut stream, _) = session(&bed, &files, "app_rw", "orders").await;
    let parse = |sql: &str| framed(Some(b'P'), format!("\0{sql}\0\0\0").as_bytes());
    let rest = [framed(Some(b'B'), &[0; 8]), framed(Some(b'E'), &[0; 5])].concat();
    let sync = framed(Some(b'S'), b"");
    let packet = [
        parse("garbage"),
        sync.clone(),
        parse("create table t (n int)"),
        rest.clone(),
        sync.clone(),
        parse("select 1 / 0"),
        rest.clone(),
        parse("skipped"),
        rest.clone(),
        sync.clone(),
        query("insert into t values (1), (2)"),
    ];
    send(&mut stream, &packet.concat()).await;
    for _ in 0..4 {
        read_until(&mut stream, b'Z').await;
    }
    send(&mut stream, &framed(Some(b'X'), b"")).await;
    let path = sealed(&bed).await;
    let reader = Reader::new(BufReader::new(File::open(&path).unwrap()));
    let lines: Vec<String> = Statements::new(reader)
        .map(Result::unwrap)
        .map(|statement| {
            let text = statement.text.as_deref().unwrap_or_default().to_owned();
            let outcome = statement.outcomes.first();
            let how = outcome
                .map(|outcome| outcome.sqlstate.as_deref().unwrap_or(&outcome.tag).to_owned());
            format!("{text}: {}", how.unwrap_or_default())
        })
        .collect();
    assert!(lines.contains(&"create table t (n int): CREATE TABLE".to_owned()), "{lines:#?}");
    assert!(lines.contains(&"select 1 / 0: 22012".to_owned()), "{lines:#?}");
    assert!(lines.contains(&"skipped: ".to_owned()), "{lines:#?}");
    assert!(lines.contains(&"insert into t values (1), (2): INSERT 0 2".to_owned()), "{lines:#?}");
}
