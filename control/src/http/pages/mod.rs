//! The pages: what people see in a browser, made here; script runs only where a
//! passkey is used, and is one file of ours.
//!
//! `session` says who looks and whether a form is ours, `markup` keeps text text, and one file
//! serves each page: `sign_in`, `home` (my access and my inbox), `ask` (asking, and asking for more), `sessions`, `reviews` (of emergencies), `logins` (where I am signed in), `device` (a terminal that waits) and
//! `confirm` (a connection that waits). No address acts by itself: whatever changes something is a form that a person sends.

mod ask;
mod challenge_form;
mod confirm;
mod device;
mod factors;
mod home;
mod invites;
mod keys;
mod logins;
mod markup;
mod notifications;
mod oidc;
pub(super) mod page;
mod recovery;
mod request;
mod reviews;
mod session;
mod sessions;
mod sign_in;
mod ssh_keys;

mod words;

use axum::Router;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};

use crate::http::api::state::Api;

const STYLE: &str = include_str!("style.css");

/// The routes of the pages.
pub(crate) fn routes() -> Router<Api> {
    Router::new()
        .route("/", get(home::show))
        .route("/login", get(sign_in::show).post(sign_in::sign_in))
        .route("/logout", post(sign_in::sign_out))
        .route("/device", get(device::ask).post(device::look))
        .route("/device/confirm", post(device::confirm))
        .route("/device/deny", post(device::deny))
        .route("/logins", get(logins::show))
        .route("/logins/end", post(logins::end_all))
        .route("/logins/{id}/end", post(logins::end))
        .route("/ask", get(ask::show).post(ask::ask))
        .route("/requests/{id}/edit", post(ask::edit))
        .route("/requests/{id}/approve", post(home::approve))
        .route("/requests/{id}/deny", post(home::deny))
        .route("/requests/{id}/withdraw", post(home::withdraw))
        .route("/r/{id}", get(request::show))
        .route("/r/{id}/prove", post(request::prove))
        .route("/grants/{id}/done", post(home::done))
        .route("/grants/{id}/extend", post(ask::extend))
        .route("/sessions", get(sessions::show))
        .route("/reviews", get(reviews::show))
        .route("/reviews/{id}/sign", post(reviews::sign))
        .route("/c/{id}", get(confirm::ask).post(confirm::look))
        .route("/c/{id}/say", post(confirm::say))
        .route("/c/{id}/confirm", post(confirm::confirm))
        .route("/login/passkey", post(sign_in::with_passkey))
        .route("/keys", get(keys::show))
        .route("/keys/add", post(keys::add))
        .route("/keys/register", post(keys::register))
        .route("/keys/{id}/rename", post(keys::rename))
        .route("/keys/{id}/remove", post(keys::remove))
        .route("/keys/totp/add", post(keys::add_app))
        .route("/keys/totp/confirm", post(keys::confirm_app))
        .route("/keys/totp/remove", post(keys::remove_app))
        .route("/keys/ssh/add", post(ssh_keys::add))
        .route("/keys/ssh/prove", post(ssh_keys::prove))
        .route("/keys/ssh/{id}/confirm", post(ssh_keys::confirm))
        .route("/keys/ssh/{id}/remove", post(ssh_keys::remove))
        .route("/invites", get(invites::show).post(invites::make))
        .route("/notifications", get(notifications::show))
        .route("/notifications/retry", post(notifications::retry_all))
        .route("/notifications/{id}/retry", post(notifications::retry))
        .route("/channels/{name}/on", post(notifications::switch_on))
        .route("/recovery", get(recovery::show).post(recovery::ask))
        .route("/recovery/{id}", get(recovery::look).post(recovery::consent))
        .route("/assets/passkey.js", get(challenge_form::script))
        .route("/oidc/{issuer}/login", post(oidc::begin))
        .route("/oidc/{issuer}/callback", get(oidc::finish))
        .route("/oidc/{issuer}/backchannel", post(oidc::back_channel))
        .route("/style.css", get(style))
}

async fn style() -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/css; charset=utf-8"),
        (header::CACHE_CONTROL, "max-age=3600"),
    ];
    (headers, STYLE).into_response()
}
