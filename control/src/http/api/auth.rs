//! Who calls: the bearer token of the `Authorization` header, turned into an [`Actor`].
//!
//! The API takes no cookie and no browser's token, so no page of anybody else's can make a browser act here. Every handler
//! that wants to know who calls takes a [`Caller`]; there is no other way to one.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use secrecy::SecretString;

use super::error::{Kind, Problem};
use crate::http::api::state::Api;
use crate::http::presented_token::bearer;
use crate::model::actor::Actor;
use crate::model::error::{ControlError, Refusal};
use crate::model::login::{LoginKind, Rank};

/// Somebody who is signed in.
pub(crate) struct Caller(pub(crate) Actor);

/// The token that somebody sent, which needn't be any good.
pub(crate) struct Bearer(pub(crate) SecretString);

impl FromRequestParts<Api> for Bearer {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Api) -> Result<Self, Problem> {
        let found = bearer(&parts.headers).map(Self);
        found.ok_or_else(|| {
            let detail = "send the token of your login as `Authorization: Bearer`";
            Problem::new(Kind::Unauthenticated, detail)
        })
    }
}

impl FromRequestParts<Api> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Problem> {
        let Bearer(token) = Bearer::from_request_parts(parts, api).await?;
        match api.recognise(parts, &token, LoginKind::Terminal).await? {
            (actor, Rank::Full) => Ok(Self(actor)),
            (_, Rank::Enrolling) => Err(ControlError::from(Refusal::EnrolFirst).into()),
        }
    }
}

impl Api {
    /// Who holds this token, which came by the transport of this kind: the one way to know it. It keeps
    /// the connection's place, and those of later requests.
    pub(crate) async fn recognise(
        &self,
        parts: &Parts,
        token: &SecretString,
        kind: LoginKind,
    ) -> Result<(Actor, Rank), ControlError> {
        match self.control.identity.recognise(token, kind).await {
            Ok((actor, rank)) => {
                self.bounds.recognised.remember(token, &actor.principal.id);
                if let Some(slot) = parts.extensions.get::<Arc<accept::Slot>>() {
                    slot.authenticated_as(actor.principal.id.as_str());
                }
                Ok((actor, rank))
            }
            Err(error) => {
                if matches!(error, ControlError::Refused(Refusal::Unauthenticated)) {
                    self.bounds.recognised.forget(token);
                }
                Err(error)
            }
        }
    }

    /// A login session begins or goes on by this token: its first request is recognised already.
    pub(crate) fn expect(&self, token: &SecretString, actor: &Actor) {
        self.bounds.recognised.remember(token, &actor.principal.id);
    }
}
