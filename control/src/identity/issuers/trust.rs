//! Whose certificates are trusted for which issuer.
//!
//! An issuer with an authority of its own is asked by a client that trusts nobody else, so that no
//! other authority can speak for it.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::model::issuer_url::IssuerUrl;
use crate::platform::http_client::{Http, HttpError};

/// Issuers that have an authority of their own.
#[derive(Default)]
pub(crate) struct Trust(BTreeMap<IssuerUrl, Own>);

/// An authority in PEM, and the client that trusts it alone.
#[derive(Clone)]
struct Own {
    roots: String,
    http: Arc<Http>,
}

impl Trust {
    /// The trust that is wanted now. Clients of authorities that stay the same are kept.
    ///
    /// # Errors
    /// Where something is no certificate.
    pub(crate) fn next<'a>(
        &self,
        wanted: impl Iterator<Item = (&'a IssuerUrl, &'a str)>,
    ) -> Result<Self, HttpError> {
        let owns = wanted.map(|(issuer, roots)| {
            let kept = self.0.get(issuer).filter(|own| own.roots == roots).cloned();
            let own = kept.map_or_else(|| Own::new(roots), Ok)?;
            Ok((issuer.clone(), own))
        });
        owns.collect::<Result<_, _>>().map(Self)
    }

    pub(super) fn http(&self, issuer: &IssuerUrl) -> Option<Arc<Http>> {
        self.0.get(issuer).map(|own| Arc::clone(&own.http))
    }

    pub(super) fn roots(&self, issuer: &IssuerUrl) -> Option<&str> {
        self.0.get(issuer).map(|own| own.roots.as_str())
    }
}

impl Own {
    fn new(roots: &str) -> Result<Self, HttpError> {
        let http = Arc::new(Http::trusting(Some(roots))?);
        Ok(Self { roots: roots.to_owned(), http })
    }
}
