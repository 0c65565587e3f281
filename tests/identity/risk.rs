//! A connection from where its person has never been: held once for a step-up, by a real psql.

use std::net::SocketAddr;

use tokio::io::{AsyncBufReadExt, BufReader, copy_bidirectional};
use tokio::net::{TcpListener, TcpSocket};

use crate::support::browser::Browser;
use crate::support::{Bed, Files, Setup, psql, run};

/// Engineers may have all, but from a strange network they have to step up.
const STRANGE: &str = r#"
@id("engineers")
permit (principal in Group::"engineering", action == Action::"connect", resource is Database);
@id("new networks take a step-up") @step_up("5m")
forbid (principal, action == Action::"connect", resource) when { context.new_network };
"#;

/// A port whose connections reach the gateway from that address, as through another network.
async fn from(bed: &Bed, source: &str) -> u16 {
    let (port, source) = (bed.port(), format!("{source}:0").parse::<SocketAddr>().unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let here = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let socket = TcpSocket::new_v4().unwrap();
            socket.bind(source).unwrap();
            let gate = SocketAddr::from(([127, 0, 0, 1], port));
            tokio::spawn(async move {
                let mut gate = socket.connect(gate).await.unwrap();
                let _ = copy_bidirectional(&mut client, &mut gate).await;
            });
        }
    });
    here
}

fn conninfo(bed: &Bed, files: &Files, port: u16) -> String {
    let ours = format!("port={}", bed.port());
    bed.conninfo(files, "app_ro", "orders").replace(&ours, &format!("port={port}"))
}

/// A psql that nobody types into, which gets its answer at once.
async fn at_once(bed: &Bed, files: &Files, port: u16) -> (bool, String, String) {
    let mut command = psql(&conninfo(bed, files, port));
    command.args(["-Atqc", "select 'through'"]).env("PGAPPNAME", "report");
    run(command).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_psql_from_a_strange_network_is_held_once_and_then_let_through() {
    let bed = Bed::with(Setup { rules: STRANGE, ..Setup::default() }).await;
    let laptop = bed.files_for("alice", "laptop").await;
    let desk = bed.files_for("alice", "desk").await;
    let mut alice = Browser::open().await;
    alice.register(&bed, "alice").await;
    let (cafe, hotel) = (from(&bed, "127.0.1.1").await, from(&bed, "127.0.2.1").await);

    let mut held = psql(&conninfo(&bed, &laptop, cafe));
    held.args(["-Atqc", "select 'through'"]);
    let mut held = tokio::process::Command::from(held).kill_on_drop(true).spawn().unwrap();
    let mut lines = BufReader::new(held.stderr.take().unwrap()).lines();
    let line = loop {
        let line = lines.next_line().await.unwrap().expect("psql is held");
        if line.contains("confirm code") {
            break line;
        }
    };
    let word = |after: &str| {
        let mut words = line.split_whitespace().skip_while(|next| *next != after);
        words.nth(1).unwrap().trim_end_matches(':').to_owned()
    };
    alice.go(&word("at")).await;
    alice.fill("The code that your terminal shows", &word("code")).await;
    let seen = alice.press("Show the connection").await;
    assert!(seen.text.contains("127.0.1.1"), "{seen:?}");
    let seen = alice.press("Yes, this is my connection").await;
    assert!(seen.title.starts_with("Confirmed"), "{seen:?}");
    let output = held.wait_with_output().await.unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "through");

    // Another certificate of hers, for which nobody has stepped up, comes from the same network.
    let (ok, out, errors) = at_once(&bed, &desk, cafe).await;
    assert!(ok && out.trim() == "through", "{out}{errors}");
    let (ok, _, errors) = at_once(&bed, &desk, hotel).await;
    assert!(!ok && errors.contains("network 127.0.2.0/24 is new for alice"), "{errors}");

    let wanted = bed.events("step-up.wanted").await;
    assert_eq!(wanted.len(), 1, "{wanted:?}");
    let summary = wanted[0]["told"].as_str().unwrap();
    assert_eq!(summary, "step-up asked because network 127.0.1.0/24 is new for alice");
}
