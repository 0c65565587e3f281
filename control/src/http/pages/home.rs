//! My access: what I have, what I asked for, and what others ask of me.

use axum::extract::State;
use axum::response::{IntoResponse, Redirect};
use policies::{
    Act as What, Digest, GrantId, GrantState, Purpose, RequestId, RequestState, Timestamp, Ttl,
};

use super::ask::{edit_form, longer_form};
use super::markup::Markup;
use super::session::{Act, Visitor};
use crate::access::input::Yes;
use crate::http::api::error::{Kind, Problem};
use crate::http::api::extract::At;
use crate::http::api::state::Api;
use crate::http::pages::page::{Page, Turned, hidden};
use crate::model::statement;
use crate::model::view::{
    GrantFilter, GrantView, Paging, RequestFilter, RequestView, Scope, Standing,
};

const NOTHING_YET: &str = "Nothing. Connect, or <a href=\"/ask\">ask for it</a> ahead.";

pub(super) async fn show(State(api): State<Api>, visitor: Visitor) -> Result<Page, Turned> {
    let actor = &visitor.actor;
    let live = GrantFilter { scope: Scope::Mine, live: Some(true) };
    let pending = |scope| RequestFilter { scope, state: Some(Standing::Pending) };
    let first = Paging::default();
    let grants = api.control.access.grants(actor, live, first).await?;
    let mine = api.control.access.requests(actor, pending(Scope::Mine), first).await?;
    let inbox = api.control.access.requests(actor, pending(Scope::Inbox), first).await?;
    let (csrf_token, now) = (visitor.csrf_token(), api.control.kernel.now());
    let touch = api.control.identity.factors(&actor.principal.id).await?.any();
    let body = who(&visitor)
        .piece(&section("Requests to review", "Nothing.", &inbox.items, |view| {
            asked(view, touch, &csrf_token, now)
        }))
        .piece(&section("Active access", NOTHING_YET, &grants.items, |view| {
            granted(view, &csrf_token, now)
        }))
        .piece(&section("My requests", "Nothing.", &mine.items, |view| {
            waiting(view, &csrf_token, now)
        }));
    Ok(Page::new("My access", body).of(&visitor))
}

fn who(visitor: &Visitor) -> Markup {
    let actor = &visitor.actor;
    let groups: Vec<&str> = actor.principal.groups.iter().map(|group| group.as_str()).collect();
    let mut rights = Vec::new();
    rights.extend(actor.admin.then_some("admin"));
    rights.extend(actor.auditor.then_some("auditor"));
    let list = Markup::new()
        .raw("<dl>")
        .row("Signed in as", format_args!("{} ({})", actor.principal.name, actor.principal.id))
        .row("Groups", if groups.is_empty() { "none".into() } else { groups.join(", ") });
    if rights.is_empty() {
        list.raw("</dl>")
    } else {
        list.row("Rights", rights.join(", ")).raw("</dl>")
    }
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

fn granted(view: &GrantView, csrf_token: &str, now: Timestamp) -> Markup {
    let grant = &view.grant;
    let head =
        Markup::new().raw("<h3>").text(&grant.resource).raw("</h3><dl>").row("For", grant.ttl);
    let head = match &view.review {
        Some(review) => head.row("Emergency, reviewed as", review),
        None => head,
    };
    let list = match &grant.state {
        GrantState::Scheduled { opens, .. } => head.ahead("Begins", *opens, now),
        GrantState::Granted { claim_by } => head.ahead("First use by", *claim_by, now),
        GrantState::Active { since, ends } => {
            head.moment("Since", *since).ahead("Ends", *ends, now)
        }
        GrantState::Ended { at, end } => head.moment("Ended", *at).row("Because", end),
    };
    let list = list.raw("</dl>");
    let list = match &grant.state {
        GrantState::Active { .. } => list.piece(&longer_form(&grant.id, csrf_token)),
        GrantState::Scheduled { .. } | GrantState::Granted { .. } | GrantState::Ended { .. } => {
            list
        }
    };
    list.raw("<form method=\"post\" action=\"/grants/")
        .text(&grant.id)
        .raw("/done\">")
        .piece(&hidden("csrf_token", csrf_token))
        .raw("<button class=\"plain\">End access</button></form>")
}

pub(super) fn described(view: &RequestView, now: Timestamp) -> Markup {
    let request = &view.request;
    let list = Markup::new()
        .raw("<h3>")
        .text(request.subject())
        .raw("</h3><dl>")
        .row("Asked by", format_args!("{} ({})", view.name, request.principal))
        .row("For", request.ttl);
    let list = match request.starts_at {
        Some(starts_at) => list.ahead("From", starts_at, now),
        None => list,
    };
    let list = match &request.extends {
        Some(grant) => list.row("Extends", grant),
        None => list,
    };
    let list = if request.act == What::BreakGlass {
        list.row("Emergency", "given without approval, and reviewed afterwards")
    } else {
        list.row("Takes", takes(view))
    };
    list.row("Reason", if request.reason.is_empty() { "none" } else { &request.reason })
        .row("Ticket", request.ticket.as_ref().map_or("none", policies::Ticket::as_str))
        .moment("Asked", request.asked_at)
        .ahead("Lapses", request.lapses_at, now)
        .raw("</dl>")
}

/// Who has to say yes, who has, and who may stand in by now.
fn takes(view: &RequestView) -> String {
    let request = &view.request;
    let needs = request.terms.approvals.lines().join(", ");
    let said: Vec<&str> = request.state.approvals().iter().map(|yes| yes.by.as_str()).collect();
    let said =
        if said.is_empty() { String::new() } else { format!("; yes from {}", said.join(", ")) };
    let others: Vec<String> =
        request.escalated.iter().map(|(from, to)| format!("{to} for {from}")).collect();
    let others = match others.is_empty() {
        true => String::new(),
        false => format!("; may stand in: {}", others.join(", ")),
    };
    format!("{needs} ({} missing{said}{others})", view.missing)
}

fn waiting(view: &RequestView, csrf_token: &str, now: Timestamp) -> Markup {
    let page = described(view, now);
    let page = if view.request.state == RequestState::NeedsStepUp {
        page.raw("<p class=\"warn\">Nobody is asked yet: <a href=\"/r/")
            .text(&view.request.id)
            .raw("\">prove that it is you</a>.</p>")
    } else {
        page
    };
    page.piece(&edit_form(view, csrf_token))
        .piece(&form_of(&view.request.id, "/withdraw\">", csrf_token))
        .raw("<button class=\"plain\">Withdraw</button></form>")
}

/// What takes a touch is decided on a page of its own.
fn asked(view: &RequestView, touch: bool, csrf_token: &str, now: Timestamp) -> Markup {
    if touch || view.request.terms.step_up.is_some() {
        return described(view, now)
            .raw("<p><a href=\"/r/")
            .text(&view.request.id)
            .raw("\">Review it</a></p>");
    }
    described(view, now).piece(&approve_form(view, csrf_token)).piece(&denial(view, csrf_token))
}

/// Two forms, so that the return key in the one for a no can't say yes.
pub(super) fn approve_form(view: &RequestView, csrf_token: &str) -> Markup {
    let digest = view.request.digest().to_string();
    form_of(&view.request.id, "/approve\">", csrf_token)
        .piece(&hidden("digest", &digest))
        .raw("<label>Shorter, if you like<input name=\"shorten\" placeholder=\"30m\"")
        .raw(" maxlength=\"20\" autocomplete=\"off\"></label><button>Approve</button></form>")
}

/// The form for a no.
pub(super) fn denial(view: &RequestView, csrf_token: &str) -> Markup {
    form_of(&view.request.id, "/deny\">", csrf_token)
        .raw("<label>Why not<input name=\"reason\" required maxlength=\"500\"></label>")
        .raw("<button class=\"stop\">Deny</button></form>")
}

pub(super) fn form_of(id: &RequestId, verb: &'static str, csrf_token: &str) -> Markup {
    Markup::new()
        .raw("<form method=\"post\" action=\"/requests/")
        .text(id)
        .raw(verb)
        .piece(&hidden("csrf_token", csrf_token))
}

pub(super) async fn approve(
    State(api): State<Api>,
    id: Result<At<RequestId>, Problem>,
    Act { mut visitor, mut fields }: Act,
) -> Result<impl IntoResponse, Turned> {
    let At(id) = id?;
    let actor = &visitor.actor;
    let challenge = fields.challenge.clone();
    let step_up = match fields.proof() {
        Some(proof) => {
            let view = api.control.access.request(actor, &id).await?;
            let digest = statement::of_approval(&view.request, &view.name).digest();
            let (purpose, place) = (Purpose::Approve, None);
            let proved =
                api.control.identity.prove(actor, &challenge, proof, purpose, &digest, place);
            Some(proved.await?.id)
        }
        None => None,
    };
    let shorten = match fields.shorten.trim() {
        "" => None,
        text => Some(text.parse::<Ttl>().map_err(invalid)?),
    };
    let touched = step_up.is_some();
    let yes = Yes { digest: Digest::from(fields.digest), shorten, step_up };
    api.control.access.approve(actor, &id, yes).await?;
    if touched {
        visitor.raise(&api).await?;
    }
    Ok((visitor.cookie(), Redirect::to("/")))
}

fn invalid(fault: impl ToString) -> Problem {
    Problem::new(Kind::Invalid, fault.to_string())
}

pub(super) async fn deny(
    State(api): State<Api>,
    id: Result<At<RequestId>, Problem>,
    act: Act,
) -> Result<Redirect, Turned> {
    let At(id) = id?;
    api.control.access.deny(&act.visitor.actor, &id, act.fields.reason).await?;
    Ok(Redirect::to("/"))
}

pub(super) async fn withdraw(
    State(api): State<Api>,
    id: Result<At<RequestId>, Problem>,
    act: Act,
) -> Result<Redirect, Turned> {
    let At(id) = id?;
    api.control.access.withdraw(&act.visitor.actor, &id).await?;
    Ok(Redirect::to("/"))
}

pub(super) async fn done(
    State(api): State<Api>,
    id: Result<At<GrantId>, Problem>,
    act: Act,
) -> Result<Redirect, Turned> {
    let At(id) = id?;
    api.control.access.done(&act.visitor.actor, &id).await?;
    Ok(Redirect::to("/"))
}
