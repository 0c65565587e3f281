//! A receiver of webhooks on this machine, and a mail server: what they get, the test decides on.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};

/// A request that waits for its answer.
pub struct Delivery {
    pub method: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    answer: oneshot::Sender<u16>,
}

impl Delivery {
    pub fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map_or("", |(_, value)| value)
    }

    pub fn id(&self) -> String {
        self.header("webhook-id").to_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub fn answer(self, status: u16) {
        // Whoever sent it may be gone, which is what some tests are about.
        let _ = self.answer.send(status);
    }
}

/// A receiver; what arrives waits here for the test.
pub struct Receiver {
    pub port: u16,
    arrived: mpsc::Receiver<Delivery>,
}

impl Receiver {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (arrive, arrived) = mpsc::channel(100);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, arrive.clone()));
            }
        });
        Self { port, arrived }
    }

    pub async fn next(&mut self) -> Delivery {
        self.arrived.recv().await.unwrap()
    }
}

async fn serve(mut stream: TcpStream, arrive: mpsc::Sender<Delivery>) -> Option<()> {
    let mut read = Vec::new();
    let end = loop {
        if let Some(at) = read.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        let mut piece = [0; 4096];
        let count = stream.read(&mut piece).await.ok().filter(|count| *count > 0)?;
        read.extend_from_slice(&piece[..count]);
    };
    let head = String::from_utf8(read[..end].to_vec()).unwrap();
    let mut lines = head.lines();
    let method = lines.next()?.split(' ').next()?.to_owned();
    let pairs = lines.filter_map(|line| line.split_once(": "));
    let headers: Vec<(String, String)> =
        pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let length = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let length: usize = length.map_or(0, |(_, value)| value.parse().unwrap());
    let mut body = read[end..].to_vec();
    let mut rest = vec![0; length.saturating_sub(body.len())];
    stream.read_exact(&mut rest).await.ok()?;
    body.extend(rest);
    let (answer, answered) = oneshot::channel();
    arrive.send(Delivery { method, headers, body, answer }).await.ok()?;
    let status = answered.await.ok()?;
    let output = format!("HTTP/1.1 {status} so\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    stream.write_all(output.as_bytes()).await.ok()
}

/// A mail server of its own process; each mail is a value.
pub struct MailServer {
    pub port: u16,
    mails: mpsc::Receiver<Value>,
    child: Child,
}

impl MailServer {
    /// Starts it with a certificate for `localhost`; its own is what there is to trust.
    pub async fn start(folder: &Path, password: &str) -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let (certificate, key) = (folder.join("mail.pem"), folder.join("mail.key"));
        std::fs::write(&certificate, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        let root = env!("CARGO_MANIFEST_DIR");
        let mut child = Command::new(format!("{root}/.cache/venv/bin/python"))
            .arg(format!("{root}/tests/workflow/notify/mail_server.py"))
            .args([&certificate, &key])
            .env("MAIL_PASSWORD", password)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("`make test` installs the mail server");
        let (sender, mut lines) = mpsc::channel(100);
        let head = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in head.lines().map_while(Result::ok) {
                if sender.blocking_send(serde_json::from_str(&line).unwrap()).is_err() {
                    return;
                }
            }
        });
        let port: Value = lines.recv().await.expect("the mail server starts");
        let port = u16::try_from(port.as_u64().unwrap()).unwrap();
        Self { port, mails: lines, child }
    }

    pub async fn next(&mut self) -> Value {
        self.mails.recv().await.unwrap()
    }
}

impl Drop for MailServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
