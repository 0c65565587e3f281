//! The HTTP side of control: the API under `/api/v1`, and the pages beside it.
//!
//! A request passes `guard`, is counted by `places`, arrives in time (`arrival`), is parsed by `extract`, gets its caller from `auth`, and reaches one
//! short handler in the file of its resource, which asks [`Control`] (or, where nobody has to be signed in,
//! the [`front::Front`] of it) and answers in the words of
//! `wire`; every refusal is a problem of `error`. The OpenAPI document is made of the same
//! declarations that make the routes, so that neither can have what the other lacks.

pub(super) mod arrival;
mod audit;
mod auth;
mod device;
pub(crate) mod error;
mod exchange;
pub(crate) mod extract;
pub(crate) mod front;
mod grants;
pub(crate) mod guard;
mod holds;
mod hooks;
mod invites;
mod locks;
pub(crate) mod login;
mod logins;
mod meta;
mod notifications;
mod page;
mod passkeys;
mod places;
mod replay;
pub(crate) mod requests;
mod reviews;
mod sessions;
mod ssh;
mod ssh_keys;
pub(crate) mod state;
mod targets;
mod tokens;
pub(crate) mod wire;

use axum::Router;
use error::{Kind, Problem};
use utoipa::openapi::OpenApi as Document;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::http::api::state::Api;

pub(super) async fn wrong_method() -> Problem {
    Problem::new(Kind::WrongMethod, "this address is served, but not by this method")
}

/// The routes of the API, and the document that describes exactly them.
pub(super) fn resources() -> (Router<Api>, Document) {
    let v1 = OpenApiRouter::new()
        .routes(routes!(meta::health))
        .routes(routes!(meta::openapi))
        .routes(routes!(login::login))
        .routes(routes!(login::logout))
        .routes(routes!(login::certificate))
        .routes(routes!(ssh::certificate))
        .routes(routes!(login::me))
        .routes(routes!(device::ask))
        .routes(routes!(exchange::exchange))
        .routes(routes!(device::token))
        .routes(routes!(logins::list))
        .routes(routes!(logins::end))
        .routes(routes!(logins::end_all))
        .routes(routes!(targets::list))
        .routes(routes!(targets::explain))
        .routes(routes!(requests::list, requests::ask))
        .routes(routes!(requests::show))
        .routes(routes!(requests::approve))
        .routes(routes!(requests::deny))
        .routes(routes!(requests::withdraw))
        .routes(routes!(requests::edit))
        .routes(routes!(grants::list))
        .routes(routes!(grants::show))
        .routes(routes!(grants::done))
        .routes(routes!(grants::revoke))
        .routes(routes!(grants::extend))
        .routes(routes!(reviews::list))
        .routes(routes!(reviews::show))
        .routes(routes!(reviews::sign))
        .routes(routes!(hooks::tickets))
        .routes(routes!(locks::list, locks::lock))
        .routes(routes!(locks::unlock))
        .routes(routes!(tokens::list, tokens::mint))
        .routes(routes!(tokens::revoke))
        .routes(routes!(passkeys::list))
        .routes(routes!(passkeys::rename))
        .routes(routes!(passkeys::removal))
        .routes(routes!(passkeys::remove))
        .routes(routes!(ssh_keys::list, ssh_keys::add))
        .routes(routes!(ssh_keys::challenge))
        .routes(routes!(ssh_keys::remove))
        .routes(routes!(holds::lookup))
        .routes(routes!(holds::say))
        .routes(routes!(holds::confirm))
        .routes(routes!(sessions::list))
        .routes(routes!(sessions::show))
        .routes(routes!(sessions::recording))
        .routes(routes!(audit::list))
        .routes(routes!(audit::story))
        .routes(routes!(notifications::list))
        .routes(routes!(notifications::retry_all))
        .routes(routes!(notifications::retry))
        .routes(routes!(notifications::replay))
        .routes(routes!(notifications::channels))
        .routes(routes!(notifications::test))
        .routes(routes!(notifications::switch_on))
        .routes(routes!(invites::invite))
        .routes(routes!(invites::statement));
    OpenApiRouter::with_openapi(Described::openapi()).nest("/api/v1", v1).split_for_parts()
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Postern",
        description = "Ask for access, decide on it, end it, and see what was done with it."
    ),
    components(schemas(Problem, crate::model::notice::WebhookMessage)),
    security(("login" = [])),
    modifiers(&Secured),
)]
struct Described;

struct Secured;

impl Modify for Secured {
    fn modify(&self, document: &mut Document) {
        let scheme = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("The token that `POST /api/v1/login` gives."))
            .build();
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("login", SecurityScheme::Http(scheme));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// axum lists its paths in its `Debug` form only; a change of that form fails this test.
    fn served(router: &Router<Api>) -> BTreeSet<String> {
        let shown = format!("{router:?}");
        let quoted = shown.split('"').skip(1).step_by(2);
        let paths = quoted.filter(|text| text.starts_with("/api/"));
        paths.map(str::to_owned).collect()
    }

    #[test]
    fn the_document_names_every_route_and_no_other() {
        let (router, document) = resources();
        let described: BTreeSet<String> = document.paths.paths.keys().cloned().collect();
        assert_eq!(served(&router), described);
        assert!(described.len() > 20, "{described:?}");
    }
}
