use jsonwebtoken::{EncodingKey, Header};
use rstest::rstest;
use serde_json::{Value, json};

use super::jwt::Token;
use super::*;

const NOW: i64 = 1_700_000_000;
const ISSUER: &str = "https://login.example.com";

/// A P-256 key of an issuer, named `one`.
struct Signer {
    private: EncodingKey,
    public: Value,
}

impl Signer {
    fn new(id: &str) -> Self {
        let pair = rcgen::KeyPair::generate().unwrap();
        let private = EncodingKey::from_ec_der(&pair.serialize_der());
        let point = pair.public_key_raw().to_vec();
        let text = |bytes: &[u8]| {
            use base64::Engine as _;
            base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
        };
        let public = json!({
            "kty": "EC", "crv": "P-256", "kid": id, "use": "sig",
            "x": text(&point[1..33]), "y": text(&point[33..]),
        });
        Self { private, public }
    }

    fn sign(&self, header: Header, claims: &Value) -> String {
        jsonwebtoken::encode(&header, claims, &self.private).unwrap()
    }
}

fn header(id: &str) -> Header {
    let mut header = Header::new(jsonwebtoken::Algorithm::ES256);
    header.kid = Some(id.to_owned());
    header
}

fn claims() -> Value {
    json!({
        "iss": ISSUER, "sub": "a1", "aud": "postern", "iat": NOW, "exp": NOW + 300,
    })
}

fn with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[name] = value;
    claims
}

fn without(name: &str) -> Value {
    let mut claims = claims();
    claims.as_object_mut().unwrap().remove(name);
    claims
}

fn keys(of: &[&Signer]) -> Keys {
    let keys: Vec<&Value> = of.iter().map(|signer| &signer.public).collect();
    Keys::read(serde_json::from_value(json!({ "keys": keys })).unwrap())
}

const PLAIN: Expect<'static> = Expect { audience: "postern", typ: Typ::Plain, max_age: None };

/// The verdict on a text: `good`, or the short name of what is wrong.
fn verdict(keys: &Keys, text: &str, expect: &Expect<'_>) -> &'static str {
    let now = Timestamp::from_millis(NOW * 1_000);
    let read = Token::read(text);
    let verified = read.and_then(|token| token.verify(keys, &ISSUER.parse().unwrap(), expect, now));
    verified.map_or_else(|error| error.code(), |_| "good")
}

#[rstest]
#[case::plain(claims(), "good")]
#[case::several_audiences(with("aud", json!(["other", "postern"])), "good")]
#[case::a_fraction_of_a_second(with("iat", json!(NOW as f64 - 0.5)), "good")]
#[case::another_audience(with("aud", json!("other")), "wrong-audience")]
#[case::a_part_of_the_audience(with("aud", json!("postern2")), "wrong-audience")]
#[case::no_audience(without("aud"), "malformed-token")]
#[case::an_audience_of_numbers(with("aud", json!([1])), "malformed-token")]
#[case::another_issuer(with("iss", json!("https://login.example.net")), "wrong-issuer")]
#[case::issuer_with_a_slash(with("iss", json!("https://login.example.com/")), "wrong-issuer")]
#[case::no_issuer(without("iss"), "wrong-issuer")]
#[case::expired(with("exp", json!(NOW - 30)), "expired-token")]
#[case::expired_within_the_allowance(with("exp", json!(NOW - 29)), "good")]
#[case::never_expires(without("exp"), "malformed-token")]
#[case::expiry_as_text(with("exp", json!("9999999999")), "malformed-token")]
#[case::expiry_beyond_reason(with("exp", json!(1e300)), "malformed-token")]
#[case::negative(with("iat", json!(-1)), "malformed-token")]
#[case::not_issued(without("iat"), "malformed-token")]
#[case::issued_tomorrow(with("iat", json!(NOW + 31)), "not-yet-good")]
#[case::issued_within_the_allowance(with("iat", json!(NOW + 30)), "good")]
#[case::not_before(with("nbf", json!(NOW + 31)), "not-yet-good")]
fn a_claim_is_what_is_expected_or_the_token_is_refused(
    #[case] claims: Value,
    #[case] wanted: &str,
) {
    let signer = Signer::new("one");
    let text = signer.sign(header("one"), &claims);
    assert_eq!(verdict(&keys(&[&signer]), &text, &PLAIN), wanted, "{claims}");
}

#[test]
fn age_is_bounded_where_it_matters() {
    let signer = Signer::new("one");
    let most = Some(Ttl::from_secs(60));
    for (iat, wanted) in [(NOW - 89, "good"), (NOW - 90, "old-token")] {
        let text = signer.sign(header("one"), &with("iat", json!(iat)));
        let expect = Expect { max_age: most, ..PLAIN };
        assert_eq!(verdict(&keys(&[&signer]), &text, &expect), wanted);
    }
}

#[rstest]
#[case(Typ::Plain, None, "good")]
#[case(Typ::Plain, Some("JWT"), "good")]
#[case(Typ::Plain, Some("logout+jwt"), "wrong-type")]
#[case(Typ::Plain, Some("at+jwt"), "wrong-type")]
#[case(Typ::Logout, Some("logout+jwt"), "good")]
#[case(Typ::Logout, Some("application/logout+jwt"), "good")]
#[case(Typ::Logout, Some("at+jwt"), "wrong-type")]
#[case(Typ::Access, Some("at+jwt"), "good")]
#[case(Typ::Access, Some("logout+jwt"), "wrong-type")]
#[case(Typ::Plain, Some("dpop+jwt"), "wrong-type")]
fn a_token_of_one_kind_is_none_of_another(
    #[case] wanted: Typ,
    #[case] said: Option<&str>,
    #[case] outcome: &str,
) {
    let signer = Signer::new("one");
    let mut header = header("one");
    header.typ = said.map(str::to_owned);
    let expect = Expect { typ: wanted, ..PLAIN };
    let text = signer.sign(header, &claims());
    assert_eq!(verdict(&keys(&[&signer]), &text, &expect), outcome);
}

#[test]
fn only_a_published_key_of_the_right_kind_signs() {
    let (one, two) = (Signer::new("one"), Signer::new("two"));
    let text = one.sign(header("one"), &claims());
    assert_eq!(verdict(&keys(&[&one, &two]), &text, &PLAIN), "good");
    assert_eq!(verdict(&keys(&[&two]), &text, &PLAIN), "unknown-key");
    let posing = two.sign(header("one"), &claims());
    assert_eq!(verdict(&keys(&[&one, &two]), &posing, &PLAIN), "wrong-signature");
    let mut nameless = header("one");
    nameless.kid = None;
    let text = one.sign(nameless, &claims());
    assert_eq!(verdict(&keys(&[&one]), &text, &PLAIN), "good");
    assert_eq!(verdict(&keys(&[&one, &two]), &text, &PLAIN), "unknown-key");
}

#[rstest]
#[case("use", json!("enc"))]
#[case("alg", json!("ES384"))]
#[case("crv", json!("P-384"))]
fn a_key_for_something_else_does_not_sign(#[case] name: &str, #[case] value: Value) {
    let mut signer = Signer::new("one");
    let text = signer.sign(header("one"), &claims());
    signer.public[name] = value;
    assert_eq!(verdict(&keys(&[&signer]), &text, &PLAIN), "unknown-key");
}

/// Key confusion: what is published can be read by all, so that whoever knows it could sign.
#[test]
fn neither_nobody_nor_a_shared_secret_signs() {
    use base64::Engine as _;
    let encode = |text: &str| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text);
    let signer = Signer::new("one");
    let published = keys(&[&signer]);
    let body = encode(&claims().to_string());
    for name in ["none", "None", "nOnE", ""] {
        let head = encode(&json!({ "alg": name, "kid": "one" }).to_string());
        let text = format!("{head}.{body}.");
        assert_eq!(verdict(&published, &text, &PLAIN), "wrong-algorithm", "{name}");
    }
    let secret = EncodingKey::from_secret(signer.public["x"].as_str().unwrap().as_bytes());
    let mut head = Header::new(jsonwebtoken::Algorithm::HS256);
    head.kid = Some("one".into());
    let text = jsonwebtoken::encode(&head, &claims(), &secret).unwrap();
    assert_eq!(verdict(&published, &text, &PLAIN), "wrong-algorithm");
    let octets = json!({ "keys": [{ "kty": "oct", "kid": "one", "k": "c2VjcmV0" }] });
    let octets = Keys::read(serde_json::from_value(octets).unwrap());
    assert_eq!(octets.len(), 0);
}

#[test]
fn what_is_changed_after_signing_is_refused() {
    let signer = Signer::new("one");
    let published = keys(&[&signer]);
    let text = signer.sign(header("one"), &claims());
    let other = signer.sign(header("one"), &with("sub", json!("b2")));
    let (head, _) = text.split_once('.').unwrap();
    let (_, signature) = text.rsplit_once('.').unwrap();
    let body = other.split('.').nth(1).unwrap();
    let spliced = format!("{head}.{body}.{signature}");
    assert_eq!(verdict(&published, &spliced, &PLAIN), "wrong-signature");
    for broken in ["", "a", "a.b", "....", "e30.e30.e30", &format!("{text}.x"), &text[1..]] {
        assert_eq!(verdict(&published, broken, &PLAIN), "malformed-token", "{broken}");
    }
    let long = format!("{head}.{}.{signature}", "A".repeat(20_000));
    assert_eq!(verdict(&published, &long, &PLAIN), "malformed-token");
}

#[test]
fn an_extension_that_must_be_understood_is_not() {
    use base64::Engine as _;
    let encode = |text: &str| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text);
    let head = encode(&json!({ "alg": "ES256", "crit": ["b64"], "b64": false }).to_string());
    let text = format!("{head}.{}.AA", encode(&claims().to_string()));
    assert_eq!(verdict(&keys(&[]), &text, &PLAIN), "malformed-token");
}

#[rstest]
#[case("https://login.example.com/realms/a", true)]
#[case("http://127.0.0.1:4000", true)]
#[case("http://[::1]:4000", true)]
#[case("http://localhost:4000/", true)]
#[case("http://login.example.com", false)]
#[case("http://127.0.0.1.example.com", false)]
#[case("https://login.example.com/?a=b", false)]
#[case("https://alice@login.example.com", false)]
#[case("ftp://login.example.com", false)]
#[case("login.example.com", false)]
fn an_issuer_is_asked_over_tls_or_on_loopback(#[case] text: &str, #[case] good: bool) {
    assert_eq!(text.parse::<IssuerUrl>().is_ok(), good);
}

#[rstest]
#[case("issuer", "https://login.example.com/", false)]
#[case("jwks_uri", "http://login.example.com/jwks", false)]
#[case("jwks_uri", "http://127.0.0.1/jwks", false)]
#[case("token_endpoint", "http://169.254.169.254/", false)]
#[case("authorization_endpoint", "javascript:alert(1)", false)]
#[case("end_session_endpoint", "file:///etc/passwd", false)]
#[case("authorization_endpoint", "urn:kubernetes:programmatic_authorization", true)]
#[case("token_endpoint", "https://elsewhere.example.com/token", true)]
fn what_an_issuer_says_about_itself_is_believed_only_where_it_is_safe(
    #[case] name: &str,
    #[case] value: &str,
    #[case] good: bool,
) {
    let mut said = json!({ "issuer": ISSUER, "jwks_uri": "https://login.example.com/jwks" });
    said[name] = json!(value);
    let read: Metadata = serde_json::from_value(said).unwrap();
    assert_eq!(metadata::believed(read, &ISSUER.parse().unwrap()).is_ok(), good);
}

proptest::proptest! {
    #[test]
    fn no_text_is_taken_for_a_token(text in "[A-Za-z0-9._=-]{0,300}") {
        proptest::prop_assert_ne!(verdict(&keys(&[]), &text, &PLAIN), "good");
    }
}
