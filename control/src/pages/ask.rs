//! Asking ahead of a connection, saying a request otherwise while it waits, and asking for more time.

use axum::extract::State;
use axum::response::Redirect;
use policies::{Act as What, GrantId, RequestId, Resource, Ticket, Timestamp, Ttl};

use super::markup::Markup;
use super::session::{Act, Fields, Visitor};
use super::{Page, Turned, hidden};
use crate::api::Api;
use crate::api::error::{Kind, Problem};
use crate::api::extract::At;
use crate::api::requests::moment;
use crate::{Asked, Changes, Part, RequestView, TargetView, Wish};

/// Inputs that all the forms share, with what stands in them at first.
struct Filled<'a> {
    ttl: &'a str,
    reason: &'a str,
    ticket: &'a str,
    starts_at: &'a str,
}

pub(super) async fn show(State(api): State<Api>, visitor: Visitor) -> Page {
    let targets = api.control.targets(&visitor.actor);
    let body = Markup::new()
        .raw("<form class=\"card\" method=\"post\" action=\"/ask\">")
        .piece(&hidden("seal", &visitor.seal()))
        .raw("<label>What, one a line<textarea name=\"resource\" required rows=\"3\"")
        .raw(" maxlength=\"4000\" placeholder=\"app_rw@orders\" autocapitalize=\"none\"")
        .raw(" spellcheck=\"false\"></textarea></label>")
        .piece(&inputs(&Filled { ttl: "", reason: "", ticket: "", starts_at: "" }))
        .raw(
            "<label><input type=\"checkbox\" name=\"emergency\" value=\"yes\"> It is an emergency:",
        )
        .raw(" I take it without approval, and it is reviewed afterwards</label>")
        .raw("<button>Ask</button></form>")
        .piece(&listed(&targets));
    Page::new("Ask for access", body).of(&visitor)
}

fn inputs(filled: &Filled<'_>) -> Markup {
    let field = |markup: Markup, value: &str| markup.text(value).raw("\"></label>");
    let ttl = Markup::new()
        .raw("<label>For how long<input name=\"span\" placeholder=\"1h\" maxlength=\"20\"")
        .raw(" autocomplete=\"off\" value=\"");
    let reason =
        field(ttl, filled.ttl).raw("<label>Why<input name=\"reason\" maxlength=\"2000\" value=\"");
    let ticket = field(reason, filled.reason)
        .raw("<label>Ticket<input name=\"ticket\" maxlength=\"64\" autocomplete=\"off\" value=\"");
    let start = field(ticket, filled.ticket)
        .raw("<label>From when on, if not at once<input name=\"starts_at\" maxlength=\"40\"")
        .raw(" placeholder=\"2h, or 2026-03-01T22:00:00Z\" autocomplete=\"off\" value=\"");
    field(start, filled.starts_at)
}

/// What there is to ask for.
fn listed(targets: &[TargetView]) -> Markup {
    let head = Markup::new().raw("<h2>What there is</h2><ul>");
    let all = targets
        .iter()
        .flat_map(|target| target.logins.iter().map(move |login| (&target.name, &login.login)));
    let list = all.fold(head, |list, (target, login)| {
        list.raw("<li><code>").text(format_args!("{login}@{target}")).raw("</code></li>")
    });
    list.raw("</ul>")
}

/// The form by which somebody says their own request otherwise.
pub(super) fn edit_form(view: &RequestView, seal: &str) -> Markup {
    let request = &view.request;
    let ttl = request.ttl.to_string();
    let ticket = request.ticket.as_ref().map_or("", Ticket::as_str);
    let starts_at = request.starts_at.map(|at| at.to_string()).unwrap_or_default();
    let filled = Filled { ttl: &ttl, reason: &request.reason, ticket, starts_at: &starts_at };
    Markup::new()
        .raw("<details><summary>Say it otherwise</summary><p class=\"quiet\">Whoever has said yes")
        .raw(" is asked again.</p><form class=\"card\" method=\"post\" action=\"/requests/")
        .text(&request.id)
        .raw("/edit\">")
        .piece(&hidden("seal", seal))
        .piece(&inputs(&filled))
        .raw("<button>Change it</button></form></details>")
}

/// The form by which somebody asks for more time.
pub(super) fn longer_form(grant: &GrantId, seal: &str) -> Markup {
    Markup::new()
        .raw("<form method=\"post\" action=\"/grants/")
        .text(grant)
        .raw("/extend\">")
        .piece(&hidden("seal", seal))
        .raw("<label>Longer, by<input name=\"span\" placeholder=\"30m\" maxlength=\"20\"")
        .raw(" autocomplete=\"off\"></label><button class=\"plain\">Extend it</button></form>")
}

pub(super) async fn ask(
    State(api): State<Api>,
    Act { visitor, fields }: Act,
) -> Result<Redirect, Turned> {
    let lines = fields.resource.lines().map(str::trim).filter(|line| !line.is_empty());
    let mut all = lines.map(read::<Resource>).collect::<Result<Vec<_>, _>>()?.into_iter();
    let nothing = || Problem::new(Kind::Invalid, "say what you ask for: `login@target`");
    let wish = Wish {
        also: Vec::new(),
        ttl: optional::<Ttl>(&fields.span)?,
        ticket: optional::<Ticket>(&fields.ticket)?,
        act: if fields.emergency == "yes" { What::BreakGlass } else { What::Connect },
        starts_at: later(&fields, api.control.now())?,
        reason: fields.reason,
        ..Wish::new(all.next().ok_or_else(nothing)?)
    };
    let asked = api.control.ask(&visitor.actor, Wish { also: all.collect(), ..wish }).await?;
    Ok(onward(&asked))
}

pub(super) async fn edit(
    State(api): State<Api>,
    id: Result<At<RequestId>, Problem>,
    Act { visitor, fields }: Act,
) -> Result<Redirect, Turned> {
    let At(id) = id?;
    let changes = Changes {
        ttl: optional::<Ttl>(&fields.span)?,
        // The form holds all of the request: what is empty is to be left out.
        ticket: optional::<Ticket>(&fields.ticket)?.map_or(Part::Goes, Part::Becomes),
        starts_at: later(&fields, api.control.now())?.map_or(Part::Goes, Part::Becomes),
        reason: Some(fields.reason),
    };
    let asked = api.control.edit(&visitor.actor, &id, changes).await?;
    Ok(onward(&asked))
}

pub(super) async fn extend(
    State(api): State<Api>,
    id: Result<At<GrantId>, Problem>,
    Act { visitor, fields }: Act,
) -> Result<Redirect, Turned> {
    let At(id) = id?;
    let ttl = optional::<Ttl>(&fields.span)?;
    let asked = api.control.extend(&visitor.actor, &id, ttl, None).await?;
    Ok(onward(&asked))
}

/// What waits is shown on a page of its own, where it may have to be stood by.
fn onward(asked: &Asked) -> Redirect {
    match asked.request.is_pending() {
        true => Redirect::to(&format!("/r/{}", asked.request.id)),
        false => Redirect::to("/"),
    }
}

fn later(fields: &Fields, now: Timestamp) -> Result<Option<Timestamp>, Problem> {
    match fields.starts_at.trim() {
        "" => Ok(None),
        text => moment(text, now).map(Some),
    }
}

fn optional<T: std::str::FromStr>(text: &str) -> Result<Option<T>, Problem>
where
    T::Err: ToString,
{
    match text.trim() {
        "" => Ok(None),
        text => read(text).map(Some),
    }
}

fn read<T: std::str::FromStr>(text: &str) -> Result<T, Problem>
where
    T::Err: ToString,
{
    text.parse().map_err(|fault: T::Err| Problem::new(Kind::Invalid, fault.to_string()))
}
