//! Messages that nobody took, and channels that are off: for admins.

use axum::extract::State;
use axum::response::Redirect;

use super::markup::Markup;
use super::session::{Act, Visitor};
use crate::http::api::error::Problem;
use crate::http::api::extract::At;
use crate::http::api::state::Api;
use crate::http::pages::page::{Page, Turned, hidden};
use crate::model::channel::ChannelView;
use crate::model::view::{MessageState, MessageView, Paging};

const NO_CHANNELS: &str = "None, so nobody is notified of anything: sections <code>[notify.NAME]</code> of the configuration name them.";

pub(super) async fn show(State(api): State<Api>, visitor: Visitor) -> Result<Page, Turned> {
    let actor = &visitor.actor;
    let channels = api.control.notifier.channels(actor).await?;
    let dead =
        api.control.notifier.messages(actor, Some(MessageState::Dead), Paging::default()).await?;
    let waiting = api
        .control
        .notifier
        .messages(actor, Some(MessageState::Waiting), Paging::default())
        .await?;
    let csrf_token = visitor.csrf_token();
    let body = Markup::new()
        .piece(&section("Channels", NO_CHANNELS, &channels, |view| channel(view, &csrf_token)))
        .piece(&section("Nobody took these", "None.", &dead.items, |view| {
            letter(view, &csrf_token)
        }));
    let body = if dead.items.is_empty() { body } else { body.piece(&send_all(&csrf_token)) };
    let body = body.piece(&section("Still to be taken", "None.", &waiting.items, |view| {
        letter(view, &csrf_token)
    }));
    Ok(Page::new("Notifications", body).of(&visitor))
}

fn section<T>(
    title: &'static str,
    none: &'static str,
    items: &[T],
    card: impl Fn(&T) -> Markup,
) -> Markup {
    let head = Markup::new().raw("<h2>").raw(title).raw("</h2>");
    if items.is_empty() {
        return head.raw("<p class=\"quiet\">").raw(none).raw("</p>");
    }
    items
        .iter()
        .fold(head, |page, item| page.raw("<div class=\"card\">").piece(&card(item)).raw("</div>"))
}

fn channel(view: &ChannelView, csrf_token: &str) -> Markup {
    let list = Markup::new()
        .raw("<h3>")
        .text(&view.name)
        .raw("</h3><dl>")
        .row("By", view.kind)
        .row("To", &view.place);
    match view.off_since {
        Some(since) => list
            .moment("Off since", since)
            .raw("</dl>")
            .piece(&button("/channels/", &view.name, "/on", csrf_token))
            .raw("Switch it on</button></form>"),
        None => list.raw("</dl>"),
    }
}

fn letter(view: &MessageView, csrf_token: &str) -> Markup {
    let list = Markup::new()
        .raw("<h3>")
        .text(view.topic)
        .raw("</h3><dl>")
        .row("About", &view.about)
        .row("By", &view.channel);
    let list = match &view.recipient {
        Some(recipient) => list.row("To", recipient),
        None => list,
    };
    let list = list.moment("Written", view.written_at).row("Tries", view.tries);
    let list = match &view.fault {
        Some(fault) => list.row("Because", fault),
        None => list,
    };
    list.raw("</dl>")
        .piece(&button("/notifications/", &view.id, "/retry", csrf_token))
        .raw("Send it now</button></form>")
}

/// The beginning of a form with one button.
fn button(
    before: &'static str,
    id: impl std::fmt::Display,
    after: &'static str,
    csrf_token: &str,
) -> Markup {
    Markup::new()
        .raw("<form method=\"post\" action=\"")
        .raw(before)
        .text(id)
        .raw(after)
        .raw("\">")
        .piece(&hidden("csrf_token", csrf_token))
        .raw("<button class=\"plain\">")
}

fn send_all(csrf_token: &str) -> Markup {
    Markup::new()
        .raw("<form method=\"post\" action=\"/notifications/retry\">")
        .piece(&hidden("csrf_token", csrf_token))
        .raw("<button>Send all of these again</button></form>")
}

pub(super) async fn retry(
    State(api): State<Api>,
    id: Result<At<String>, Problem>,
    act: Act,
) -> Result<Redirect, Turned> {
    let At(id) = id?;
    api.control.notifier.send_again(&act.visitor.actor, &id, false).await?;
    Ok(Redirect::to("/notifications"))
}

pub(super) async fn retry_all(State(api): State<Api>, act: Act) -> Result<Redirect, Turned> {
    api.control.notifier.send_all_again(&act.visitor.actor).await?;
    Ok(Redirect::to("/notifications"))
}

pub(super) async fn switch_on(
    State(api): State<Api>,
    name: Result<At<String>, Problem>,
    act: Act,
) -> Result<Redirect, Turned> {
    let At(name) = name?;
    api.control.notifier.switch_channel_on(&act.visitor.actor, &name).await?;
    Ok(Redirect::to("/notifications"))
}
