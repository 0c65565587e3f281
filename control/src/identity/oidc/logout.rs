//! Signing out by way of an issuer: it tells us (OpenID Connect Back-Channel Logout 1.0), or we send
//! the browser to tell it (RP-Initiated Logout 1.0).

use std::net::IpAddr;

use policies::{IssuerName, Ttl};
use secrecy::SecretString;
use serde_json::{Value, json};
use url::Url;

use crate::identity::issuers::{Claims, Expect, Typ};
use crate::identity::oidc::refusal::OidcRefusal;
use crate::identity::{Identity, logins};
use crate::kernel::refusals::Refused;
use crate::kernel::state::Transaction;
use crate::model::audit_kind::AuditKind;
use crate::model::error::ControlError;
use crate::model::event::{By, Event};
use crate::model::login::{LoginEnd, Which};
use crate::platform::ids;
use crate::platform::sanitize::clip;
use crate::store;
use crate::store::issuers as table;

/// What a logout token says that it is.
const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";
/// How long a logout may be on its way.
const AGE: Ttl = Ttl::from_secs(10 * 60);

impl Identity {
    /// Ends the login sessions that an issuer's logout token means: how many.
    pub(crate) async fn back_channel(
        &self,
        name: &IssuerName,
        token: &str,
    ) -> Result<usize, OidcRefusal> {
        let inventory = self.kernel.inventory();
        let issuer =
            inventory.issuers.get(name).ok_or_else(|| OidcRefusal::NoIssuer(name.clone()))?;
        let expect = Expect { audience: &issuer.client_id, typ: Typ::Logout, max_age: Some(AGE) };
        let claims = self.own.issuers.verify(&issuer.url, token, &expect).await?;
        let meant = Meant::of(&claims)?;
        let (identity, name, until) = (self.clone(), name.clone(), claims.expires_at);
        let ended = self.kernel.to_the_end(async move {
            let mut tx = identity.kernel.begin().await?;
            let (id, until) = (meant.id.as_str(), until.after(AGE));
            if !table::use_logout_token(tx.db(), &name, id, until).await? {
                return Ok(None);
            }
            let ended = log_out(&mut tx, &name, &meant).await?;
            tx.commit().await?;
            Ok(Some(ended))
        });
        ended.await?.ok_or(OidcRefusal::Replayed)
    }

    /// Writes down that a logout was refused, or counts it.
    pub(crate) async fn refuse_logout(
        &self,
        name: &IssuerName,
        address: Option<IpAddr>,
        refusal: &OidcRefusal,
    ) -> Result<(), ControlError> {
        self.refuse(Refused::Logout, name, address, refusal).await
    }

    /// Where a browser says goodbye at the issuer that this login came from.
    pub(crate) async fn farewell(&self, token: &SecretString) -> Option<Url> {
        let login = {
            let db = &mut *self.kernel.store().read().await.ok()?;
            store::logins::by_token(db, &ids::hash(token)).await.ok()??
        };
        let inventory = self.kernel.inventory();
        let name: IssuerName = login.issuer?.issuer.parse().ok()?;
        let issuer = inventory.issuers.get(&name)?;
        let metadata = self.own.issuers.metadata(&issuer.url).await.ok()?;
        let mut url = metadata.end_session_endpoint.clone()?;
        let back = format!("{}/login", self.kernel.settings().base_url());
        url.query_pairs_mut()
            .append_pair("client_id", &issuer.client_id)
            .append_pair("post_logout_redirect_uri", &back);
        Some(url)
    }
}

/// Whose sessions a logout token means.
pub(super) struct Meant {
    /// The token's own number.
    pub(super) id: String,
    pub(super) subject: Option<String>,
    pub(super) sid: Option<String>,
}

impl Meant {
    /// # Errors
    /// Where it isn't a logout token in every point (Back-Channel Logout 1.0, 2.6).
    fn of(claims: &Claims) -> Result<Self, OidcRefusal> {
        let is_logout = claims
            .all
            .get("events")
            .and_then(|events| events.get(EVENT))
            .is_some_and(Value::is_object);
        if !is_logout {
            return Err(OidcRefusal::Strange("the token is of no logout"));
        }
        if claims.all.contains_key("nonce") {
            return Err(OidcRefusal::Strange("a logout token has no nonce"));
        }
        let id = claims.id.clone().filter(|id| !id.is_empty() && id.len() <= 255);
        let id = id.ok_or(OidcRefusal::Strange("the token has no number of its own"))?;
        let (subject, sid) = (claims.subject.clone(), claims.session.clone());
        if subject.is_none() && sid.is_none() {
            return Err(OidcRefusal::Strange("the token says neither who nor which session"));
        }
        Ok(Self { id, subject, sid })
    }
}

/// A token that names a session that came here ends that one. Every other one means a person,
/// and ends all theirs, however they were opened.
pub(super) async fn log_out(
    tx: &mut Transaction,
    name: &IssuerName,
    meant: &Meant,
) -> Result<usize, ControlError> {
    let came_here = match &meant.sid {
        Some(sid) => store::logins::knows_sid(tx.db(), name, sid).await?,
        None => false,
    };
    let subject = meant.subject.as_ref();
    let whose = subject.map(|subject| tx.inventory.principal_of(name, subject)).transpose();
    let which = match (&meant.sid, &whose) {
        (Some(sid), _) if came_here => Some(Which::Sid(name.as_str(), sid)),
        (_, Ok(Some(whose))) => Some(Which::Of(whose)),
        // Whoever can't have a name here has no session.
        (_, Ok(None) | Err(_)) => None,
    };
    let ended = match which {
        Some(which) => logins::end_logins(tx, which, LoginEnd::IssuerLogout, By::Control).await?,
        None => Vec::new(),
    };
    let short = |text: &Option<String>| text.as_ref().map(|text| clip(text, 255));
    let detail = json!({
        "subject": short(&meant.subject), "sid": short(&meant.sid), "ended": ended,
    });
    tx.record(Event::new(By::Control, AuditKind::LogoutByIssuer, name, detail)).await?;
    Ok(ended.len())
}

#[cfg(test)]
mod tests {
    use policies::Timestamp;
    use rstest::rstest;

    use super::*;

    fn claims(all: &Value) -> Claims {
        let text = |name: &str| all.get(name).and_then(Value::as_str).map(str::to_owned);
        Claims {
            subject: text("sub"),
            authorized_party: None,
            audience: vec!["postern".into()],
            issued_at: Timestamp::from_millis(0),
            expires_at: Timestamp::from_millis(0),
            id: text("jti"),
            session: text("sid"),
            nonce: text("nonce"),
            all: all.as_object().unwrap().clone(),
        }
    }

    #[rstest]
    #[case::by_session(json!({ "jti": "1", "sid": "s", "events": { EVENT: {} } }), true)]
    #[case::by_person(json!({ "jti": "1", "sub": "a", "events": { EVENT: {} } }), true)]
    #[case::an_id_token(json!({ "jti": "1", "sub": "a", "sid": "s" }), false)]
    #[case::another_event(json!({ "jti": "1", "sub": "a", "events": { "x": {} } }), false)]
    #[case::an_event_of_text(json!({ "jti": "1", "sub": "a", "events": EVENT }), false)]
    #[case::an_event_that_is_no_object(json!({ "jti": "1", "sub": "a", "events": { EVENT: 1 } }), false)]
    #[case::with_a_nonce(json!({ "jti": "1", "sub": "a", "nonce": "n", "events": { EVENT: {} } }), false)]
    #[case::with_an_empty_nonce(json!({ "jti": "1", "sub": "a", "nonce": null, "events": { EVENT: {} } }), false)]
    #[case::without_number(json!({ "sub": "a", "events": { EVENT: {} } }), false)]
    #[case::of_nobody(json!({ "jti": "1", "events": { EVENT: {} } }), false)]
    fn only_a_logout_token_logs_out(#[case] all: Value, #[case] good: bool) {
        assert_eq!(Meant::of(&claims(&all)).is_ok(), good, "{all}");
    }
}
