use std::future::{Ready, ready};

use tokio::io::{AsyncReadExt, DuplexStream};
use tower::service_fn as tower_service;

use super::*;

const WHOLE: &str = "GET / HTTP/1.1\r\nhost: gate.example.com\r\n\r\n";

fn bounds() -> Bounds {
    Bounds { connections: 8, unauthenticated: 4, per_address: 2, per_network: 4, per_person: 1 }
}

fn limits() -> Limits {
    Limits::new(bounds(), |_| {})
}

fn hello(_: Request<Incoming>) -> Ready<Result<Response<String>, Infallible>> {
    ready(Ok(Response::new("hello".to_owned())))
}

/// The other end of a connection that is being served.
fn connected(limits: &Limits) -> DuplexStream {
    let (client, stream) = tokio::io::duplex(BUFFER);
    let peer: SocketAddr = "192.0.2.7:50000".parse().unwrap();
    let slot = Arc::new(limits.enter(peer).unwrap());
    let connection = Connection { slot, peer, stop: CancellationToken::new() };
    let make = tower_service(|_: SocketAddr| ready(Ok::<_, Infallible>(tower_service(hello))));
    tokio::spawn(async move { connection.run(stream, make).await });
    client
}

/// All that a client reads that sends this and then nothing, and how many seconds that took.
async fn answer_to(sent: &str) -> (String, u64) {
    let began = tokio::time::Instant::now();
    let mut client = connected(&limits());
    client.write_all(sent.as_bytes()).await.unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    (answer, began.elapsed().as_secs())
}

#[tokio::test(start_paused = true)]
async fn a_head_that_does_not_arrive_in_time_is_answered_408_and_closed() {
    let (answer, secs) = answer_to("GET / HTTP/1.1\r\nhost: gate.exam").await;
    assert!(
        answer.starts_with("HTTP/1.1 408 ") && answer.contains("connection: close"),
        "{answer}"
    );
    assert_eq!(secs, HEAD.as_secs());
}

#[tokio::test(start_paused = true)]
async fn a_second_head_has_the_same_deadline_as_the_first() {
    let mut client = connected(&limits());
    client.write_all(WHOLE.as_bytes()).await.unwrap();
    let mut first = Vec::new();
    while !first.ends_with(b"hello") {
        client.read_buf(&mut first).await.unwrap();
    }
    client.write_all(b"GET / HT").await.unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
}

#[tokio::test(start_paused = true)]
async fn a_head_of_one_byte_a_second_gains_no_time() {
    let began = tokio::time::Instant::now();
    let (mut reader, mut writer) = tokio::io::split(connected(&limits()));
    let trickle = async {
        for byte in WHOLE.bytes() {
            if writer.write_all(&[byte]).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    let mut answer = String::new();
    let (_, read) = tokio::join!(trickle, reader.read_to_string(&mut answer));
    read.unwrap();
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_closes_without_a_word() {
    assert_eq!(answer_to("").await, (String::new(), HEAD.as_secs()));
    let (answer, secs) = answer_to(WHOLE).await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("hello"), "{answer}");
    assert_eq!(secs, HEAD.as_secs());
}

#[tokio::test(start_paused = true)]
async fn a_head_of_too_many_or_too_long_lines_is_refused() {
    let many: String = (0..=100).map(|n| format!("x-{n}: y\r\n")).collect();
    let long = format!("x: {}\r\n", "y".repeat(HEAD_MAX));
    for lines in [many, long] {
        let (answer, _) = answer_to(&format!("GET / HTTP/1.1\r\n{lines}\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    }
}
