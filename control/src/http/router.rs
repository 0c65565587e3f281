//! All that is served over HTTP, behind the same limits.

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderMap, Uri, header};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};

use crate::http::api::error::{Kind, Problem};
use crate::http::api::guard::Bounds;
use crate::http::api::state::Api;
use crate::http::{Control, api, pages, presented_token};

/// Everything that is served over HTTP.
///
/// The server has to provide `ConnectInfo<SocketAddr>`; without it the address of a caller counts
/// as unknown, and all of those share one allowance.
pub(crate) fn router(control: Control) -> Router {
    let (resources, document) = api::resources();
    let bounds = Bounds::new(presented_token::cookie_name(&control.kernel.settings().public_url));
    let api = Api::new(control, bounds.clone(), document);
    resources
        .merge(pages::routes())
        .fallback(unknown)
        .method_not_allowed_fallback(api::wrong_method)
        .layer(DefaultBodyLimit::max(api::extract::BODY_MAX))
        .layer(from_fn(api::arrival::in_time))
        .layer(from_fn_with_state(bounds, api::guard::bounded))
        .layer(from_fn(api::guard::dressed))
        .layer(from_fn(api::guard::logged))
        .with_state(api)
}

/// Who looks at pages reads this on one.
async fn unknown(uri: Uri, headers: HeaderMap) -> Response {
    let problem = Problem::new(Kind::NotFound, "nothing is served under this address");
    let accepted = headers.get(header::ACCEPT).and_then(|accepted| accepted.to_str().ok());
    let reads_pages = accepted.is_some_and(|accepted| accepted.contains("text/html"));
    match reads_pages && !uri.path().starts_with("/api/") {
        true => pages::page::wrong(&problem),
        false => problem.into_response(),
    }
}
