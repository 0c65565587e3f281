//! A gateway in front of one throwaway Postgres, for `benches/compare.sh` to measure.
//!
//! It prints what there is to connect to, a line `name=value` each, and ends with its standard input.
//! alice holds a grant, connects by certificate, and is recorded. The target knows her certificate too,
//! by the name in it (`Alice`), so that the gateway can be compared in either way to sign in.
//!
//! With `--revoke N` it opens N sessions itself, revokes the grant, and prints how long the cuts took by
//! the gateway's own histogram.
#![allow(
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a bench reads clocks, and one that can't go on has failed"
)]

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context, Result};
use mimalloc::MiMalloc;
use policies::GrantId;
use postern::config::Config;
use postern::throwaway::{Cluster, Options};
use postern::up::Gateway;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use secrecy::ExposeSecret;
use tokio_postgres_rustls::MakeRustlsConnect;

/// What the released program has too.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

const SECRET: &str = "upstream-password-of-a-bench";
const RULES: &str = r#"
@id("engineers")
permit (principal in Group::"engineering", action == Action::"connect", resource is Database);
"#;

fn main() -> Result<()> {
    if std::env::args().any(|argument| argument == "--bench") {
        println!("nothing to measure by itself: benches/compare.sh runs this");
        return Ok(());
    }
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let folder = tempfile::Builder::new().prefix("postern-bench-").tempdir()?;
    let cluster = cluster(&folder.path().join("state"))?;
    let config = write_config(folder.path(), &cluster)?;
    let config = Config::load(&config).map_err(|faults| anyhow::anyhow!("{faults}"))?;
    // A thread of its own, since what is spawned here has to go on while this one waits.
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let gateway = runtime.block_on(Gateway::start(&config))?;
    let signed_in = runtime.block_on(sign_in(&gateway, folder.path()))?;
    if let Some(sessions) = std::env::args().skip_while(|word| word != "--revoke").nth(1) {
        runtime.block_on(revoke(&gateway, &signed_in, sessions.parse()?))?;
        runtime.block_on(gateway.shutdown(Duration::from_secs(5)));
        return Ok(());
    }
    print_addresses(&cluster, &gateway, &signed_in)?;
    std::io::stdin().read_to_end(&mut Vec::new())?;
    runtime.block_on(gateway.shutdown(Duration::from_secs(5)));
    Ok(())
}

/// A server that takes `app` by password, and alice by the certificate that the gateway issues.
fn cluster(state: &Path) -> Result<Cluster> {
    certs::store::create_private_dir(state)?;
    let now = i64::try_from(UNIX_EPOCH.elapsed()?.as_millis())?;
    let authority = certs::Authority::load_or_generate(&state.join("authority"), "Postern", now)?;
    let cluster = Cluster::start(Options {
        max_connections: 1_100,
        client_ca: Some(authority.ca_pem().to_owned()),
        hba: vec!["hostssl all \"Alice\" 127.0.0.1/32 cert".to_owned()],
        ..Options::default()
    })?;
    cluster.psql(&format!(
        "create role app login password '{SECRET}';\n\
         create role \"Alice\" login in role app;\n\
         create database bench owner app;\n"
    ))?;
    Ok(cluster)
}

fn write_config(folder: &Path, cluster: &Cluster) -> Result<PathBuf> {
    let policies = folder.join("policies");
    std::fs::create_dir(&policies)?;
    std::fs::write(policies.join("access.cedar"), RULES)?;
    std::fs::write(folder.join("target-ca.pem"), cluster.ca_pem())?;
    certs::store::write_private(&folder.join("app"), SECRET.as_bytes())?;
    let (state, port) = (folder.join("state"), cluster.port());
    let text = format!(
        r#"
[gateway]
host = "gate.example.com"
public_url = "http://localhost:0"
state = "{}"
[postgres]
listen = ["127.0.0.1:0"]
[api]
listen = "127.0.0.1:0"
tls = "off"
[limits]
per_address = 20000
[metrics]
listen = "127.0.0.1:0"
[sign_in]
links = "sign-in"
[people.alice]
name = "Alice"
groups = ["engineering"]
[people.bob]
name = "Bob"
admin = true
[targets.bench]
kind = "postgres"
address = "localhost:{port}"
databases = ["bench"]
tls = {{ mode = "verify-full", roots = "target-ca.pem" }}
[targets.bench.logins.app]
password_file = "app"
"#,
        state.display()
    );
    let path = folder.join("postern.toml");
    std::fs::write(&path, text)?;
    Ok(path)
}

/// Where alice's certificate lies, and what it opens.
struct SignedIn {
    cert: PathBuf,
    key: PathBuf,
    ca: PathBuf,
    grant: GrantId,
}

/// Signs alice in, gives her a certificate, and a grant for longer than any bench runs.
async fn sign_in(gateway: &Gateway, folder: &Path) -> Result<SignedIn> {
    let control = gateway.control();
    let invite = control.identity.invite(None, &"alice".parse()?).await?;
    let actor = control.identity.sign_in(&invite.code, control::Origin::default()).await?.actor;
    let request = certs::NewRequest::generate()?;
    let device = "laptop".parse()?;
    let issued = control.identity.issue_certificate(&actor, &request.csr_pem, &device);
    let issued = issued.await?;
    let input = control::AccessRequestInput {
        ttl: Some("2h".parse()?),
        reason: "a bench".to_owned(),
        ..control::AccessRequestInput::new("app@bench/bench".parse()?)
    };
    let grant = control.access.ask(&actor, input).await?.grant.context("no grant")?;
    let files = SignedIn {
        cert: folder.join("client.crt"),
        key: folder.join("client.key"),
        ca: folder.join("ca.crt"),
        grant: grant.id,
    };
    certs::store::write_private(&files.key, request.key_pem.expose_secret().as_bytes())?;
    std::fs::write(&files.cert, issued.pem)?;
    std::fs::write(&files.ca, control.kernel.settings().authority.ca_pem())?;
    Ok(files)
}

fn print_addresses(cluster: &Cluster, gateway: &Gateway, signed_in: &SignedIn) -> Result<()> {
    let port = gateway.postgres_addr().context("it doesn't listen")?.port();
    let scram = cluster.psql("select rolpassword from pg_authid where rolname = 'app'")?;
    let SignedIn { cert, key, ca, .. } = signed_in;
    let (cert, key, ca) = (cert.display(), key.display(), ca.display());
    let to = |port: u16, ca: &dyn std::fmt::Display, user: &str| {
        format!(
            "host=localhost port={port} dbname=bench user={user} sslmode=verify-full sslrootcert={ca}"
        )
    };
    let by_certificate = format!("sslcert={cert} sslkey={key}");
    let target_ca = cluster.ca_path();
    let mut out = std::io::stdout().lock();
    writeln!(out, "pid={}", std::process::id())?;
    writeln!(out, "target_port={}", cluster.port())?;
    writeln!(out, "target_ca={}", target_ca.display())?;
    writeln!(out, "password={SECRET}")?;
    writeln!(out, "scram={scram}")?;
    let target_ca = target_ca.display();
    writeln!(out, "direct={}", to(cluster.port(), &target_ca, "app"))?;
    let by_alice = to(cluster.port(), &target_ca, "Alice");
    writeln!(out, "direct_by_certificate={by_alice} {by_certificate}")?;
    writeln!(out, "postern={} {by_certificate}", to(port, &ca, "app"))?;
    writeln!(out, "ready=yes")?;
    Ok(out.flush()?)
}

/// Opens so many sessions, ends the grant under them, and tells how long the cuts took.
async fn revoke(gateway: &Gateway, signed_in: &SignedIn, sessions: usize) -> Result<()> {
    let tls = MakeRustlsConnect::new(client_tls(signed_in)?);
    let port = gateway.postgres_addr().context("it doesn't listen")?.port();
    let conninfo = format!("host=localhost port={port} dbname=bench user=app sslmode=require");
    let (mut clients, mut ended) = (Vec::new(), tokio::task::JoinSet::new());
    for _ in 0..sessions {
        let (client, connection) = tokio_postgres::connect(&conninfo, tls.clone()).await?;
        clients.push(client);
        ended.spawn(connection);
    }
    let control = gateway.control();
    let invite = control.identity.invite(None, &"bob".parse()?).await?;
    let bob = control.identity.sign_in(&invite.code, control::Origin::default()).await?.actor;
    let began = std::time::Instant::now();
    control.access.revoke(&bob, &signed_in.grant, "a bench".to_owned()).await?;
    while ended.join_next().await.is_some() {}
    let took = began.elapsed();
    println!("{sessions} live sessions: the last was cut {took:?} after the revoke was asked for");
    let url = format!("http://{}/metrics", gateway.metrics_addr().context("no metrics")?);
    let metrics = reqwest::get(url).await?.text().await?;
    let buckets = metrics.lines().filter_map(|line| {
        let bound = line.strip_prefix("postern_revoke_to_cut_seconds_bucket{le=\"")?;
        let (bound, count) = bound.split_once("\"} ")?;
        Some((bound.to_owned(), count.parse::<usize>().ok()?))
    });
    let buckets: Vec<(String, usize)> = buckets.collect();
    for (name, share) in [("half", 50), ("99 in 100", 99), ("all", 100)] {
        let within = buckets.iter().find(|(_, count)| count * 100 >= sessions * share);
        println!("{name} within {} s", within.map_or("+Inf", |(bound, _)| bound));
    }
    Ok(())
}

fn client_tls(signed_in: &SignedIn) -> Result<rustls::ClientConfig> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&signed_in.ca)?)?;
    let chain = vec![CertificateDer::from_pem_file(&signed_in.cert)?];
    let key = PrivateKeyDer::from_pem_file(&signed_in.key)?;
    let config = rustls::ClientConfig::builder().with_root_certificates(roots);
    Ok(config.with_client_auth_cert(chain, key)?)
}
