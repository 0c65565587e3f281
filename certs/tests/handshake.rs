//! Both legs in real handshakes, in memory and at a fixed time.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that can't go on has failed"
)]

use std::io::{Read, Write};
use std::sync::Arc;
use std::time::Duration;

use certs::{
    Authority, Csr, Identity, IssuedKey, NewRequest, Person, PersonCert, RECORD_PAYLOAD, Rejection,
    UpstreamMode, UpstreamTls, identify, roots_from_pem, server_config,
};
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
use rstest::rstest;
use rustls::pki_types::{ServerName, UnixTime};
use rustls::time_provider::TimeProvider;
use rustls::{
    AlertDescription, CertificateError, ClientConfig, ClientConnection, Error, HandshakeKind,
    ProtocolVersion, RootCertStore, ServerConfig, ServerConnection,
};

const NOW: i64 = 1_800_000_000_000;
const HOUR: Duration = Duration::from_secs(3600);
const GATE: &str = "gate.example.com";
const POSTGRES: &[&[u8]] = &[b"postgresql"];
const HTTP: &[&[u8]] = &[b"http/1.1"];

#[derive(Debug)]
struct At(i64);

impl TimeProvider for At {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_millis(self.0.try_into().unwrap())))
    }
}

fn authority() -> Authority {
    Authority::generate("Example CA", NOW).unwrap()
}

fn server_of(authority: &Authority, names: &[&str]) -> Identity {
    authority.issue_server(names, HOUR, NOW).unwrap().identity().unwrap()
}

fn alice_of(authority: &Authority) -> Identity {
    let request = NewRequest::generate().unwrap();
    let person = PersonCert {
        principal_id: "alice@example.com",
        name: "Alice",
        device: "laptop",
        not_after: NOW + 3_600_000,
        max_life: HOUR,
    };
    let csr = Csr::from_pem(&request.csr_pem).unwrap();
    let issued = authority.issue_person(&person, &csr, NOW).unwrap();
    Identity::from_pem(issued.pem.as_bytes(), &request.key_pem).unwrap()
}

fn listener(authority: &Authority, alpn: &[&[u8]], now: i64) -> ServerConfig {
    let identities = vec![server_of(authority, &[GATE, "*.gate.example.com"])];
    let config = server_config(identities, authority.roots().unwrap(), alpn).unwrap();
    at(&config, now)
}

fn at(config: &ServerConfig, now: i64) -> ServerConfig {
    let mut config = config.clone();
    config.time_provider = Arc::new(At(now));
    config
}

fn upstream(mode: UpstreamMode, roots: Arc<RootCertStore>) -> UpstreamTls {
    UpstreamTls { mode, server_name: None, roots, alpn: Vec::new() }
}

fn dial(tls: &UpstreamTls, host: &str, client: Option<&Identity>) -> (ClientConfig, Name) {
    let connector = tls.connector(host, client).unwrap().unwrap();
    let mut config = (*connector.config).clone();
    config.time_provider = Arc::new(At(NOW));
    (config, connector.server_name)
}

type Name = ServerName<'static>;

/// A client that trusts the authority and may show a certificate.
fn client(authority: &Authority, identity: Option<&Identity>) -> (ClientConfig, Name) {
    dial(&upstream(UpstreamMode::VerifyFull, authority.roots().unwrap()), GATE, identity)
}

struct Pair {
    client: ClientConnection,
    server: ServerConnection,
}

/// Runs a handshake to its end, or to the first error on either side.
fn handshake((config, name): (ClientConfig, Name), server: ServerConfig) -> Result<Pair, Error> {
    let client = ClientConnection::new(Arc::new(config), name)?;
    let mut pair = Pair { client, server: ServerConnection::new(Arc::new(server))? };
    while pair.client.is_handshaking() || pair.server.is_handshaking() {
        pass_to_server(&mut pair)?;
        pass_to_client(&mut pair)?;
    }
    pass_to_server(&mut pair)?;
    Ok(pair)
}

fn pass_to_server(pair: &mut Pair) -> Result<(), Error> {
    let mut bytes = Vec::new();
    while pair.client.wants_write() {
        pair.client.write_tls(&mut bytes).unwrap();
    }
    let mut bytes = bytes.as_slice();
    while !bytes.is_empty() {
        pair.server.read_tls(&mut bytes).unwrap();
        pair.server.process_new_packets()?;
    }
    Ok(())
}

fn pass_to_client(pair: &mut Pair) -> Result<(), Error> {
    let mut bytes = Vec::new();
    while pair.server.wants_write() {
        pair.server.write_tls(&mut bytes).unwrap();
    }
    let mut bytes = bytes.as_slice();
    while !bytes.is_empty() {
        pair.client.read_tls(&mut bytes).unwrap();
        pair.client.process_new_packets()?;
    }
    Ok(())
}

fn identified(pair: &Pair) -> Option<Result<Person, Rejection>> {
    pair.server.peer_certificates().map(|chain| identify(&chain[0], NOW))
}

fn refusal(result: Result<Pair, Error>) -> CertificateError {
    let error = result.err().expect("the handshake went through");
    let Error::InvalidCertificate(reason) = error else {
        panic!("refused for another reason: {error}");
    };
    reason
}

#[rstest]
#[case::tls12(&rustls::version::TLS12)]
#[case::tls13(&rustls::version::TLS13)]
fn a_person_with_a_certificate_of_our_authority_is_identified(
    #[case] version: &'static rustls::SupportedProtocolVersion,
) {
    let authority = authority();
    let alice = alice_of(&authority);
    let mut roots = RootCertStore::empty();
    roots.add(authority.ca_der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let (ours, name) = client(&authority, Some(&alice));
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots)
        .with_client_cert_resolver(Arc::clone(&ours.client_auth_cert_resolver));
    config.time_provider = Arc::clone(&ours.time_provider);

    let pair = handshake((config, name), listener(&authority, &[], NOW)).unwrap();
    assert_eq!(pair.server.protocol_version(), Some(version.version));
    let person = identified(&pair).unwrap().unwrap();
    assert_eq!((&*person.principal_id, &*person.device), ("alice@example.com", "laptop"));
}

#[test]
fn a_client_without_a_certificate_gets_through_unidentified() {
    let authority = authority();
    let pair = handshake(client(&authority, None), listener(&authority, &[], NOW)).unwrap();
    assert_eq!(pair.server.protocol_version(), Some(ProtocolVersion::TLSv1_3));
    assert!(identified(&pair).is_none());
}

#[test]
fn a_certificate_of_another_authority_of_the_same_name_is_refused() {
    let (ours, theirs) = (authority(), authority());
    let mallory = alice_of(&theirs);
    let refused = handshake(client(&ours, Some(&mallory)), listener(&ours, &[], NOW));
    assert_eq!(refusal(refused), CertificateError::BadSignature);
}

#[test]
fn an_expired_certificate_fails_the_handshake() {
    let authority = authority();
    let alice = alice_of(&authority);
    let late = listener(&authority, &[], NOW + 3_601_000);
    let refused = refusal(handshake(client(&authority, Some(&alice)), late));
    assert!(matches!(refused, CertificateError::ExpiredContext { .. }), "{refused:?}");
}

#[test]
fn a_server_certificate_is_no_client_certificate() {
    let authority = authority();
    let server = server_of(&authority, &[GATE]);
    let refused = handshake(client(&authority, Some(&server)), listener(&authority, &[], NOW));
    let refused = refusal(refused);
    assert!(matches!(refused, CertificateError::InvalidPurposeContext { .. }), "{refused:?}");
}

#[test]
fn a_login_certificate_passes_the_handshake_but_names_nobody() {
    let authority = authority();
    let login: IssuedKey = authority.issue_login("app_rw", HOUR, NOW).unwrap();
    let login = login.identity().unwrap();
    let pair = handshake(client(&authority, Some(&login)), listener(&authority, &[], NOW)).unwrap();
    assert_eq!(identified(&pair), Some(Err(Rejection::NoPrincipal)));
}

#[rstest]
#[case::direct_tls(POSTGRES, POSTGRES, Ok(Some("postgresql")))]
#[case::client_offers_none(POSTGRES, &[], Ok(None))]
#[case::server_has_none(&[], POSTGRES, Ok(None))]
#[case::another_protocol(POSTGRES, HTTP, Err(()))]
fn the_protocol_is_agreed_on(
    #[case] server: &[&[u8]],
    #[case] offered: &[&[u8]],
    #[case] expected: Result<Option<&str>, ()>,
) {
    let authority = authority();
    let (mut config, name) = client(&authority, None);
    config.alpn_protocols = offered.iter().map(|name| name.to_vec()).collect();
    let agreed = handshake((config, name), listener(&authority, server, NOW));
    match (agreed, expected) {
        (Ok(pair), Ok(protocol)) => {
            assert_eq!(pair.server.alpn_protocol(), protocol.map(str::as_bytes));
        }
        (Err(error), Err(())) => assert_eq!(error, Error::NoApplicationProtocol),
        (Ok(_), Err(())) => panic!("the handshake went through"),
        (Err(error), Ok(_)) => panic!("{error}"),
    }
}

#[test]
fn no_session_is_ever_resumed() {
    let authority = authority();
    let (mut config, name) = client(&authority, None);
    config.resumption = rustls::client::Resumption::in_memory_sessions(8);
    let server = listener(&authority, &[], NOW);
    for _ in 0..2 {
        let pair = handshake((config.clone(), name.clone()), server.clone()).unwrap();
        assert_eq!(pair.client.tls13_tickets_received(), 0);
        assert_eq!(pair.server.handshake_kind(), Some(HandshakeKind::Full));
    }
}

#[test]
fn a_record_carries_eight_kibibytes_at_most() {
    let authority = authority();
    let mut pair = handshake(client(&authority, None), listener(&authority, &[], NOW)).unwrap();
    let sent = vec![7; 3 * RECORD_PAYLOAD];
    pair.server.writer().write_all(&sent).unwrap();
    let mut wire = Vec::new();
    while pair.server.wants_write() {
        pair.server.write_tls(&mut wire).unwrap();
    }

    let mut payloads = Vec::new();
    let mut rest = wire.as_slice();
    while !rest.is_empty() {
        let length = usize::from(u16::from_be_bytes([rest[3], rest[4]]));
        let (mut record, after) = rest.split_at(5 + length);
        let mut plain = 0;
        while !record.is_empty() {
            pair.client.read_tls(&mut record).unwrap();
            let state = pair.client.process_new_packets().unwrap();
            plain = state.plaintext_bytes_to_read();
        }
        pair.client.reader().read_exact(&mut vec![0; plain]).unwrap();
        payloads.push(plain);
        rest = after;
    }
    assert_eq!(payloads, [RECORD_PAYLOAD; 3]);
}

#[rstest]
#[case::the_name(GATE, 0)]
#[case::the_other_name("db.example.com", 1)]
#[case::a_wildcard("orders.db.example.com", 1)]
#[case::no_such_name("nowhere.example.org", 0)]
#[case::an_address("192.0.2.1", 0)]
fn the_certificate_follows_the_name_that_is_asked_for(#[case] host: &str, #[case] used: usize) {
    let authority = authority();
    let identities = vec![
        server_of(&authority, &[GATE]),
        server_of(&authority, &["db.example.com", "*.db.example.com"]),
    ];
    let config = server_config(identities.clone(), authority.roots().unwrap(), &[]).unwrap();
    let tls = upstream(UpstreamMode::InsecureNoVerify, Arc::new(RootCertStore::empty()));
    let pair = handshake(dial(&tls, host, None), at(&config, NOW)).unwrap();
    assert_eq!(pair.client.peer_certificates().unwrap()[0].as_ref(), identities[used].leaf());
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Outcome {
    Through,
    WrongName,
    WrongAuthority,
}

#[rstest]
#[case::full_right_name(UpstreamMode::VerifyFull, GATE, true, Outcome::Through)]
#[case::full_wrong_name(UpstreamMode::VerifyFull, "db.example.com", true, Outcome::WrongName)]
#[case::full_wrong_authority(UpstreamMode::VerifyFull, GATE, false, Outcome::WrongAuthority)]
#[case::chain_wrong_name(UpstreamMode::VerifyCa, "db.example.com", true, Outcome::Through)]
#[case::chain_address(UpstreamMode::VerifyCa, "192.0.2.1", true, Outcome::Through)]
#[case::chain_wrong_authority(UpstreamMode::VerifyCa, GATE, false, Outcome::WrongAuthority)]
#[case::nothing(UpstreamMode::InsecureNoVerify, "db.example.com", false, Outcome::Through)]
fn an_upstream_is_verified_as_much_as_its_mode_says(
    #[case] mode: UpstreamMode,
    #[case] host: &str,
    #[case] trusted: bool,
    #[case] expected: Outcome,
) {
    let ours = authority();
    let roots = if trusted { ours.roots() } else { authority().roots() };
    let tls = upstream(mode, roots.unwrap());
    let outcome = match handshake(dial(&tls, host, None), listener(&ours, &[], NOW)) {
        Ok(_) => Outcome::Through,
        Err(Error::InvalidCertificate(CertificateError::NotValidForNameContext { .. })) => {
            Outcome::WrongName
        }
        Err(Error::InvalidCertificate(CertificateError::BadSignature)) => Outcome::WrongAuthority,
        Err(error) => panic!("{error}"),
    };
    assert_eq!(outcome, expected);
}

#[test]
fn a_server_name_can_stand_in_for_the_host() {
    let authority = authority();
    let mut tls = upstream(UpstreamMode::VerifyFull, authority.roots().unwrap());
    tls.server_name = Some(GATE.to_owned());
    let pair = handshake(dial(&tls, "192.0.2.1", None), listener(&authority, &[], NOW)).unwrap();
    assert_eq!(pair.server.server_name(), Some(GATE));
}

#[rstest]
#[case::full(UpstreamMode::VerifyFull)]
#[case::chain(UpstreamMode::VerifyCa)]
fn a_person_is_no_upstream(#[case] mode: UpstreamMode) {
    let authority = authority();
    let identities = vec![alice_of(&authority)];
    let config = server_config(identities, authority.roots().unwrap(), &[]).unwrap();
    let tls = upstream(mode, authority.roots().unwrap());
    let refused = refusal(handshake(dial(&tls, GATE, None), at(&config, NOW)));
    assert!(matches!(refused, CertificateError::InvalidPurposeContext { .. }), "{refused:?}");
}

/// What `openssl req -x509` makes, with and without its mark of an authority.
#[rstest]
#[case::marked_full(UpstreamMode::VerifyFull, IsCa::Ca(BasicConstraints::Unconstrained), false)]
#[case::marked_chain(UpstreamMode::VerifyCa, IsCa::Ca(BasicConstraints::Unconstrained), false)]
#[case::plain_full(UpstreamMode::VerifyFull, IsCa::ExplicitNoCa, true)]
#[case::plain_chain(UpstreamMode::VerifyCa, IsCa::ExplicitNoCa, true)]
fn a_server_that_signed_itself_is_trusted_unless_it_is_an_authority(
    #[case] mode: UpstreamMode,
    #[case] is_ca: IsCa,
    #[case] accepted: bool,
) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![GATE.to_owned()]).unwrap();
    params.is_ca = is_ca;
    let pem = params.self_signed(&key).unwrap().pem();
    let identity = Identity::from_pem(pem.as_bytes(), &key.serialize_pem().into()).unwrap();
    let config = server_config(vec![identity], authority().roots().unwrap(), &[]).unwrap();
    let tls = upstream(mode, roots_from_pem(pem.as_bytes()).unwrap());
    let result = handshake(dial(&tls, GATE, None), at(&config, NOW));
    assert_eq!(result.is_ok(), accepted);
}

#[test]
fn an_upstream_sees_the_login_as_the_common_name() {
    let authority = authority();
    let login = authority.issue_login("app_rw", HOUR, NOW).unwrap();
    let identity = login.identity().unwrap();
    let pair =
        handshake(client(&authority, Some(&identity)), listener(&authority, &[], NOW)).unwrap();
    let seen = pair.server.peer_certificates().unwrap()[0].clone();
    assert_eq!(seen, login.certificate.der);
    let (_, parsed) = x509_parser::parse_x509_certificate(&seen).unwrap();
    assert_eq!(parsed.subject().to_string(), "CN=app_rw");
}

#[test]
fn the_client_is_told_that_its_certificate_has_expired() {
    let authority = authority();
    let alice = alice_of(&authority);
    let (config, name) = client(&authority, Some(&alice));
    let late = listener(&authority, &[], NOW + 3_601_000);
    let mut pair = Pair {
        client: ClientConnection::new(Arc::new(config), name).unwrap(),
        server: ServerConnection::new(Arc::new(late)).unwrap(),
    };
    let alert = (0..4).find_map(|_| {
        // The server's own error is what it tells the client about, in an alert.
        let _ = pass_to_server(&mut pair);
        pass_to_client(&mut pair).err()
    });
    assert_eq!(alert, Some(Error::AlertReceived(AlertDescription::CertificateExpired)));
}
