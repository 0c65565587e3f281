//! The first bytes: every way in, and every way that isn't one.

use std::time::Duration;

use crate::support::raw::{
    GSSENC_REQUEST, SSL_REQUEST, closes, framed, query, read_error, read_until, secure, secure_as,
    send, session, startup, tcp, tls_config,
};
use crate::support::{Bed, Setup};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Well beyond the deadline of one second that these tests set.
const SOON: Duration = Duration::from_secs(20);

fn impatient() -> Setup {
    Setup { limits: "handshake = \"1s\"\nper_address = 20000".to_owned(), ..Setup::default() }
}

async fn still_serves(bed: &Bed, files: &crate::support::Files) {
    let (mut good, _) = session(bed, files, "app_rw", "orders").await;
    send(&mut good, &query("select 1")).await;
    read_until(&mut good, b'Z').await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_in_clear_behind_the_request_for_tls_are_never_read_as_protocol() {
    let bed = Bed::start().await;
    let mut stream = tcp(&bed).await;
    let smuggled = startup(0x0003_0000, &[("user", "app_rw"), ("database", "orders")]);
    stream.write_all(&[&SSL_REQUEST[..], &smuggled].concat()).await.unwrap();
    assert_eq!(stream.read_u8().await.unwrap(), b'S');
    let mut rest = Vec::new();
    let _ = tokio::time::timeout(SOON, stream.read_to_end(&mut rest)).await.unwrap();
    // A TLS alert at most: no error response, no authentication request.
    assert!(rest.is_empty() || rest[0] == 0x15, "{rest:?}");
    assert!(bed.metric("postern_connections_total", "outcome=\"session\"").await < 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn silence_half_packets_and_half_handshakes_are_cut_while_others_are_served() {
    let bed = Bed::with(impatient()).await;
    bed.grant("app_rw@orders", "10m").await;
    let files = bed.files("alice").await;
    let packet = startup(0x0003_0000, &[("user", "app_rw")]);
    let beginnings: [&[u8]; 5] =
        [b"", &SSL_REQUEST[..3], &SSL_REQUEST, &packet[..9], &[0x16, 3, 1, 2, 0, 1]];
    let mut silent = Vec::new();
    for beginning in beginnings {
        let mut stream = tcp(&bed).await;
        stream.write_all(beginning).await.unwrap();
        silent.push(stream);
    }
    still_serves(&bed, &files).await;
    for (stream, beginning) in silent.iter_mut().zip(beginnings) {
        assert!(closes(stream, SOON).await, "{beginning:?} was not cut");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_byte_at_a_time_does_not_move_the_deadline() {
    let bed = Bed::with(impatient()).await;
    let mut stream = tcp(&bed).await;
    let packet = startup(0x0003_0000, &[("user", &"x".repeat(5_000))]);
    let mut cut = false;
    for byte in packet {
        cut = stream.write_all(&[byte]).await.is_err();
        if cut {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(cut, "a slow client was listened to for ever");
}

#[tokio::test(flavor = "multi_thread")]
async fn impossible_lengths_end_the_connection_and_nothing_else() {
    let bed = Bed::start().await;
    bed.grant("app_rw@orders", "10m").await;
    let files = bed.files("alice").await;
    for length in [0_u32, 3, 7, 10_001, 0x7fff_ffff, 0xffff_ffff] {
        let mut stream = tcp(&bed).await;
        let _ =
            stream.write_all(&[length.to_be_bytes(), 0x0003_0000_u32.to_be_bytes()].concat()).await;
        assert!(closes(&mut stream, SOON).await, "in clear: {length}");
        let mut stream = secure(&bed, Some(&files)).await;
        send(&mut stream, &[length.to_be_bytes(), 0x0003_0000_u32.to_be_bytes()].concat()).await;
        assert!(closes(&mut stream, SOON).await, "inside TLS: {length}");
        let (mut stream, _) = session(&bed, &files, "app_rw", "orders").await;
        send(&mut stream, &[&b"Q"[..], &length.to_be_bytes(), b"select 1\0"].concat()).await;
        if length != 7 && length != 10_001 {
            assert_eq!(
                read_error(&mut stream).await.field(b'C'),
                "08P01",
                "in a session: {length}"
            );
        }
    }
    still_serves(&bed, &files).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn gss_then_tls_and_direct_tls_are_served_and_loops_are_not() {
    let bed = Bed::start().await;
    bed.grant("app_rw@orders", "10m").await;
    let files = bed.files("alice").await;
    let connector = TlsConnector::from(tls_config(&bed, Some(&files), &[b"postgresql"]));
    let name = ServerName::try_from("localhost").unwrap();
    let hello = startup(0x0003_0000, &[("user", "app_rw"), ("database", "orders")]);

    let mut stream = tcp(&bed).await;
    stream.write_all(&GSSENC_REQUEST).await.unwrap();
    assert_eq!(stream.read_u8().await.unwrap(), b'N');
    stream.write_all(&SSL_REQUEST).await.unwrap();
    assert_eq!(stream.read_u8().await.unwrap(), b'S');
    let mut stream = connector.connect(name.clone(), stream).await.unwrap();
    send(&mut stream, &hello).await;
    read_until(&mut stream, b'Z').await;

    let mut direct = connector.connect(name.clone(), tcp(&bed).await).await.unwrap();
    send(&mut direct, &hello).await;
    read_until(&mut direct, b'Z').await;

    let mut stream = tcp(&bed).await;
    stream.write_all(&[GSSENC_REQUEST, GSSENC_REQUEST].concat()).await.unwrap();
    assert!(closes(&mut stream, SOON).await, "GSS twice");
    for alpn in [&[][..], &[&b"http/1.1"[..]]] {
        let connector = TlsConnector::from(tls_config(&bed, Some(&files), alpn));
        if let Ok(mut stream) = connector.connect(name.clone(), tcp(&bed).await).await {
            let _ = stream.write_all(&hello).await;
            let mut rest = Vec::new();
            let _ = tokio::time::timeout(SOON, stream.read_to_end(&mut rest)).await.unwrap();
            assert!(rest.is_empty(), "direct TLS with {alpn:?} was served");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_up_in_clear_is_told_to_use_tls() {
    let bed = Bed::start().await;
    let mut stream = tcp(&bed).await;
    stream.write_all(&startup(0x0003_0000, &[("user", "app_rw")])).await.unwrap();
    let error = read_error(&mut stream).await;
    assert_eq!(error.field(b'C'), "28000");
    assert!(error.field(b'H').contains("sslmode"), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_before_and_inside_tls_harms_nobody() {
    let bed = Bed::start().await;
    bed.grant("app_rw@orders", "10m").await;
    let files = bed.files("alice").await;
    let garbage: [&[u8]; 6] = [
        b"GET / HTTP/1.1\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n",
        b"PROXY UNKNOWN\r\n",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c",
        &[0xff; 64],
    ];
    for bytes in garbage {
        let mut stream = tcp(&bed).await;
        let _ = stream.write_all(bytes).await;
        assert!(closes(&mut stream, SOON).await, "{bytes:?}");
        let mut stream = secure(&bed, Some(&files)).await;
        send(&mut stream, bytes).await;
        assert!(closes(&mut stream, SOON).await, "inside TLS: {bytes:?}");
    }
    still_serves(&bed, &files).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_are_negotiated_and_unknown_ones_refused() {
    let bed = Bed::start().await;
    bed.grant("app_rw@orders", "10m").await;
    let files = bed.files("alice").await;
    let parameters = [("user", "app_rw"), ("database", "orders")];

    let mut stream = secure(&bed, Some(&files)).await;
    send(
        &mut stream,
        &startup(0x0003_0009, &[parameters[0], parameters[1], ("_pq_.novelty", "1")]),
    )
    .await;
    let messages = read_until(&mut stream, b'Z').await;
    let negotiated =
        messages.iter().find(|message| message.kind == b'v').expect("NegotiateProtocolVersion");
    assert_eq!(negotiated.body[..8], [0, 3, 0, 2, 0, 0, 0, 1]);
    assert_eq!(&negotiated.body[8..], b"_pq_.novelty\0");
    let key = messages.iter().find(|message| message.kind == b'K').unwrap();
    assert_eq!(key.body.len(), 4 + 32, "protocol 3.2 has long cancel keys");

    for version in [0x0002_0000, 0x0004_0000, 0] {
        let mut stream = secure(&bed, Some(&files)).await;
        send(&mut stream, &startup(version, &parameters)).await;
        let error = read_error(&mut stream).await;
        assert_eq!(error.field(b'C'), "0A000", "{version:x}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn parameters_without_a_clear_reading_are_refused_with_a_clear_error() {
    let bed = Bed::start().await;
    bed.grant("app_rw@orders", "10m").await;
    let files = bed.files("alice").await;
    let good = [("user", "app_rw"), ("database", "orders")];
    let with = |name, value| [good[0], good[1], (name, value)];
    let packets = [
        ("twice", startup(0x0003_0000, &with("user", "app_ro")), "08P01"),
        ("role", startup(0x0003_0000, &with("role", "postgres")), "22023"),
        (
            "authorization",
            startup(0x0003_0000, &with("options", "-c session_authorization=postgres")),
            "22023",
        ),
        ("replication", startup(0x0003_0000, &with("replication", "database")), "0A000"),
        ("no end", framed(None, b"\0\x03\0\0user\0app_rw\0"), "08P01"),
        ("no value", framed(None, b"\0\x03\0\0user\0app_rw\0database\0\0"), "08P01"),
        ("upper case", startup(0x0003_0000, &[("user", "APP_RW"), good[1]]), "28000"),
        ("space", startup(0x0003_0000, &[("user", "app_rw "), good[1]]), "28000"),
        ("look-alike", startup(0x0003_0000, &[("user", "\u{ff41}pp_rw"), good[1]]), "28000"),
        (
            "other database",
            startup(0x0003_0000, &[good[0], ("database", "orders/postgres")]),
            "28000",
        ),
        ("quotes", startup(0x0003_0000, &[("user", "app_rw'; --"), good[1]]), "28000"),
        ("no such target", startup(0x0003_0000, &[good[0], ("database", "billing")]), "28000"),
    ];
    for (what, packet, sqlstate) in packets {
        let mut stream = secure(&bed, Some(&files)).await;
        send(&mut stream, &packet).await;
        let error = read_error(&mut stream).await;
        assert_eq!(error.field(b'C'), sqlstate, "{what}: {error:?}");
        assert!(!error.field(b'H').is_empty() || sqlstate == "08P01", "{what} has no hint");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_name_chooses_the_target() {
    let bed = Bed::start().await;
    bed.grant("app_rw@orders/reporting", "10m").await;
    let files = bed.files("alice").await;
    let mut stream = secure_as(&bed, Some(&files), "orders.gate.example.com").await;
    send(&mut stream, &startup(0x0003_0000, &[("user", "app_rw"), ("database", "reporting")]))
        .await;
    read_until(&mut stream, b'Z').await;
    send(&mut stream, &query("select current_database()")).await;
    let rows = read_until(&mut stream, b'Z').await;
    let row = rows.iter().find(|message| message.kind == b'D').unwrap();
    assert!(row.body.ends_with(b"reporting"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_insists_on_channel_binding_fails_cleanly() {
    let bed = Bed::start().await;
    bed.grant("app_rw@orders", "10m").await;
    let files = bed.files("alice").await;
    let conninfo = format!("{} channel_binding=require", bed.conninfo(&files, "app_rw", "orders"));
    let mut command = crate::support::psql(&conninfo);
    command.args(["-c", "select 1"]).env("PGAPPNAME", "report");
    let (ok, _, errors) = crate::support::run(command).await;
    assert!(!ok && errors.contains("channel binding required"), "{errors}");
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_names_make_no_new_series_of_metrics() {
    let bed = Bed::start().await;
    let files = bed.files("alice").await;
    for number in 0..50 {
        let mut stream = secure(&bed, Some(&files)).await;
        let (user, database) = (format!("canary{number}"), format!("canary-{number}"));
        send(&mut stream, &startup(0x0003_0000, &[("user", &user), ("database", &database)])).await;
        read_error(&mut stream).await;
    }
    let url = format!("http://{}/metrics", bed.gateway.metrics_addr().unwrap());
    let text = reqwest::get(url).await.unwrap().text().await.unwrap();
    assert!(text.contains("postern_denials_total") && !text.contains("canary"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn heavy_ten_thousand_silent_connections_do_not_keep_a_good_one_out() {
    let setup =
        Setup { limits: "per_address = 20000\nconnections = 20000".to_owned(), ..Setup::default() };
    let bed = Bed::with(setup).await;
    bed.grant("app_rw@orders", "10m").await;
    let files = bed.files("alice").await;
    let mut silent = Vec::new();
    for number in 0..10_000_u32 {
        // Many addresses of the loopback net, since one has only so many ports.
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        let from = [
            127,
            0,
            u8::try_from(number / 250 % 250).unwrap() + 1,
            u8::try_from(number % 250).unwrap() + 1,
        ];
        socket.bind((std::net::Ipv4Addr::from(from), 0).into()).unwrap();
        let address = std::net::SocketAddr::from(([127, 0, 0, 1], bed.port()));
        silent.push(socket.connect(address).await.unwrap());
        if number % 2_500 == 0 {
            still_serves(&bed, &files).await;
        }
    }
    still_serves(&bed, &files).await;
    drop::<Vec<TcpStream>>(silent);
    let url = format!("http://{}/metrics", bed.gateway.metrics_addr().unwrap());
    assert!(reqwest::get(url).await.unwrap().status().is_success());
}
