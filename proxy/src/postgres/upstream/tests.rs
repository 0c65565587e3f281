//! A target that signs in with SASL PLAIN, over verified TLS.

use std::collections::{BTreeMap, BTreeSet};

use certs::{Authority, server_config};
use policies::{Partition, WeakAuth};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::core::clock::Clock;

const PASSWORD: &str = "correct horse";
const HOUR: Duration = Duration::from_secs(3_600);

/// A target with a certificate for `localhost`.
struct Fake {
    port: u16,
    ca_pem: String,
    /// The first message with a credential, without its header; empty where none came.
    given: JoinHandle<Vec<u8>>,
}

fn framed(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap();
    [&[kind][..], &length.to_be_bytes(), body].concat()
}

fn authentication(code: u32, more: &[u8]) -> Vec<u8> {
    framed(b'R', &[&code.to_be_bytes(), more].concat())
}

impl Fake {
    /// Offers these mechanisms, and answers a credential with this.
    async fn start(offered: &'static [u8], answer: Vec<u8>) -> Self {
        let now = Clock::system().now().millis();
        let authority = Authority::generate("Example CA", now).unwrap();
        let identity = authority.issue_server(&["localhost"], HOUR, now).unwrap();
        let roots = authority.roots().unwrap();
        let config = server_config(vec![identity.identity().unwrap()], roots, &[]).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let given = tokio::spawn(async move {
            let (mut tcp, _) = listener.accept().await.unwrap();
            tcp.read_exact(&mut [0; 8]).await.unwrap();
            tcp.write_all(b"S").await.unwrap();
            let Ok(mut tls) = TlsAcceptor::from(config).accept(tcp).await else {
                return Vec::new();
            };
            let length = tls.read_u32().await.unwrap();
            tls.read_exact(&mut vec![0; length as usize - 4]).await.unwrap();
            tls.write_all(&authentication(10, offered)).await.unwrap();
            tls.flush().await.unwrap();
            let Ok(message) = read_message(&mut tls, MESSAGE).await else { return Vec::new() };
            assert_eq!(message[0], b'p');
            tls.write_all(&answer).await.unwrap();
            tls.flush().await.unwrap();
            message[HEADER..].to_vec()
        });
        Self { port, ca_pem: authority.ca_pem().to_owned(), given }
    }

    fn verified(&self) -> UpstreamTls {
        UpstreamTls::VerifyFull { roots: Some(self.ca_pem.clone()), name: None }
    }

    /// Signs in to it, with these settings of the target; says what the fake was given.
    async fn sign_in(
        self,
        tls: UpstreamTls,
        weak: &[WeakAuth],
    ) -> (Result<Upstream, DialError>, Vec<u8>) {
        let target = Target {
            host: "localhost".into(),
            port: self.port,
            tls,
            weak_auth: weak.iter().copied().collect::<BTreeSet<_>>(),
            ..crate::core::testing::target(Partition::Cut)
        };
        let credential = TargetCredential::Password(PASSWORD.into());
        let call = Call {
            target: &Arc::new(target),
            login: "app",
            database: "shop",
            settings: BTreeMap::new(),
            replication: None,
            credential: &credential,
        };
        let outcome = dial(&Connectors::new(accept::KEEPALIVE), &call).await;
        (outcome, self.given.await.unwrap())
    }
}

fn welcome() -> Vec<u8> {
    [authentication(0, b""), framed(b'K', &[7; 8]), framed(b'Z', b"I")].concat()
}

/// RFC 4616: no other identity, the login is that of the start-up packet.
fn plain() -> Vec<u8> {
    let response = [b"\0\0", PASSWORD.as_bytes()].concat();
    let length = u32::try_from(response.len()).unwrap();
    [b"PLAIN\0", &length.to_be_bytes()[..], &response].concat()
}

#[tokio::test]
async fn sasl_plain_is_taken_where_the_configuration_names_it_and_the_target_is_verified() {
    let fake = Fake::start(b"PLAIN\0\0", welcome()).await;
    let tls = fake.verified();
    let (outcome, given) = fake.sign_in(tls, &[WeakAuth::SaslPlain]).await;
    assert_eq!(outcome.unwrap().greeting.status, b'I');
    assert_eq!(given, plain());
}

#[tokio::test]
async fn sasl_plain_is_refused_where_one_of_both_is_missing() {
    use WeakAuth::{Cleartext, Md5, SaslPlain};
    for (verified, weak) in [(true, &[Cleartext, Md5][..]), (false, &[SaslPlain][..])] {
        let fake = Fake::start(b"PLAIN\0\0", welcome()).await;
        let tls = if verified { fake.verified() } else { UpstreamTls::InsecureNoVerify };
        let (outcome, given) = fake.sign_in(tls, weak).await;
        assert!(matches!(outcome, Err(DialError::Method(_))), "{outcome:?}");
        assert_eq!(given, b"");
    }
    let other = Authority::generate("Other CA", Clock::system().now().millis()).unwrap();
    let tls = UpstreamTls::VerifyFull { roots: Some(other.ca_pem().to_owned()), name: None };
    let fake = Fake::start(b"PLAIN\0\0", welcome()).await;
    let (outcome, given) = fake.sign_in(tls, &[SaslPlain]).await;
    assert!(matches!(outcome, Err(DialError::Unverified(_))), "{outcome:?}");
    assert_eq!(given, b"");
}

#[tokio::test]
async fn what_a_target_says_to_a_password_by_sasl_plain_passes() {
    let error = framed(b'E', b"SFATAL\0C28P01\0Mpassword authentication failed\0\0");
    let fake = Fake::start(b"PLAIN\0\0", error.clone()).await;
    let tls = fake.verified();
    let (outcome, _) = fake.sign_in(tls, &[WeakAuth::SaslPlain]).await;
    assert!(matches!(outcome, Err(DialError::Refused(message)) if message == error));
}

#[tokio::test]
async fn a_target_that_offers_scram_too_is_never_given_the_password_itself() {
    let fake = Fake::start(b"PLAIN\0SCRAM-SHA-256\0\0", welcome()).await;
    let tls = fake.verified();
    let (outcome, given) = fake.sign_in(tls, &[WeakAuth::SaslPlain]).await;
    // It goes on without having proved that it knows the password.
    assert!(matches!(outcome, Err(DialError::Protocol(_))), "{outcome:?}");
    assert!(given.starts_with(b"SCRAM-SHA-256\0"), "{given:?}");
    assert!(!given.windows(PASSWORD.len()).any(|part| part == PASSWORD.as_bytes()));
}
