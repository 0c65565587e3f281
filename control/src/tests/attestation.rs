//! Registration where the configuration lists whose authenticators are taken, with keys in software that
//! attest as real ones do: packed (WebAuthn Level 3, 8.2), by a maker's certificate.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SigningKey,
};
use serde_json::{Value, json};
use sha2::Digest as _;

use super::World;
use super::keys::Key;
use crate::identity::passkeys::enrol::Enrolled;
use crate::model::attestation::AttestationRoots;
use crate::model::error::{ControlError, Refusal};
use crate::model::unproven::Unproven;

/// A maker of authenticators.
struct Maker {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Maker {
    fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // RFC 5280, 4.2.1.3: an authority says that its key signs certificates.
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let pem = params.self_signed(&key).unwrap().pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    /// What the registration of a key says, with this maker's word for it.
    fn attest(&self, made: &str) -> String {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        for (part, text) in [
            (DnType::CountryName, "CH"),
            (DnType::OrganizationName, "Example Keys"),
            (DnType::OrganizationalUnitName, "Authenticator Attestation"),
            (DnType::CommonName, "Example Key 5"),
        ] {
            params.distinguished_name.push(part, text);
        }
        params.is_ca = IsCa::ExplicitNoCa;
        let leaf = params.signed_by(&key, &self.issuer).unwrap();
        let mut made: Value = serde_json::from_str(made).unwrap();
        let bytes = |name: &str| {
            let text = made["response"][name].as_str().unwrap();
            URL_SAFE_NO_PAD.decode(text).unwrap()
        };
        let mut data = authenticator_data(&bytes("attestationObject"));
        // The model, which stands behind the party, the flags and the counter.
        data[37..53].copy_from_slice(&[5; 16]);
        let signed = [&data[..], &sha2::Sha256::digest(bytes("clientDataJSON"))].concat();
        let object = packed(&data, &key.sign(&signed).unwrap(), leaf.der());
        made["response"]["attestationObject"] = json!(URL_SAFE_NO_PAD.encode(object));
        made.to_string()
    }
}

/// The bytes behind `authData` in an attestation object, which is CBOR.
fn authenticator_data(object: &[u8]) -> Vec<u8> {
    const NAME: &[u8] = b"\x68authData";
    let at = object.windows(NAME.len()).position(|part| part == NAME).unwrap() + NAME.len();
    let (length, from) = match object[at] {
        0x58 => (usize::from(object[at + 1]), at + 2),
        0x59 => (usize::from(object[at + 1]) << 8 | usize::from(object[at + 2]), at + 3),
        other => panic!("{other:x} is no byte string"),
    };
    object[from..from + length].to_vec()
}

fn packed(data: &[u8], signature: &[u8], leaf: &[u8]) -> Vec<u8> {
    let string = |bytes: &[u8]| {
        let length = u16::try_from(bytes.len()).unwrap().to_be_bytes();
        [&[0x59][..], &length, bytes].concat()
    };
    [
        &b"\xa3\x63fmt\x66packed\x67attStmt\xa3\x63alg\x26\x63sig"[..],
        &string(signature),
        b"\x63x5c\x81",
        &string(leaf),
        b"\x68authData",
        &string(data),
    ]
    .concat()
}

/// Registers a key of alice's, of which `word` makes what arrives.
async fn register(
    world: &World,
    word: impl FnOnce(&str) -> String,
) -> Result<Enrolled, ControlError> {
    let alice = world.signed_in("alice").await.actor;
    let challenge = world.control.identity.begin_enrolment(&alice, None).await.unwrap();
    let made = word(&Key::new().make(&challenge));
    world.control.identity.enrol(&alice, &challenge.id, &made, "blue key").await
}

async fn listing(maker: &Maker) -> World {
    let roots = AttestationRoots::from_pem(&maker.pem).unwrap();
    World::with(|settings| settings.attestation = Some(roots)).await
}

#[tokio::test]
async fn where_makers_are_listed_their_keys_are_taken_and_no_others() {
    let (listed, other) = (Maker::new("Example Keys Root"), Maker::new("Other Keys Root"));
    let world = listing(&listed).await;
    register(&world, |made| listed.attest(made)).await.unwrap();
    let forged = |made: &str| {
        let mut object: Value = serde_json::from_str(&listed.attest(made)).unwrap();
        let theirs: Value = serde_json::from_str(&other.attest(made)).unwrap();
        object["response"]["attestationObject"] = theirs["response"]["attestationObject"].clone();
        object.to_string()
    };
    for (what, refused) in [
        ("another maker's", register(&listing(&listed).await, |made| other.attest(made)).await),
        ("another maker's word", register(&listing(&listed).await, forged).await),
        ("nobody's word", register(&listing(&listed).await, str::to_owned).await),
    ] {
        let refused = refused.unwrap_err();
        assert!(
            matches!(refused, ControlError::Refused(Refusal::Unproven(Unproven::NotListed))),
            "{what}: {refused:?}"
        );
    }
}

#[tokio::test]
async fn where_no_maker_is_listed_every_key_is_taken() {
    let maker = Maker::new("Example Keys Root");
    register(&World::new().await, |made| maker.attest(made)).await.unwrap();
    register(&World::new().await, str::to_owned).await.unwrap();
}

#[tokio::test]
async fn a_key_that_is_not_listed_leaves_its_word_in_the_audit_log() {
    let world = listing(&Maker::new("Example Keys Root")).await;
    assert!(register(&world, str::to_owned).await.is_err());
    assert!(world.kinds().await.contains(&"passkey.refused".to_owned()));
    assert!(!world.kinds().await.contains(&"passkey.added".to_owned()));
}
