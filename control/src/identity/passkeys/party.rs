//! The relying party: what browsers are asked, and how their answers are checked.
//!
//! The library draws its challenges by lot. Ours are bound to what the person saw, so that both the
//! options and the library's own state are given ours in place of the drawn one; what is checked,
//! and how, stays the library's.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use url::Url;
use webauthn_rs::prelude::{
    AttestedPasskeyRegistration, AuthenticationResult, COSEKey, COSEKeyType, CredentialID,
    ECDSACurve, Passkey, PasskeyAuthentication, PasskeyRegistration, PublicKeyCredential,
    RegisterPublicKeyCredential, Uuid, Webauthn, WebauthnBuilder,
};

use super::evidence::{Assertion, PublicKey};
use crate::model::attestation::AttestationRoots;
use crate::model::error::{ControlError, Unreadable};
use crate::model::unproven::Unproven;

/// Longer answers are no authenticator's.
const ANSWER_MAX: usize = 32 * 1024;

/// This gateway, as authenticators know it.
pub(crate) struct Party {
    webauthn: Webauthn,
    roots: Option<AttestationRoots>,
}

/// Whom a new passkey will belong to.
pub(crate) struct Owner<'a> {
    pub(crate) handle: Uuid,
    pub(crate) id: &'a str,
    pub(crate) name: &'a str,
    /// What they have already.
    pub(crate) has: Vec<CredentialID>,
}

impl Party {
    /// The party of this address, where its host is a name.
    pub(crate) fn of(site: &Url, roots: Option<AttestationRoots>) -> Option<Self> {
        let builder = WebauthnBuilder::new(site.domain()?, site).ok()?;
        let webauthn = builder.rp_name("Postern").build().ok()?;
        Some(Self { webauthn, roots })
    }

    /// What a browser is asked, for a step-up by one of these keys.
    pub(crate) fn options(
        &self,
        keys: &[Passkey],
        challenge: &[u8; 32],
    ) -> Result<Value, ControlError> {
        let begun = self.webauthn.start_passkey_authentication(keys);
        let (options, _) = begun.map_err(|error| Unreadable::new("passkey", error))?;
        asking(&options.public_key, challenge)
    }

    /// The same, for whichever key the person has.
    pub(crate) fn open_options(&self, challenge: &[u8; 32]) -> Result<Value, ControlError> {
        let begun = self.webauthn.start_discoverable_authentication();
        let (options, _) = begun.map_err(|error| Unreadable::new("passkey", error))?;
        asking(&options.public_key, challenge)
    }

    /// Checks the answer to a challenge.
    pub(crate) fn check(
        &self,
        key: &Passkey,
        challenge: &[u8; 32],
        answer: &PublicKeyCredential,
    ) -> Result<AuthenticationResult, Unproven> {
        let (_, state) = self.webauthn.start_passkey_authentication(std::slice::from_ref(key))?;
        let state: PasskeyAuthentication = with_challenge(&state, "ast", challenge)?;
        Ok(self.webauthn.finish_passkey_authentication(answer, &state)?)
    }

    /// What a browser is asked, for a new key.
    pub(crate) fn enrolment(
        &self,
        owner: Owner<'_>,
        challenge: &[u8; 32],
    ) -> Result<Value, ControlError> {
        let unreadable = |error| Unreadable::new("passkey", error);
        let options = match &self.roots {
            None => self.begin(owner).map_err(unreadable)?.0,
            Some(roots) => self.begin_listed(owner, roots).map_err(unreadable)?.0,
        };
        let mut options = asking(&options.public_key, challenge)?;
        // A key that the authenticator can't find by itself would be no use for signing in.
        if let Some(wanted) =
            options.get_mut("authenticatorSelection").and_then(Value::as_object_mut)
        {
            wanted.insert("residentKey".to_owned(), json!("required"));
            wanted.insert("requireResidentKey".to_owned(), json!(true));
        }
        Ok(options)
    }

    /// Checks the answer to that, and takes the new key.
    pub(crate) fn register(
        &self,
        owner: Owner<'_>,
        challenge: &[u8; 32],
        answer: &RegisterPublicKeyCredential,
    ) -> Result<Passkey, Unproven> {
        match &self.roots {
            None => {
                let (_, state) = self.begin(owner)?;
                let state: PasskeyRegistration = with_challenge(&state, "rs", challenge)?;
                Ok(self.webauthn.finish_passkey_registration(answer, &state)?)
            }
            Some(roots) => {
                let (_, state) = self.begin_listed(owner, roots)?;
                let state: AttestedPasskeyRegistration = with_challenge(&state, "rs", challenge)?;
                Ok(self.webauthn.finish_attested_passkey_registration(answer, &state)?.into())
            }
        }
    }

    fn begin(&self, owner: Owner<'_>) -> Begun<PasskeyRegistration> {
        let Owner { handle, id, name, has } = owner;
        self.webauthn.start_passkey_registration(handle, id, name, Some(has))
    }

    fn begin_listed(
        &self,
        owner: Owner<'_>,
        roots: &AttestationRoots,
    ) -> Begun<AttestedPasskeyRegistration> {
        let (Owner { handle, id, name, has }, roots) = (owner, roots.0.clone());
        self.webauthn.start_attested_passkey_registration(handle, id, name, Some(has), roots, None)
    }
}

type Begun<S> =
    webauthn_rs::prelude::WebauthnResult<(webauthn_rs::prelude::CreationChallengeResponse, S)>;

/// The options of a browser, with our challenge.
fn asking(options: &impl Serialize, challenge: &[u8; 32]) -> Result<Value, ControlError> {
    let written = serde_json::to_value(options);
    let mut options = written.map_err(|error| Unreadable::new("passkey options", error))?;
    if let Some(slot) = options.get_mut("challenge") {
        *slot = json!(URL_SAFE_NO_PAD.encode(challenge));
    }
    Ok(options)
}

/// The library's state, with our challenge.
fn with_challenge<S: Serialize + DeserializeOwned>(
    state: &S,
    part: &str,
    challenge: &[u8; 32],
) -> Result<S, Unproven> {
    let mut state = serde_json::to_value(state).map_err(|_| Unproven::Malformed)?;
    let slot = state.get_mut(part).and_then(|part| part.get_mut("challenge"));
    *slot.ok_or(Unproven::Malformed)? = json!(URL_SAFE_NO_PAD.encode(challenge));
    serde_json::from_value(state).map_err(|_| Unproven::Malformed)
}

/// What an authenticator answered, from the browser's JSON.
pub(crate) fn read<T: DeserializeOwned>(json: &str) -> Result<T, Unproven> {
    if json.len() > ANSWER_MAX {
        return Err(Unproven::Malformed);
    }
    serde_json::from_str(json).map_err(|_| Unproven::Malformed)
}

/// The answer as it is kept for others to check.
pub(crate) fn kept(key: &Passkey, answer: &PublicKeyCredential) -> Result<Assertion, Unproven> {
    let said = &answer.response;
    Ok(Assertion {
        credential: URL_SAFE_NO_PAD.encode(answer.get_credential_id()),
        key: public(key.get_public_key()).ok_or(Unproven::Malformed)?,
        client_data: URL_SAFE_NO_PAD.encode(&said.client_data_json),
        authenticator_data: URL_SAFE_NO_PAD.encode(&said.authenticator_data),
        signature: URL_SAFE_NO_PAD.encode(&said.signature),
    })
}

fn public(key: &COSEKey) -> Option<PublicKey> {
    match &key.key {
        COSEKeyType::EC_EC2(point) => {
            let crv = match point.curve {
                ECDSACurve::SECP256R1 => "P-256",
                ECDSACurve::SECP384R1 => "P-384",
                ECDSACurve::SECP521R1 => return None,
            };
            let (x, y) = (URL_SAFE_NO_PAD.encode(&point.x), URL_SAFE_NO_PAD.encode(&point.y));
            Some(PublicKey::Curve { crv: crv.to_owned(), x, y })
        }
        COSEKeyType::RSA(key) => {
            let (n, e) = (URL_SAFE_NO_PAD.encode(&key.n), URL_SAFE_NO_PAD.encode(key.e));
            Some(PublicKey::Rsa { n, e })
        }
        // The library offers none of these to authenticators.
        COSEKeyType::EC_OKP(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_party_is_a_host_with_a_name() {
        let of = |site: &str| Party::of(&site.parse().unwrap(), None).is_some();
        assert!(of("https://gate.example.com/") && of("http://localhost:8443/"));
        assert!(!of("http://127.0.0.1:8443/") && !of("http://[::1]/"));
    }

    #[test]
    fn roots_are_certificates() {
        let now = 1_800_000_000_000;
        let pem = |name| certs::Authority::generate(name, now).unwrap().ca_pem().to_owned();
        let both = format!("{}\n{}", pem("Maker"), pem("Other maker"));
        assert_eq!(AttestationRoots::from_pem(&both).unwrap().0.len(), 2);
        for bad in ["", "no certificate", "-----END CERTIFICATE-----"] {
            assert!(AttestationRoots::from_pem(bad).is_err(), "{bad}");
        }
    }
}
