//! `OAUTHBEARER`: a real libpq 18 shows an access token of an issuer, and whoever it names comes in.

use crate::support::libpq::{OAUTH as OPENED, connect};
use crate::support::raw::{framed, read, read_error, secure, send, startup};
use crate::support::signer::{Signer, now};
use crate::support::{Bed, Setup};
use serde_json::{Value, json};

/// A gateway that takes access tokens of the issuer `corp`, which knows alice as `a1`.
async fn bed(signer: &Signer, auth: &str) -> Bed {
    let more = format!(
        "[issuers.corp]\nurl = \"{}\"\nclient_id = \"web\"\n\
         bearer_audience = \"postern\"\nbearer_scope = \"openid postern\"\n",
        signer.url
    );
    let alice = "oidc = { issuer = \"corp\", subject = \"a1\" }".to_owned();
    Bed::with(Setup { postgres: auth.to_owned(), alice, more, ..Setup::default() }).await
}

async fn libpq(bed: &Bed, signer: &Signer, more: &str, token: &str) -> (bool, String) {
    connect(bed, &signer.url, more, token).await
}

fn token(signer: &Signer, claims: &Value) -> String {
    signer.signed(&json!({ "alg": "EdDSA", "kid": "one", "typ": "at+jwt" }), claims)
}

#[tokio::test]
async fn libpq_18_discovers_the_issuer_and_comes_in_with_its_token() {
    let signer = Signer::start().await;
    let bed = bed(&signer, "").await;
    let good = token(&signer, &json!({ "sub": "a1", "jti": "t-1" }));
    let (done, output) = libpq(&bed, &signer, OPENED, &good).await;
    let place = format!("{}/.well-known/openid-configuration", signer.url);
    let asked = format!("asked for a token of {place} for openid postern\n");
    assert!(done && output.starts_with(&asked) && output.trim().ends_with("app_ro"), "{output}");
    let overseer = bed.actor("bob").await;
    let paging = || control::Paging { cursor: None, limit: Some(200) };
    let filter = control::SessionFilter { scope: control::Scope::All, ..Default::default() };
    let sessions =
        bed.gateway.control().evidence.sessions(&overseer, filter, paging()).await.unwrap();
    let session = &sessions.items[0];
    assert_eq!(session.principal.as_str(), "alice");
    assert_eq!(session.authn.method, policies::Method::Bearer);
    assert_eq!(session.authn.evidence, "t-1");
    let audit = bed.gateway.control().kernel.audit(&overseer, paging()).await.unwrap();
    let denied = audit.items.iter().filter(|event| event.kind == "connection.denied").count();
    assert_eq!(denied, 0, "a look for the issuer is no attempt to come in");
}

#[tokio::test]
async fn a_listener_may_ask_everybody_for_a_token() {
    let signer = Signer::start().await;
    let bed = bed(&signer, "auth = \"oauth\"").await;
    let good = token(&signer, &json!({ "sub": "a1" }));
    let (done, output) = libpq(&bed, &signer, "", &good).await;
    assert!(done, "{output}");
}

#[tokio::test]
async fn an_access_token_that_is_not_for_us_is_refused_with_a_hint() {
    let signer = Signer::start().await;
    let bed = bed(&signer, "").await;
    let other = Signer::start().await;
    for (bad, why) in [
        (token(&signer, &json!({ "sub": "a1", "aud": "another" })), "for somebody else"),
        (token(&signer, &json!({ "sub": "a1", "aud": "web" })), "for somebody else"),
        (token(&signer, &json!({ "sub": "a1", "exp": now() - 60 })), "has expired"),
        (token(&signer, &json!({ "sub": "b2" })), "sign in once with the browser"),
        (token(&signer, &json!({})), "names nobody"),
        (token(&other, &json!({ "sub": "a1" })), "not one of an issuer"),
        (token(&other, &json!({ "sub": "a1", "iss": signer.url })), "not one of an issuer"),
        ("opaque".to_owned(), "not one of an issuer"),
    ] {
        let (done, output) = libpq(&bed, &signer, OPENED, &bad).await;
        assert!(
            !done && output.contains(why) && output.contains("Get one for this gateway"),
            "{output}"
        );
    }
}

#[tokio::test]
async fn a_sasl_response_of_another_mechanism_or_form_is_a_protocol_error() {
    let signer = Signer::start().await;
    let bed = bed(&signer, "").await;
    let oauth = |response: &str| {
        let length = i32::try_from(response.len()).unwrap().to_be_bytes();
        framed(Some(b'p'), &[b"OAUTHBEARER\0", &length[..], response.as_bytes()].concat())
    };
    for reply in [
        framed(Some(b'p'), b"SCRAM-SHA-256\0\0\0\0\x01n"),
        framed(Some(b'p'), b"secret\0"),
        oauth("n,a=bob,\x01auth=Bearer a\x01\x01"),
        oauth("n,,\x01auth=Bearer a\x01auth=Bearer b\x01\x01"),
        oauth("p=tls-server-end-point,,\x01auth=Bearer a\x01\x01"),
    ] {
        let mut stream = secure(&bed, None).await;
        let options =
            [("user", "app_ro"), ("database", "orders"), ("options", "-c postern.auth=oauth")];
        send(&mut stream, &startup(0x0003_0000, &options)).await;
        let offer = read(&mut stream).await.unwrap();
        assert_eq!((offer.kind, &offer.body[..]), (b'R', &b"\0\0\0\x0aOAUTHBEARER\0\0"[..]));
        send(&mut stream, &reply).await;
        assert_eq!(read_error(&mut stream).await.field(b'C'), "08P01");
    }
}

#[tokio::test]
async fn whoever_keeps_a_bad_token_s_refusal_unacknowledged_keeps_a_strangers_place() {
    let signer = Signer::start().await;
    let bed = bed(&signer, "").await;
    let options =
        [("user", "app_ro"), ("database", "orders"), ("options", "-c postern.auth=oauth")];
    let mut silent = Vec::new();
    for _ in 0..8 {
        let mut stream = secure(&bed, None).await;
        send(&mut stream, &startup(0x0003_0000, &options)).await;
        assert_eq!(read(&mut stream).await.unwrap().kind, b'R');
        let response = "n,,\x01auth=\x01\x01";
        let length = i32::try_from(response.len()).unwrap().to_be_bytes();
        let body = [b"OAUTHBEARER\0", &length[..], response.as_bytes()].concat();
        send(&mut stream, &framed(Some(b'p'), &body)).await;
        assert_eq!(read(&mut stream).await.unwrap().kind, b'R', "the answer names the issuer");
        silent.push(stream);
    }
    let mut stream = secure(&bed, None).await;
    send(&mut stream, &startup(0x0003_0000, &options)).await;
    assert_eq!(read_error(&mut stream).await.field(b'C'), "53300");
}
