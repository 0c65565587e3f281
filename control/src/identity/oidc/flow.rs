//! One sign-in: a browser is sent to an issuer, and brings its answer back (authorization code with
//! PKCE: RFC 6749, 7636, 9700; OpenID Connect Core 1.0, 3.1).
//!
//! What is kept of a sign-in says which issuer it belongs to and which browser began it, by digests.
//! The browser holds one secret in a cookie of its own; nonce and PKCE verifier are made of it, so
//! that neither the answer alone, nor the cookie alone, nor the store alone can finish it. The first
//! answer uses it up, whatever becomes of it.

use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use policies::{IssuerName, Method, Ttl};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::json;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use url::Url;

use super::exchange::{Asking, Bond};
use crate::identity::oidc::people;
use crate::identity::oidc::refusal::OidcRefusal;
use crate::identity::oidc::vouched::Vouched;
use crate::identity::{Identity, logins};
use crate::kernel::refusals::Refused;
use crate::model::error::ControlError;
use crate::model::inventory::Inventory;
use crate::model::issuer::Issuer;
use crate::model::login::{AtIssuer, LoginSession, NewLogin, Origin, Rank};
use crate::platform::ids;
use crate::platform::ids::Hash;
use crate::platform::sanitize::clip;
use crate::store::issuers as table;
use crate::store::issuers::Flow;

/// How long somebody may take at the issuer.
pub(crate) const LIFE: Ttl = Ttl::from_secs(10 * 60);
/// As many sign-ins at once as memory and table hold without a thought; the oldest makes room.
const MOST: i64 = 10_000;
const STATE: &str = "psf_";
const BROWSER: &str = "psb_";

/// A sign-in that has begun.
#[derive(Debug)]
pub(crate) struct Begun {
    /// Where the browser goes.
    pub(crate) url: Url,
    /// What it keeps meanwhile.
    pub(crate) cookie: SecretString,
}

/// What an issuer sends back with the browser. Others' parameters are not ours to refuse.
#[derive(Deserialize)]
pub(crate) struct Answer {
    #[serde(default)]
    code: Option<String>,
    #[serde(default)]
    state: Option<SecretString>,
    /// Whom the answer is from (RFC 9207).
    #[serde(default)]
    iss: Option<String>,
    #[serde(default)]
    error: Option<String>,
}

/// A sign-in that has succeeded.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) session: LoginSession,
    /// The page that the person wanted.
    pub(crate) next: String,
}

/// Whether a text has the form of a browser's secret.
pub(crate) fn is_flow(text: &str) -> bool {
    ids::is_secret(text, BROWSER)
}

impl Inventory {
    fn issuer(&self, name: &IssuerName) -> Result<&Issuer, OidcRefusal> {
        self.issuers.get(name).ok_or_else(|| OidcRefusal::NoIssuer(name.clone()))
    }
}

impl Identity {
    /// Begins a sign-in with this issuer.
    pub(crate) async fn begin_flow(
        &self,
        issuer: &IssuerName,
        next: &str,
        address: Option<IpAddr>,
    ) -> Result<Begun, OidcRefusal> {
        let begun = self.set_out(issuer, next, address).await;
        self.record_refusal(issuer, address, begun).await
    }

    /// Finishes a sign-in with what the browser brought back: whatever fails, it is used up.
    pub(crate) async fn finish_flow(
        &self,
        issuer: &IssuerName,
        cookie: Option<&SecretString>,
        answer: Answer,
        origin: Origin,
    ) -> Result<Finished, OidcRefusal> {
        let address = origin.address;
        let finished = self.come_back(issuer, cookie, answer, origin).await;
        self.record_refusal(issuer, address, finished).await
    }

    async fn set_out(
        &self,
        name: &IssuerName,
        next: &str,
        address: Option<IpAddr>,
    ) -> Result<Begun, OidcRefusal> {
        let inventory = self.kernel.inventory();
        let issuer = inventory.issuer(name)?;
        let from = address.map(accept::neighbourhood);
        self.own.flows.0.check_key(&from).map_err(|_| OidcRefusal::Busy)?;
        let metadata = self.own.issuers.metadata(&issuer.url).await?;
        let asking = Asking::new(issuer, &self.own.issuers, &metadata, &self.callback(name))?;
        let cookie = ids::fresh_secret(BROWSER);
        let bond = bond(&cookie, ids::fresh_secret(STATE));
        let (identity, flow) = (
            self.clone(),
            Flow {
                state: ids::hash(&bond.state),
                issuer: name.clone(),
                browser: ids::hash(&cookie),
                next: next.to_owned(),
                expires_at: self.kernel.now().after(LIFE),
            },
        );
        let kept = self.kernel.to_the_end(async move {
            let mut tx = identity.kernel.begin().await?;
            let now = tx.now;
            table::forget_flows(tx.db(), now).await?;
            table::insert_flow(tx.db(), &flow, MOST).await?;
            tx.commit().await.map(drop)
        });
        kept.await?;
        Ok(Begun { url: asking.url(&bond), cookie })
    }

    async fn come_back(
        &self,
        name: &IssuerName,
        cookie: Option<&SecretString>,
        answer: Answer,
        origin: Origin,
    ) -> Result<Finished, OidcRefusal> {
        let inventory = self.kernel.inventory();
        let issuer = inventory.issuer(name)?;
        let cookie = cookie.ok_or(OidcRefusal::NoFlow)?;
        let state = answer.state.clone().ok_or(OidcRefusal::WrongState)?;
        let flow = self.used_up(&state).await?.ok_or(OidcRefusal::WrongState)?;
        flow.belongs(name, cookie)?;
        let metadata = self.own.issuers.metadata(&issuer.url).await?;
        let wants_iss = metadata.authorization_response_iss_parameter_supported;
        let code = answer.code_of(issuer, wants_iss)?;
        let asking = Asking::new(issuer, &self.own.issuers, &metadata, &self.callback(name))?;
        let vouched = asking.redeem(code, &bond(cookie, state)).await?;
        let session = self.open_session(issuer.clone(), vouched, origin).await?;
        Ok(Finished { session, next: flow.next })
    }

    /// Takes a sign-in out of the store: nobody else finds it, whatever comes now.
    async fn used_up(&self, state: &SecretString) -> Result<Option<Flow>, ControlError> {
        if !ids::is_secret(state.expose_secret(), STATE) {
            return Ok(None);
        }
        let (identity, state) = (self.clone(), ids::hash(state));
        self.kernel
            .to_the_end(async move {
                let mut tx = identity.kernel.begin().await?;
                let now = tx.now;
                let flow = table::take_flow(tx.db(), &state).await?;
                tx.commit().await?;
                Ok(flow.filter(|flow| now < flow.expires_at))
            })
            .await
    }

    /// Takes in what the issuer says, and opens a session.
    async fn open_session(
        &self,
        issuer: Issuer,
        vouched: Vouched,
        origin: Origin,
    ) -> Result<LoginSession, OidcRefusal> {
        let principal = self.kernel.inventory().principal_of(&issuer.name, &vouched.subject);
        let principal = principal.map_err(|_| OidcRefusal::UnusableSubject)?;
        let identity = self.clone();
        let session = self.kernel.to_the_end(async move {
            let mut tx = identity.kernel.begin().await?;
            people::learn(&mut tx, &issuer, &vouched).await?;
            if tx.inventory.person(&principal).is_err() {
                return Ok(None);
            }
            let session = logins::open_login(
                &mut tx,
                NewLogin {
                    principal,
                    method: Method::Oidc,
                    rank: Rank::Full,
                    issuer: Some(AtIssuer {
                        issuer: issuer.name.to_string(),
                        subject: vouched.subject,
                        sid: vouched.sid,
                    }),
                    by: None,
                    origin,
                },
            );
            let session = session.await?;
            tx.commit().await?;
            Ok(Some(session))
        });
        session.await?.ok_or(OidcRefusal::Disabled)
    }

    /// Records a refusal before it is shown.
    async fn record_refusal<T>(
        &self,
        issuer: &IssuerName,
        address: Option<IpAddr>,
        outcome: Result<T, OidcRefusal>,
    ) -> Result<T, OidcRefusal> {
        let Err(refusal) = outcome else { return outcome };
        self.refuse(Refused::Login, issuer, address, &refusal).await?;
        Err(refusal)
    }

    /// Writes a refusal down, or counts it. Of an issuer that isn't configured nothing is written.
    pub(super) async fn refuse(
        &self,
        what: Refused,
        issuer: &IssuerName,
        address: Option<IpAddr>,
        refusal: &OidcRefusal,
    ) -> Result<(), ControlError> {
        if matches!(refusal, OidcRefusal::NoIssuer(_)) {
            return Ok(());
        }
        let causes =
            std::iter::successors(Some(refusal as &dyn std::error::Error), |error| error.source());
        let described: Vec<String> = causes.map(ToString::to_string).collect();
        let detail = json!({
            "reason": refusal.code(), "detail": clip(&described.join(": "), 400), "address": address,
        });
        self.kernel.note_refusal(what, address, issuer, detail).await
    }

    /// Where this issuer sends browsers back to: an address of its own, so that answers of two
    /// issuers can't be mixed up.
    pub(super) fn callback(&self, issuer: &IssuerName) -> String {
        format!("{}/oidc/{issuer}/callback", self.kernel.settings().base_url())
    }
}

impl Flow {
    fn belongs(&self, issuer: &IssuerName, cookie: &SecretString) -> Result<(), OidcRefusal> {
        if self.issuer != *issuer {
            return Err(OidcRefusal::MixedUp);
        }
        let same = self.browser.ct_eq(&ids::hash(cookie));
        if bool::from(same) { Ok(()) } else { Err(OidcRefusal::AnotherBrowser) }
    }
}

impl Answer {
    /// The code, where the answer is the issuer's and brings one.
    fn code_of(self, issuer: &Issuer, wants_iss: bool) -> Result<String, OidcRefusal> {
        let from = self.iss.as_deref();
        if from.is_some_and(|from| from != issuer.url.as_str()) || (wants_iss && from.is_none()) {
            return Err(OidcRefusal::MixedUp);
        }
        match (self.error.as_deref(), self.code) {
            (Some("access_denied"), _) => Err(OidcRefusal::Denied),
            (Some(error), _) => Err(OidcRefusal::Declined(clip(error, 64))),
            (None, Some(code)) if !code.is_empty() => Ok(code),
            (None, _) => Err(OidcRefusal::NoCode),
        }
    }
}

/// What binds an answer to the browser that holds this secret.
fn bond(cookie: &SecretString, state: SecretString) -> Bond {
    let made = |what: &[u8]| {
        let mut hash = Sha256::new();
        hash.update(what);
        hash.update(cookie.expose_secret());
        let digest: Hash = hash.finalize().into();
        URL_SAFE_NO_PAD.encode(digest)
    };
    Bond {
        state,
        nonce: made(b"postern nonce v1\0"),
        verifier: made(b"postern verifier v1\0").into(),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::super::issuer::tests::issuer;
    use super::*;

    fn answer(pairs: &[(&str, &str)]) -> Answer {
        let text = |name| pairs.iter().find(|(key, _)| *key == name).map(|(_, v)| (*v).to_owned());
        Answer { code: text("code"), state: None, iss: text("iss"), error: text("error") }
    }

    const OURS: &str = "https://login.example.com";

    #[rstest]
    #[case::plain(&[("code", "c"), ("iss", OURS)], true, "good")]
    #[case::an_old_issuer(&[("code", "c")], false, "good")]
    #[case::an_issuer_that_says_more(&[("code", "c"), ("iss", OURS)], false, "good")]
    #[case::unsaid(&[("code", "c")], true, "mixed-up-issuer")]
    #[case::another(&[("code", "c"), ("iss", "https://evil.example.com")], true, "mixed-up-issuer")]
    #[case::another_unasked(&[("code", "c"), ("iss", "https://x.example.com")], false, "mixed-up-issuer")]
    #[case::nearly(&[("code", "c"), ("iss", "https://login.example.com/")], true, "mixed-up-issuer")]
    #[case::denied(&[("error", "access_denied"), ("iss", OURS)], true, "denied")]
    #[case::failed(&[("error", "server_error"), ("iss", OURS)], true, "issuer-error")]
    #[case::both(&[("error", "x"), ("code", "c"), ("iss", OURS)], true, "issuer-error")]
    #[case::neither(&[("iss", OURS)], true, "no-code")]
    #[case::an_error_of_another(&[("error", "access_denied"), ("iss", "x")], true, "mixed-up-issuer")]
    fn an_answer_is_the_asked_issuers_and_brings_a_code(
        #[case] pairs: &[(&str, &str)],
        #[case] wants_iss: bool,
        #[case] wanted: &str,
    ) {
        let code = answer(pairs).code_of(&issuer(), wants_iss);
        assert_eq!(code.map_or_else(|refusal| refusal.code(), |_| "good"), wanted);
    }

    #[test]
    fn a_flow_belongs_to_one_issuer_and_one_browser() {
        let cookie = ids::fresh_secret(BROWSER);
        let flow = Flow {
            state: ids::hash(&cookie),
            issuer: "corp".parse().unwrap(),
            browser: ids::hash(&cookie),
            next: "/".into(),
            expires_at: policies::Timestamp::from_millis(0),
        };
        let verdict = |issuer: &str, cookie: &SecretString| {
            let belongs = flow.belongs(&issuer.parse().unwrap(), cookie);
            belongs.map_or_else(|refusal| refusal.code(), |()| "good")
        };
        assert_eq!(verdict("corp", &cookie), "good");
        assert_eq!(verdict("other", &cookie), "mixed-up-issuer");
        assert_eq!(verdict("corp", &ids::fresh_secret(BROWSER)), "another-browser");
    }

    #[test]
    fn nonce_and_verifier_are_of_the_browser_and_differ() {
        let (one, two) = (ids::fresh_secret(BROWSER), ids::fresh_secret(BROWSER));
        let made = |cookie| bond(cookie, ids::fresh_secret(STATE));
        let (a, b, c) = (made(&one), made(&one), made(&two));
        assert_eq!((&a.nonce, a.verifier.expose_secret()), (&b.nonce, b.verifier.expose_secret()));
        assert_ne!(a.nonce, c.nonce);
        assert_ne!(a.nonce, a.verifier.expose_secret());
        // RFC 7636, 4.1: 43 to 128 unreserved letters.
        assert_eq!(a.verifier.expose_secret().len(), 43);
    }
}
