//! Who is connected, and was: one's own sessions, and everybody's for those who oversee.

use axum::extract::State;

use super::markup::Markup;
use super::session::Visitor;
use crate::http::api::state::Api;
use crate::http::pages::page::{Page, Turned};
use crate::model::view::{Paging, Scope, SessionFilter, SessionView};

pub(super) async fn show(State(api): State<Api>, visitor: Visitor) -> Result<Page, Turned> {
    let actor = &visitor.actor;
    let scope = if actor.oversees() { Scope::All } else { Scope::Mine };
    let filter = SessionFilter { scope, ..SessionFilter::default() };
    let page = api.control.evidence.sessions(actor, filter, Paging::default()).await?;
    let body = if page.items.is_empty() {
        Markup::new().raw("<p class=\"quiet\">None yet.</p>")
    } else {
        let list = page.items.iter().fold(Markup::new(), |list, view| list.piece(&line(view)));
        Markup::new().raw("<ul class=\"list\">").piece(&list).raw("</ul>")
    };
    let more =
        "<p class=\"quiet\">These are the newest; <code>postern sessions</code> lists more.</p>";
    let body = if page.next.is_some() { body.raw(more) } else { body };
    let body = if actor.oversees() {
        body.raw("<p class=\"quiet\"><code>postern replay</code> shows what was done in one,")
            .raw(" and <code>postern revoke</code> ends its grant, which cuts it.</p>")
    } else {
        body
    };
    Ok(Page::new("Sessions", body).of(&visitor))
}

fn line(view: &SessionView) -> Markup {
    let head = Markup::new()
        .raw("<li><code>")
        .text(&view.resource)
        .raw("</code> ")
        .text(&view.name)
        .raw(", ");
    let state = match &view.ended {
        None => head.raw("<strong>live</strong> since ").time(view.opened_at),
        Some(ended) => {
            let span = head.time(view.opened_at).raw(" to ").time(ended.at).raw(": ");
            let ended_by = span.text(&ended.end);
            if ended.detail.is_empty() { ended_by } else { ended_by.raw(", ").text(&ended.detail) }
        }
    };
    state
        .raw("<br><span class=\"quiet\">from ")
        .text(&view.client)
        .raw(" ")
        .text(&view.application)
        .raw(", by ")
        .text(&view.grant)
        .raw(", as ")
        .text(&view.id)
        .raw("</span></li>")
}
