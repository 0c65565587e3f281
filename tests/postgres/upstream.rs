//! Hostile and broken targets: nothing is given away, everything is bounded, the client reads why.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::support::raw::{
    Message, framed, query, read, read_error, read_until, secure, send, session, startup,
};
use crate::support::{Bed, SECRET_RW, Setup};
use rstest::rstest;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// How a fake target answers, after it has read the start-up packet.
#[derive(Debug, Clone, Copy)]
enum Fake {
    RefusesTls,
    AnswersTlsWithMore,
    WantsClearPassword,
    WantsMd5,
    WantsSaslPlain,
    WantsUnknown,
    HugeIterations,
    HugeNonce,
    EndlessParameters,
    TwoKeys,
    HugeMessage,
    ErrorWithoutSqlstate,
    ErrorWithSecrets,
    ErrorStorm,
    ClosesEarly,
    SaysNothing,
}

/// Listens as a target. `given` tells whether a credential of any kind came.
async fn fake(how: Fake) -> (u16, Arc<AtomicBool>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let given = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&given);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let seen = Arc::clone(&seen);
            tokio::spawn(async move { answer(stream, how, &seen).await });
        }
    });
    (port, given)
}

async fn answer(mut stream: TcpStream, how: Fake, given: &AtomicBool) -> Option<()> {
    let length = stream.read_u32().await.ok()?;
    let mut rest = vec![0; usize::try_from(length).ok()? - 4];
    stream.read_exact(&mut rest).await.ok()?;
    let auth = |code: u32, more: &[u8]| framed(Some(b'R'), &[&code.to_be_bytes(), more].concat());
    let scram = || auth(10, b"SCRAM-SHA-256\0\0");
    match how {
        Fake::RefusesTls => stream.write_all(b"N").await.ok()?,
        Fake::AnswersTlsWithMore => {
            let more = [&b"S"[..], &auth(0, b""), &auth(3, b"")].concat();
            stream.write_all(&more).await.ok()?;
        }
        Fake::WantsClearPassword => stream.write_all(&auth(3, b"")).await.ok()?,
        Fake::WantsMd5 => stream.write_all(&auth(5, b"salt")).await.ok()?,
        Fake::WantsSaslPlain => stream.write_all(&auth(10, b"PLAIN\0\0")).await.ok()?,
        Fake::WantsUnknown => stream.write_all(&auth(7, b"")).await.ok()?,
        Fake::HugeIterations | Fake::HugeNonce => {
            stream.write_all(&scram()).await.ok()?;
            let first = read(&mut stream).await?;
            let text = String::from_utf8_lossy(&first.body).into_owned();
            let nonce = text.rsplit("r=").next()?.to_owned();
            let (more, rounds) = if matches!(how, Fake::HugeNonce) {
                ("x".repeat(15_000), 4096)
            } else {
                ("x".into(), u32::MAX)
            };
            let challenge = format!("r={nonce}{more},s=c2FsdA==,i={rounds}");
            stream.write_all(&auth(11, challenge.as_bytes())).await.ok()?;
            if matches!(how, Fake::HugeNonce) {
                return None;
            }
            given.store(read(&mut stream).await.is_some(), Ordering::SeqCst);
            return None;
        }
        Fake::SaysNothing => {}
        Fake::ClosesEarly => return None,
        Fake::EndlessParameters => {
            stream.write_all(&auth(0, b"")).await.ok()?;
            while stream.write_all(&framed(Some(b'S'), b"name\0value\0")).await.is_ok() {}
        }
        Fake::TwoKeys => {
            let key = framed(Some(b'K'), &[7; 8]);
            stream.write_all(&[auth(0, b""), key.clone(), key].concat()).await.ok()?;
        }
        Fake::HugeMessage => {
            stream.write_all(&[auth(0, b""), b"S\x7f\xff\xff\xff".to_vec()].concat()).await.ok()?;
        }
        Fake::ErrorWithoutSqlstate => {
            stream.write_all(&framed(Some(b'E'), b"Mgo away\0\0")).await.ok()?
        }
        Fake::ErrorWithSecrets => {
            let error = format!(
                "SFATAL\0C28000\0Mgo away, 127.0.0.1:5432 \u{1b}[2J{SECRET_RW}\0Dof localhost\0\0"
            );
            stream.write_all(&framed(Some(b'E'), error.as_bytes())).await.ok()?;
        }
        Fake::ErrorStorm => {
            stream.write_all(&auth(0, b"")).await.ok()?;
            let storm = framed(Some(b'N'), b"SNOTICE\0Mstorm\0\0");
            while stream.write_all(&storm).await.is_ok() {}
        }
    }
    // Whatever else comes would be a credential.
    given.store(read(&mut stream).await.is_some(), Ordering::SeqCst);
    None
}

async fn bed(how: Fake) -> (Bed, Arc<AtomicBool>) {
    let (port, given) = fake(how).await;
    let tls = if matches!(how, Fake::RefusesTls | Fake::AnswersTlsWithMore) {
        ""
    } else {
        "tls = \"off\""
    };
    let target = format!("address = \"localhost:{port}\"\n{tls}");
    (Bed::with(Setup { target, ..Setup::default() }).await, given)
}

#[rstest]
#[case(Fake::RefusesTls, "08006", "refuses TLS")]
#[case(Fake::AnswersTlsWithMore, "08006", "can't be verified")]
#[case(Fake::WantsClearPassword, "28000", "a clear password")]
#[case(Fake::WantsMd5, "28000", "an MD5 password")]
#[case(Fake::WantsSaslPlain, "28000", "SASL PLAIN")]
#[case(Fake::WantsUnknown, "28000", "an unknown way")]
#[case(Fake::HugeIterations, "28000", "SCRAM")]
#[case(Fake::HugeNonce, "", "")]
#[case(Fake::EndlessParameters, "08006", "too much")]
#[case(Fake::TwoKeys, "08006", "protocol")]
#[case(Fake::HugeMessage, "08006", "protocol")]
#[case(Fake::ErrorWithoutSqlstate, "", "go away")]
#[case(Fake::ErrorWithSecrets, "28000", "go away, *** \u{fffd}[2J***")]
#[case(Fake::ErrorStorm, "08006", "too much")]
#[case(Fake::ClosesEarly, "08006", "protocol")]
#[case(Fake::SaysNothing, "08006", "in time")]
#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_target_gets_no_credential_and_the_client_a_clear_error(
    #[case] how: Fake,
    #[case] sqlstate: &str,
    #[case] words: &str,
) {
    let (bed, given) = bed(how).await;
    bed.grant("app_rw@orders", "10m").await;
    let files = bed.files("alice").await;
    let mut stream = secure(&bed, Some(&files)).await;
    send(&mut stream, &startup(0x0003_0000, &[("user", "app_rw"), ("database", "orders")])).await;
    let error = read_error(&mut stream).await;
    assert!(sqlstate.is_empty() || error.field(b'C') == sqlstate, "{error:?}");
    assert!(error.field(b'M').contains(words), "{}", error.field(b'M'));
    let message = String::from_utf8_lossy(&error.body);
    assert!(
        !message.contains("127.0.0.1") && !message.contains("localhost"),
        "an address was shown"
    );
    assert!(!message.contains(SECRET_RW), "the password was shown");
    assert!(!given.load(Ordering::SeqCst), "a credential was given");
}

/// The error with which a connection as this login is refused; none where it is served.
async fn refused(bed: &Bed, login: &str) -> Option<Message> {
    bed.grant(&format!("{login}@orders"), "10m").await;
    let files = bed.files("alice").await;
    let mut stream = secure(bed, Some(&files)).await;
    send(&mut stream, &startup(0x0003_0000, &[("user", login), ("database", "orders")])).await;
    loop {
        let message = read(&mut stream).await.expect("an answer");
        match message.kind {
            b'E' => return Some(message),
            b'Z' => return None,
            _ => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_weak_way_to_sign_in_is_taken_only_where_the_configuration_names_it() {
    let logins = "[targets.orders.logins.clear_user]\npassword_file = \"app_rw\"\n\
                  [targets.orders.logins.md5_user]\npassword_file = \"app_rw\"\n";
    for (weak, clear, md5) in [
        ("", Some("a clear password"), Some("an MD5 password")),
        ("weak_auth = [\"md5\"]", Some("a clear password"), None),
        ("weak_auth = [\"cleartext\", \"sasl-plain\"]", None, Some("an MD5 password")),
    ] {
        let setup = Setup { target: weak.to_owned(), more: logins.to_owned(), ..Setup::default() };
        let bed = Bed::with(setup).await;
        for (login, expected) in [("clear_user", clear), ("md5_user", md5), ("app_rw", None)] {
            let error = refused(&bed, login).await.map(|error| error.field(b'M'));
            let as_expected = match (&error, expected) {
                (Some(error), Some(expected)) => error.contains(expected),
                (error, expected) => error.is_none() && expected.is_none(),
            };
            assert!(as_expected, "{weak} {login}: {error:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_turns_the_gateways_login_away_says_why() {
    let bed = Bed::start().await;
    bed.cluster.psql("alter role app_ro valid until '2000-01-01'").unwrap();
    let error = refused(&bed, "app_ro").await.expect("the password has expired");
    assert_eq!(error.field(b'C'), "28P01");
    assert!(error.field(b'M').contains("password authentication failed"), "{error:?}");
    assert!(error.field(b'H').contains("VALID UNTIL has passed"), "{error:?}");
    bed.cluster.psql("alter role app_rw connection limit 0").unwrap();
    let error = refused(&bed, "app_rw").await.expect("none may connect");
    assert_eq!(error.field(b'C'), "53300");
    assert!(error.field(b'M').ends_with("too many connections for role \"app_rw\""), "{error:?}");
    bed.cluster.psql("alter role app_rw connection limit -1").unwrap();
    bed.cluster.psql("alter database shop allow_connections false").unwrap();
    let error = refused(&bed, "app_rw").await.expect("the database is closed");
    assert_eq!(error.field(b'C'), "55000");
    assert!(error.field(b'M').contains("not currently accepting connections"), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_is_down_is_named_and_its_address_is_not() {
    // Bound and not listening: whoever calls is turned away, and nobody else gets the port meanwhile.
    let down = TcpSocket::new_v4().unwrap();
    down.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let port = down.local_addr().unwrap().port();
    let target = format!("address = \"localhost:{port}\"");
    let bed = Bed::with(Setup { target, ..Setup::default() }).await;
    bed.grant("app_rw@orders", "10m").await;
    let files = bed.files("alice").await;
    let mut stream = secure(&bed, Some(&files)).await;
    send(&mut stream, &startup(0x0003_0000, &[("user", "app_rw"), ("database", "orders")])).await;
    let error = read_error(&mut stream).await;
    assert_eq!(error.field(b'C'), "08006");
    let message = format!("{}{}", error.field(b'M'), error.field(b'H'));
    assert!(message.contains("target orders") && !message.contains(&port.to_string()), "{message}");
    assert!(bed.metric("postern_upstream_failures_total", "orders").await >= 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_whose_name_or_authority_is_wrong_is_not_signed_in_to() {
    for tls in [
        "tls = { mode = \"verify-full\", roots = \"target-ca.pem\", name = \"other.example.com\" }",
        "tls = \"verify-full\"",
    ] {
        let bed = Bed::with(Setup { target: tls.to_owned(), ..Setup::default() }).await;
        bed.grant("app_rw@orders", "10m").await;
        let files = bed.files("alice").await;
        let mut stream = secure(&bed, Some(&files)).await;
        send(&mut stream, &startup(0x0003_0000, &[("user", "app_rw"), ("database", "orders")]))
            .await;
        let error = read_error(&mut stream).await;
        assert!(error.field(b'M').contains("can't be verified"), "{tls}: {error:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_clients_key_has_the_targets_real_process_id_and_our_own_secret() {
    let bed = Bed::start().await;
    bed.grant("app_rw@orders", "10m").await;
    let files = bed.files("alice").await;
    let (mut stream, messages) = session(&bed, &files, "app_rw", "orders").await;
    let key = messages.iter().find(|message| message.kind == b'K').unwrap().body.clone();
    send(&mut stream, &query("select pg_backend_pid()")).await;
    let rows = read_until(&mut stream, b'Z').await;
    let row: &Message = rows.iter().find(|message| message.kind == b'D').unwrap();
    let pid: u32 = String::from_utf8_lossy(&row.body[6..]).parse().unwrap();
    assert_eq!(u32::from_be_bytes(key[..4].try_into().unwrap()), pid);
    // The same key, shown to the target itself, cancels nothing there: it isn't the target's.
    send(&mut stream, &query("select pg_sleep(600)")).await;
    let mut direct = TcpStream::connect(("127.0.0.1", bed.cluster.port())).await.unwrap();
    let cancel = framed(None, &[&80_877_102_u32.to_be_bytes()[..], &key].concat());
    direct.write_all(&cancel).await.unwrap();
    assert_eq!(direct.read(&mut [0; 1]).await.unwrap(), 0);
    for wrong in [[0; 4], [0xff; 4]] {
        let mut gate = crate::support::raw::tcp(&bed).await;
        let guess = [&80_877_102_u32.to_be_bytes()[..], &key[..4], &wrong].concat();
        gate.write_all(&framed(None, &guess)).await.unwrap();
        assert_eq!(gate.read(&mut [0; 1]).await.unwrap(), 0);
    }
    let running = bed.cluster.psql("select count(*) from pg_stat_activity where query = 'select pg_sleep(600)' and state = 'active'");
    assert_eq!(running.unwrap().trim(), "1");
    let mut gate = crate::support::raw::tcp(&bed).await;
    gate.write_all(&cancel).await.unwrap();
    let error = read_error(&mut stream).await;
    assert_eq!(error.field(b'C'), "57014");
    // A dead session's key means nothing.
    drop(stream);
    bed.no_upstream_session_stays().await;
    let before = bed.metric("postern_connections_total", "cancel-unknown").await;
    let mut gate = crate::support::raw::tcp(&bed).await;
    gate.write_all(&cancel).await.unwrap();
    assert_eq!(gate.read(&mut [0; 1]).await.unwrap(), 0);
    crate::support::until_some("the cancel for nobody is counted", async || {
        let after = bed.metric("postern_connections_total", "cancel-unknown").await;
        (after > before).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_dies_in_the_middle_is_told_and_the_session_ends() {
    let bed = Bed::start().await;
    bed.grant("app_rw@orders", "10m").await;
    let files = bed.files("alice").await;
    let (mut stream, _) = session(&bed, &files, "app_rw", "orders").await;
    send(&mut stream, &query("select pg_sleep(600)")).await;
    crate::support::until("it runs", || bed.upstream_sessions() == 1).await;
    bed.cluster.psql("select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'postern:%'").unwrap();
    let error = read_error(&mut stream).await;
    assert_eq!(error.field(b'C'), "57P01", "the target's own words pass on");
    assert!(read(&mut stream).await.is_none());
}
