//! Reviews of emergencies: what waits for somebody to look, and their signature.

use axum::extract::State;
use axum::response::Redirect;
use policies::{ReviewId, ReviewState};

use super::markup::Markup;
use super::session::{Act, Visitor};
use crate::http::api::error::Problem;
use crate::http::api::extract::At;
use crate::http::api::state::Api;
use crate::http::pages::page::{Page, Turned, hidden};
use crate::model::view::{Paging, ReviewView};

pub(super) async fn show(State(api): State<Api>, visitor: Visitor) -> Result<Page, Turned> {
    let page = api.control.access.reviews(&visitor.actor, true, Paging::default()).await?;
    let csrf_token = visitor.csrf_token();
    let intro = Markup::new()
        .raw("<p class=\"quiet\">What was done without approval stays open until somebody else has")
        .raw(" looked at its sessions and says what they found.</p>");
    let body = page.items.iter().fold(intro, |body, view| {
        body.raw("<div class=\"card\">").piece(&card(view, &csrf_token)).raw("</div>")
    });
    let body = if page.items.is_empty() { body.raw("<p>Nothing.</p>") } else { body };
    Ok(Page::new("Reviews", body).of(&visitor))
}

fn card(view: &ReviewView, csrf_token: &str) -> Markup {
    let review = &view.review;
    let list = Markup::new()
        .raw("<h3>")
        .text(&review.resource)
        .raw("</h3><dl>")
        .row("Used by", format_args!("{} ({})", view.name, review.principal))
        .row("Reason", &review.reason)
        .moment("Since", review.opened_at)
        .row("Grant", &review.grant);
    match &review.state {
        ReviewState::Open if view.may_sign => {
            list.raw("</dl>").piece(&form(&review.id, csrf_token))
        }
        ReviewState::Open => list.row("State", "open").raw("</dl>"),
        ReviewState::Signed { by, note, at } => {
            list.row("Signed by", by).moment("At", *at).row("Found", note).raw("</dl>")
        }
    }
}

fn form(id: &ReviewId, csrf_token: &str) -> Markup {
    Markup::new()
        .raw("<form method=\"post\" action=\"/reviews/")
        .text(id)
        .raw("/sign\">")
        .piece(&hidden("csrf_token", csrf_token))
        .raw("<label>What I found<input name=\"reason\" required maxlength=\"2000\"></label>")
        .raw("<button>Sign</button></form>")
}

pub(super) async fn sign(
    State(api): State<Api>,
    id: Result<At<ReviewId>, Problem>,
    act: Act,
) -> Result<Redirect, Turned> {
    let At(id) = id?;
    api.control.access.sign_review(&act.visitor.actor, &id, act.fields.reason).await?;
    Ok(Redirect::to("/reviews"))
}
