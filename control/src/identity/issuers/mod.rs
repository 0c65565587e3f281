//! Issuers: what they say about themselves, and whether a token is really theirs.
//!
//! An issuer is named by its address, exactly as it writes it into its tokens; only addresses of
//! the configuration are ever asked. What it publishes (`metadata`, `keys`) is fetched by `http`
//! within bounds, kept, and fetched again when it is old or when a token names a key that isn't
//! there, which anybody can make happen and is therefore rare. [`Issuers::verify`] is the one way
//! from a text to [`Claims`]: id tokens, logout tokens and bearer tokens all take it.

mod jwt;
mod keys;
mod metadata;
#[cfg(test)]
mod tests;
mod trust;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::{ArcSwap, ArcSwapOption};
use keys::Keys;
use policies::{Timestamp, Ttl};

use crate::model::issuer_url::{IssuerError, IssuerUrl};
use crate::platform::clock::Clock;
use crate::platform::http_client::{Http, HttpError};

pub(crate) use jwt::{Claims, Expect, JwtError, Typ};
pub(crate) use metadata::Metadata;
pub(crate) use trust::Trust;

/// For how long what was fetched is taken as new.
const FRESH: Ttl = Ttl::from_secs(15 * 60);
/// For how long it is used while the issuer can't be reached.
const STALE: Ttl = Ttl::from_secs(24 * 3_600);
/// After a failure, the issuer is left alone for so long.
const REST: Ttl = Ttl::from_secs(3);
/// So often, at most, does an unknown key make us ask again.
const ROTATION: Ttl = Ttl::from_secs(10);

/// All issuers that were asked about.
pub(crate) struct Issuers {
    http: Arc<Http>,
    trust: ArcSwap<Trust>,
    clock: Clock,
    known: Mutex<BTreeMap<IssuerUrl, Arc<Source>>>,
}

/// One issuer: what it published last, and the turn to ask it.
#[derive(Default)]
struct Source {
    published: ArcSwapOption<Published>,
    turn: tokio::sync::Mutex<Tried>,
}

/// When it was asked last in vain, and because of an unknown key.
#[derive(Default)]
struct Tried {
    failed: Option<Timestamp>,
    rotation: Option<Timestamp>,
}

/// What an issuer publishes.
struct Published {
    metadata: Arc<Metadata>,
    keys: Keys,
    at: Timestamp,
}

impl Issuers {
    /// # Errors
    /// Where no HTTP client can be made here.
    pub(crate) fn new(clock: Clock) -> Result<Self, HttpError> {
        let http = Arc::new(Http::trusting(None)?);
        Ok(Self { http, trust: ArcSwap::default(), clock, known: Mutex::default() })
    }

    /// What this issuer is asked with.
    pub(crate) fn http(&self, issuer: &IssuerUrl) -> Arc<Http> {
        let own = self.trust.load().http(issuer);
        own.unwrap_or_else(|| Arc::clone(&self.http))
    }

    /// The trust in force, of which another one is made.
    pub(crate) fn trust(&self) -> Arc<Trust> {
        self.trust.load_full()
    }

    /// Puts another trust in force, and forgets what was learned by the one before.
    pub(crate) fn trust_by(&self, next: Trust) {
        let before = self.trust.swap(Arc::new(next));
        let now = self.trust.load();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|issuer, _| now.roots(issuer) == before.roots(issuer));
    }

    /// What this issuer says about itself.
    ///
    /// # Errors
    /// Where it can't be reached and nothing is kept, or says what must not be believed.
    pub(crate) async fn metadata(&self, issuer: &IssuerUrl) -> Result<Arc<Metadata>, IssuerError> {
        Ok(Arc::clone(&self.published(issuer).await?.metadata))
    }

    /// The claims of a token of this issuer that is all that is expected of it.
    ///
    /// # Errors
    /// Why it isn't.
    pub(crate) async fn verify(
        &self,
        issuer: &IssuerUrl,
        jwt: &str,
        expect: &Expect<'_>,
    ) -> Result<Claims, JwtError> {
        let token = jwt::Token::read(jwt)?;
        let published = self.published(issuer).await?;
        let now = self.clock.now();
        match token.verify(&published.keys, issuer, expect, now) {
            Err(JwtError::UnknownKey) => {
                let newer = self.rotated(issuer, &published).await?;
                token.verify(&newer.keys, issuer, expect, now)
            }
            verdict => verdict,
        }
    }

    fn source(&self, issuer: &IssuerUrl) -> Arc<Source> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(known.entry(issuer.clone()).or_default())
    }

    async fn published(&self, issuer: &IssuerUrl) -> Result<Arc<Published>, IssuerError> {
        let source = self.source(issuer);
        let kept = |most| {
            let published = source.published.load_full();
            published.filter(|published| published.at.until(self.clock.now()) < most)
        };
        if let Some(published) = kept(FRESH) {
            return Ok(published);
        }
        let mut tried = source.turn.lock().await;
        if let Some(published) = kept(FRESH) {
            return Ok(published);
        }
        let now = self.clock.now();
        if tried.failed.is_some_and(|at| at.until(now) < REST) {
            return kept(STALE).ok_or_else(|| IssuerError::Resting(issuer.clone()));
        }
        let failure = match self.fetch(issuer, &source).await {
            Ok(published) => return Ok(published),
            Err(error) => error,
        };
        tried.failed = Some(self.clock.now());
        kept(STALE).ok_or(failure)
    }

    /// What the issuer publishes by now, since a token names a key that wasn't there before.
    async fn rotated(
        &self,
        issuer: &IssuerUrl,
        seen: &Arc<Published>,
    ) -> Result<Arc<Published>, JwtError> {
        let source = self.source(issuer);
        let mut tried = source.turn.lock().await;
        let newer = source.published.load_full().filter(|kept| !Arc::ptr_eq(kept, seen));
        if let Some(newer) = newer {
            return Ok(newer);
        }
        let now = self.clock.now();
        if tried.rotation.is_some_and(|at| at.until(now) < ROTATION) {
            return Err(JwtError::UnknownKey);
        }
        tried.rotation = Some(now);
        Ok(self.fetch(issuer, &source).await?)
    }

    async fn fetch(
        &self,
        issuer: &IssuerUrl,
        source: &Source,
    ) -> Result<Arc<Published>, IssuerError> {
        let http = self.http(issuer);
        let metadata = metadata::fetch(&http, issuer).await?;
        let keys = http.json(&metadata.jwks_uri).await;
        let keys =
            keys.map_err(|source| IssuerError::Unreadable { issuer: issuer.clone(), source })?;
        let published = Arc::new(Published {
            metadata: Arc::new(metadata),
            keys: Keys::read(keys),
            at: self.clock.now(),
        });
        source.published.store(Some(Arc::clone(&published)));
        tracing::debug!(%issuer, keys = published.keys.len(), "an issuer was asked");
        Ok(published)
    }
}
