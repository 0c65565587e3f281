//! Where I am signed in: one's own login sessions, and their end.

use axum::extract::State;
use axum::response::Redirect;
use policies::LoginId;

use super::markup::Markup;
use super::session::{Act, Visitor};
use crate::http::api::error::Problem;
use crate::http::api::extract::At;
use crate::http::api::state::Api;
use crate::http::pages::page::{Page, Turned, hidden};
use crate::model::login::{LoginKind, LoginRecord};
use crate::model::view::{Paging, Scope};

pub(super) async fn show(State(api): State<Api>, visitor: Visitor) -> Result<Page, Turned> {
    let logins = api
        .control
        .identity
        .logins(&visitor.actor, Scope::Mine, Some(true), Paging::default())
        .await?;
    let csrf_token = visitor.csrf_token();
    let intro = Markup::new()
        .raw("<p class=\"quiet\">Ending one ends its certificates and tokens, too,")
        .raw(" and cuts what runs by them.</p>");
    let body = logins.items.iter().fold(intro, |page, login| {
        page.raw("<div class=\"card\">").piece(&card(login, &visitor, &csrf_token)).raw("</div>")
    });
    let body = body
        .raw("<form method=\"post\" action=\"/logins/end\">")
        .piece(&hidden("csrf_token", &csrf_token))
        .raw("<button class=\"stop\">Sign out everywhere</button></form>");
    Ok(Page::new("Where I am signed in", body).of(&visitor))
}

fn card(login: &LoginRecord, visitor: &Visitor, csrf_token: &str) -> Markup {
    let kind = match login.kind {
        LoginKind::Browser => "A browser",
        LoginKind::Terminal => "A terminal",
    };
    let head = Markup::new().raw("<h3>").raw(kind);
    let head = if login.id == visitor.actor.login { head.raw(" (this one)") } else { head };
    let list =
        head.raw("</h3><dl>").moment("Signed in", login.signed_in_at).row("By", login.method);
    let list = match &login.device {
        Some(device) => list.row("Device", device),
        None => list,
    };
    let list = match login.address {
        Some(address) => list.row("From", address),
        None => list,
    };
    list.row("Program (unchecked)", &login.agent)
        .moment("Last seen", login.seen_at)
        .moment("Ends", login.ends_at())
        .raw("</dl><form method=\"post\" action=\"/logins/")
        .text(&login.id)
        .raw("/end\">")
        .piece(&hidden("csrf_token", csrf_token))
        .raw("<button class=\"plain\">End it</button></form>")
}

pub(super) async fn end(
    State(api): State<Api>,
    id: Result<At<LoginId>, Problem>,
    act: Act,
) -> Result<Redirect, Turned> {
    let At(id) = id?;
    api.control.identity.end_login(&act.visitor.actor, &id).await?;
    Ok(Redirect::to("/logins"))
}

pub(super) async fn end_all(State(api): State<Api>, act: Act) -> Result<Redirect, Turned> {
    let actor = &act.visitor.actor;
    api.control.identity.end_all_logins(actor, &actor.principal.id).await?;
    Ok(Redirect::to("/login"))
}
