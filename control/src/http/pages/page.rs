//! A page: its frame, its headers, and what somebody sees who doesn't get the one they wanted.

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Redirect, Response};

use crate::http::api::error::Problem;
use crate::http::pages::markup::Markup;
use crate::model::actor::Actor;

/// Nothing is loaded but our style sheet, and forms go nowhere but here.
pub(super) const CSP: &str = "default-src 'none'; style-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

/// The same where a passkey is used: our one script does it.
pub(super) const CSP_WITH_SCRIPT: &str = "default-src 'none'; script-src 'self'; style-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

/// Everybody's pages.
pub(super) const LINKS: &str = "<a href=\"/ask\">Ask</a><a href=\"/sessions\">Sessions</a><a href=\"/reviews\">Reviews</a><a href=\"/keys\">Keys</a><a href=\"/logins\">Sign-ins</a>";

/// A page.
pub(super) struct Page {
    pub(super) status: StatusCode,
    pub(super) title: &'static str,
    pub(super) actor: Option<(Actor, String)>,
    pub(super) notice: Option<&'static str>,
    pub(super) body: Markup,
    /// Whether a passkey may be used on it.
    pub(super) script: bool,
    /// The cookie of a login that goes on by another token.
    pub(super) cookie: Option<[(HeaderName, HeaderValue); 1]>,
}

impl Page {
    pub(super) fn new(title: &'static str, body: Markup) -> Self {
        let status = StatusCode::OK;
        Self { status, title, actor: None, notice: None, body, script: false, cookie: None }
    }

    /// With the script that runs WebAuthn.
    pub(super) fn with_script(self) -> Self {
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
            Some((actor, csrf_token)) => offices(actor, head.raw("<nav>").raw(LINKS))
                .raw("</nav><span>")
                .text(&actor.principal.name)
                .raw("</span><form method=\"post\" action=\"/logout\">")
                .piece(&hidden("csrf_token", csrf_token))
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
pub(super) fn offices(actor: &Actor, head: Markup) -> Markup {
    let invites = match actor.admin {
        true => "<a href=\"/invites\">Invite</a><a href=\"/notifications\">Notifications</a>",
        false => "",
    };
    let recovery = if actor.oversees() { "<a href=\"/recovery\">Recovery</a>" } else { "" };
    head.raw(invites).raw(recovery)
}

/// A form field that nobody sees.
pub(super) fn hidden(name: &'static str, value: &str) -> Markup {
    Markup::new()
        .raw("<input type=\"hidden\" name=\"")
        .raw(name)
        .raw("\" value=\"")
        .text(value)
        .raw("\">")
}

/// Why somebody doesn't get the page that they wanted.
pub(super) enum Turned {
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

pub(super) fn to_login(next: &Next) -> Redirect {
    match next.path() {
        "/" => Redirect::to("/login"),
        // A path of ours has no letter that a query string would have to escape.
        path => Redirect::to(&format!("/login?next={path}")),
    }
}

/// A sentence begins so.
pub(super) fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().into_iter().flat_map(char::to_uppercase).chain(letters).collect()
}

/// What is wrong, as a page.
pub(in crate::http) fn wrong(problem: &Problem) -> Response {
    let body = Markup::new()
        .raw("<p class=\"warn\">")
        .text(capital(problem.detail()))
        .raw("</p><p><a href=\"/\">Go to my access</a></p>");
    Page { status: problem.status(), ..Page::new(problem.title(), body) }.into_response()
}

/// The pages that signing in may lead to, besides those of waiting connections.
pub(super) const PAGES: [&str; 8] =
    ["/ask", "/device", "/invites", "/keys", "/logins", "/notifications", "/recovery", "/reviews"];

/// Where to go after signing in: one of our own pages, never an address that somebody sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Next(String);

impl Next {
    pub(super) fn of(path: &str) -> Self {
        let own = PAGES.contains(&path)
            || ["/c/", "/r/"].iter().any(|at| path.strip_prefix(at).is_some_and(is_id));
        Self(if own { path } else { "/" }.to_owned())
    }

    pub(super) fn path(&self) -> &str {
        &self.0
    }
}

/// Whether it is written as our identifiers are.
pub(super) fn is_id(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (4..=64).contains(&text.len()) && text.bytes().all(fits)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("/c/ho-abcdefabcdef", "/c/ho-abcdefabcdef")]
    #[case("/device", "/device")]
    #[case("/device?code=KXQT-7M4P", "/")]
    #[case("/r/rq-abcdefabcdef", "/r/rq-abcdefabcdef")]
    #[case("/r/../login", "/")]
    #[case("/", "/")]
    #[case("//evil.example.com", "/")]
    #[case("/\\evil.example.com", "/")]
    #[case("https://evil.example.com", "/")]
    #[case("javascript:alert(1)", "/")]
    #[case("/c/../login", "/")]
    #[case("/c/ho-abc\r\nx: y", "/")]
    fn signing_in_leads_to_our_own_pages_only(#[case] requested: &str, #[case] path: &str) {
        assert_eq!(Next::of(requested).path(), path);
    }
}
