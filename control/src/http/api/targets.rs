//! What there is to ask for, and what the rules say of it.

use axum::Json;
use axum::extract::State;
use policies::{Act, Database, Login, PrincipalId, Resource, TargetName, Ticket, Ttl};
use serde::Deserialize;
use utoipa::IntoParams;

use super::auth::Caller;
use super::error::{Problem, Problems};
use super::extract::{Asked, At};
use super::wire;
use crate::access::input::AccessRequestInput;
use crate::http::api::state::Api;

/// Lists the targets, and what asking for each login would come to.
#[utoipa::path(get, path = "/targets", tag = "targets",
    responses((status = 200, body = [wire::Target]), Problems))]
pub(crate) async fn list(State(api): State<Api>, Caller(actor): Caller) -> Json<Vec<wire::Target>> {
    let targets = api.control.access.targets(&actor);
    Json(targets.iter().map(wire::Target::from).collect())
}

/// What would be asked for, and by whom.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct Query {
    /// The login on the target.
    login: String,
    /// The database; without, the target's default.
    database: Option<String>,
    /// Whose request it is; without, one's own. Only admins and auditors ask about others.
    who: Option<String>,
    /// For how long; without, as long as the target's default.
    #[param(value_type = Option<String>)]
    ttl: Option<Ttl>,
    /// The ticket that would be named.
    ticket: Option<String>,
    /// The reason that would be given.
    reason: Option<String>,
    /// Whether it would be an emergency.
    #[serde(default)]
    break_glass: bool,
}

impl Query {
    fn input(&self, target: &str) -> Result<(Option<PrincipalId>, AccessRequestInput), Problem> {
        let target = TargetName::new(target).map_err(super::error::invalid)?;
        let login = Login::new(&self.login).map_err(super::error::invalid)?;
        let database = self.database.as_deref().map(Database::new).transpose();
        let database = database.map_err(super::error::invalid)?;
        let who =
            self.who.as_deref().map(PrincipalId::new).transpose().map_err(super::error::invalid)?;
        let ticket =
            self.ticket.as_deref().map(Ticket::new).transpose().map_err(super::error::invalid)?;
        let requested = AccessRequestInput {
            ttl: self.ttl,
            ticket,
            reason: self.reason.clone().unwrap_or_default(),
            act: if self.break_glass { Act::BreakGlass } else { Act::Connect },
            ..AccessRequestInput::new(Resource { target, login, database })
        };
        Ok((who, requested))
    }
}

/// Says in plain words whether a login of a target can be had, what it takes, which rules say so, who
/// could approve, and when the rules would end it.
///
/// Nothing is asked for by this. Only admins and auditors read what would have to be otherwise.
#[utoipa::path(get, path = "/targets/{id}/explain", tag = "targets",
    params(("id" = String, Path, description = "The target"), Query),
    responses((status = 200, body = wire::Explanation), Problems))]
pub(crate) async fn explain(
    State(api): State<Api>,
    Caller(actor): Caller,
    At(target): At<String>,
    Asked(query): Asked<Query>,
) -> Result<Json<wire::Explanation>, Problem> {
    let (who, requested) = query.input(&target)?;
    Ok(Json(api.control.access.explain(&actor, who, requested).await?.into()))
}
