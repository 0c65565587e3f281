//! The pages: what people see in a browser, made here; script runs only where a
//! passkey is used, and is one file of ours.
//!
//! `session` says who looks and whether a form is ours, `markup` keeps text text, and one file
//! serves each page: `sign_in`, `home` (my access and my inbox), `ask` (asking, and asking for more), `sessions`, `reviews` (of emergencies), `logins` (where I am signed in), `device` (a terminal that waits) and
//! `confirm` (a connection that waits). No address acts by itself: whatever changes something is a form that a person sends.

mod ask;
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
mod recovery;
mod request;
mod reviews;
mod session;
mod sessions;
mod sign_in;
mod ssh_keys;
mod touch;
mod words;

use axum::Router;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::{get, post};

use crate::http::api::Api;
use crate::http::api::error::Problem;
use crate::model::actor::Actor;
use markup::Markup;
use session::Next;
pub(crate) use session::{cookie, cookie_name};

const STYLE: &str = include_str!("style.css");

/// Nothing is loaded but our style sheet, and forms go nowhere but here.
const CSP: &str = "default-src 'none'; style-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

/// The same where a ceremony is: our one script runs it.
const CSP_WITH_SCRIPT: &str = "default-src 'none'; script-src 'self'; style-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

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
        .route("/assets/passkey.js", get(touch::script))
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

/// Everybody's pages.
const LINKS: &str = "<a href=\"/ask\">Ask</a><a href=\"/sessions\">Sessions</a><a href=\"/reviews\">Reviews</a><a href=\"/keys\">Keys</a><a href=\"/logins\">Sign-ins</a>";

/// A page.
struct Page {
    status: StatusCode,
    title: &'static str,
    actor: Option<(Actor, String)>,
    notice: Option<&'static str>,
    body: Markup,
    /// Whether a passkey may be used on it.
    script: bool,
    /// The cookie of a login that goes on by another token.
    cookie: Option<[(HeaderName, HeaderValue); 1]>,
}

impl Page {
    fn new(title: &'static str, body: Markup) -> Self {
        let status = StatusCode::OK;
        Self { status, title, actor: None, notice: None, body, script: false, cookie: None }
    }

    /// With the name of the one who looks, and a way out.
    fn of(self, visitor: &session::Visitor) -> Self {
        let actor = Some((visitor.actor.clone(), visitor.seal()));
        Self { actor, notice: visitor.notice, cookie: visitor.cookie(), ..self }
    }

    /// With the script that runs WebAuthn.
    fn with_script(self) -> Self {
        Self { script: true, ..self }
    }

    fn html(&self) -> Markup {
        let head = Markup::new()
            .raw("<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">")
            .raw("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">")
            .raw("<link rel=\"stylesheet\" href=\"/style.css\"><title>")
            .raw(self.title)
            .raw(" · Postern</title>");
        let script = "<script type=\"module\" src=\"/assets/passkey.js\"></script>";
        let head = if self.script { head.raw(script) } else { head };
        let head = head.raw("</head><body><header><a href=\"/\">Postern</a>");
        let head = match &self.actor {
            Some((actor, seal)) => offices(actor, head.raw("<nav>").raw(LINKS))
                .raw("</nav><span>")
                .text(&actor.principal.name)
                .raw("</span><form method=\"post\" action=\"/logout\">")
                .piece(&hidden("seal", seal))
                .raw("<button class=\"plain\">Sign out</button></form>"),
            None => head,
        };
        let head = head.raw("</header><main><h1>").raw(self.title).raw("</h1>");
        let head = match self.notice {
            Some(notice) => head.raw("<p class=\"warn\">").raw(notice).raw("</p>"),
            None => head,
        };
        head.piece(&self.body).raw("</main></body></html>")
    }
}

impl IntoResponse for Page {
    fn into_response(self) -> Response {
        let csp = if self.script { CSP_WITH_SCRIPT } else { CSP };
        let html = Html(self.html().finish());
        let mut response = (self.status, self.cookie, html).into_response();
        response
            .headers_mut()
            .insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(csp));
        response
    }
}

/// The pages of who holds an office.
fn offices(actor: &Actor, head: Markup) -> Markup {
    let invites = match actor.admin {
        true => "<a href=\"/invites\">Invite</a><a href=\"/notifications\">Notifications</a>",
        false => "",
    };
    let recovery = if actor.oversees() { "<a href=\"/recovery\">Recovery</a>" } else { "" };
    head.raw(invites).raw(recovery)
}

/// A form field that nobody sees.
fn hidden(name: &'static str, value: &str) -> Markup {
    Markup::new()
        .raw("<input type=\"hidden\" name=\"")
        .raw(name)
        .raw("\" value=\"")
        .text(value)
        .raw("\">")
}

/// Why somebody doesn't get the page that they wanted.
enum Turned {
    /// They have to sign in first.
    SignIn(Next),
    /// They have to register a passkey first.
    Enrol,
    /// Something is wrong.
    Wrong(Problem),
}

impl<E: Into<Problem>> From<E> for Turned {
    fn from(error: E) -> Self {
        Self::Wrong(error.into())
    }
}

impl IntoResponse for Turned {
    fn into_response(self) -> Response {
        match self {
            Self::SignIn(next) => to_login(&next).into_response(),
            Self::Enrol => Redirect::to("/keys").into_response(),
            Self::Wrong(problem) => wrong(&problem),
        }
    }
}

fn to_login(next: &Next) -> Redirect {
    match next.path() {
        "/" => Redirect::to("/login"),
        // A path of ours has no letter that a query string would have to escape.
        path => Redirect::to(&format!("/login?next={path}")),
    }
}

/// A sentence begins so.
fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().into_iter().flat_map(char::to_uppercase).chain(letters).collect()
}

/// What is wrong, as a page.
pub(crate) fn wrong(problem: &Problem) -> Response {
    let body = Markup::new()
        .raw("<p class=\"warn\">")
        .text(capital(problem.detail()))
        .raw("</p><p><a href=\"/\">Go to my access</a></p>");
    Page { status: problem.status(), ..Page::new(problem.title(), body) }.into_response()
}
