//! Asking ahead of a connection, saying a request otherwise while it waits, and asking for more time.

use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse, Redirect, Response};
use policies::{Act as What, GrantId, RequestId, Resource, Ticket, Timestamp, Ttl};
use url::form_urlencoded;

use super::markup::Markup;
use super::session::{Act, Fields, Visitor};
use super::words;
use super::words::Draft;
use crate::access::edit::{Changes, Part};
use crate::access::input::AccessRequestInput;
use crate::http::api::error::{Kind, Problem};
use crate::http::api::extract::At;
use crate::http::api::requests::moment;
use crate::http::api::state::Api;
use crate::http::pages::page::{Page, Turned, hidden};
use crate::model::error::{ControlError, Refusal, Rejection};
use crate::model::view::{Asked, LoginView, RequestView, TargetView, Verdict};

/// How much of an address is taken up.
const LONGEST: usize = 4_000;

pub(super) async fn show(
    State(api): State<Api>,
    RawQuery(query): RawQuery,
    visitor: Visitor,
) -> Page {
    let query = query.unwrap_or_default();
    let wanted = form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| name == "for");
    let lines: Vec<String> = wanted.map(|(_, what)| what.into_owned()).collect();
    let resource = lines.join("\n").chars().take(LONGEST).collect();
    form(&api, &visitor, &Draft { resource, ..Draft::default() }, None)
}

/// The form, with what was said before and why that was refused.
fn form(api: &Api, visitor: &Visitor, draft: &Draft, wrong: Option<&Problem>) -> Page {
    let targets = api.control.access.targets(&visitor.actor);
    let wanted: Vec<Resource> =
        draft.resource.lines().filter_map(|line| line.trim().parse().ok()).collect();
    let words = api.control.access.words(&visitor.actor, &wanted);
    let notice = wrong.map_or_else(Markup::new, |problem| {
        Markup::new().raw("<p class=\"warn\" role=\"alert\">").text(problem.detail()).raw("</p>")
    });
    let body = notice
        .raw("<form class=\"card\" method=\"post\" action=\"/ask\">")
        .piece(&hidden("csrf_token", &visitor.csrf_token()))
        .raw(
            "<label class=\"wide\">What, one a line<textarea name=\"resource\" required rows=\"3\"",
        )
        .raw(" maxlength=\"4000\" placeholder=\"app_rw@orders\" autocapitalize=\"none\"")
        .raw(" spellcheck=\"false\">")
        .text(&draft.resource)
        .raw("</textarea></label>")
        .piece(&words::all(draft, &words))
        .raw("<label class=\"tick\"><input type=\"checkbox\" name=\"emergency\" value=\"yes\"")
        .raw(if draft.emergency { " checked>" } else { ">" })
        .raw("<span>It is an emergency: I take it without approval, and it is reviewed afterwards")
        .raw("</span></label><button>Ask</button></form>")
        .piece(&listed(&targets));
    let page = Page::new("Ask for access", body).of(visitor);
    match wrong {
        Some(problem) => Page { status: problem.status(), ..page },
        None => page,
    }
}

/// What there is to ask for, and what it takes.
fn listed(targets: &[TargetView]) -> Markup {
    let head = Markup::new().raw("<h2>What there is</h2><ul class=\"list\">");
    let all =
        targets.iter().flat_map(|target| target.logins.iter().map(move |login| (target, login)));
    let list = all.fold(head, |list, (target, login)| {
        let name = format!("{}@{}", login.login, target.name);
        let list = list.raw("<li>");
        let list = match &login.verdict {
            Verdict::Denied(_) => list.raw("<code>").text(&name).raw("</code>"),
            Verdict::Free { .. } | Verdict::Approval { .. } => {
                let query: String = form_urlencoded::byte_serialize(name.as_bytes()).collect();
                let link = list.raw("<a href=\"/ask?for=").text(query).raw("\"><code>");
                link.text(&name).raw("</code></a>")
            }
        };
        list.raw(" <span class=\"quiet\">").text(takes(login)).raw("</span></li>")
    });
    list.raw("</ul>")
}

/// What it takes, in a few words.
fn takes(login: &LoginView) -> String {
    let (needs, limit) = match &login.verdict {
        Verdict::Denied(why) => return format!("not for you: {why}"),
        Verdict::Free { limit } => (None, limit),
        Verdict::Approval { needs, limit } => (Some(needs.lines().join(", ")), limit),
    };
    let parts = [
        Some(needs.map_or_else(|| "nobody is asked".to_owned(), |needs| format!("takes {needs}"))),
        login.words.ticket().map(|pattern| format!("a ticket like {pattern}")),
        login.words.reason.map(|least| format!("a reason of {least} characters")),
        limit.map(|limit| format!("{limit} at most")),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(" · ")
}

/// The form by which somebody says their own request otherwise.
pub(super) fn edit_form(view: &RequestView, csrf_token: &str) -> Markup {
    let request = &view.request;
    let draft = Draft {
        span: request.ttl.to_string(),
        reason: request.reason.clone(),
        ticket: request.ticket.as_ref().map(ToString::to_string).unwrap_or_default(),
        starts_at: request.starts_at.map(|at| at.to_string()).unwrap_or_default(),
        ..Draft::default()
    };
    Markup::new()
        .raw("<details><summary>Change it</summary><p class=\"quiet\">Whoever has said yes")
        .raw(" is asked again.</p><form class=\"card\" method=\"post\" action=\"/requests/")
        .text(&request.id)
        .raw("/edit\">")
        .piece(&hidden("csrf_token", csrf_token))
        .piece(&words::all(&draft, &request.terms.required_input()))
        .raw("<button>Change it</button></form></details>")
}

/// The form by which somebody asks for more time.
pub(super) fn longer_form(grant: &GrantId, csrf_token: &str) -> Markup {
    Markup::new()
        .raw("<form method=\"post\" action=\"/grants/")
        .text(grant)
        .raw("/extend\">")
        .piece(&hidden("csrf_token", csrf_token))
        .raw("<label>Longer, by<input name=\"span\" placeholder=\"30m\" maxlength=\"20\"")
        .raw(" autocomplete=\"off\"></label><button class=\"plain\">Extend it</button></form>")
}

pub(super) async fn ask(State(api): State<Api>, Act { visitor, fields }: Act) -> Response {
    match asked(&api, &visitor, &fields).await {
        Ok(asked) => onward(&asked).into_response(),
        Err(problem) => {
            let Fields { resource, span, reason, ticket, starts_at, .. } = fields;
            let emergency = fields.emergency == "yes";
            let draft = Draft { resource, span, reason, ticket, starts_at, emergency };
            form(&api, &visitor, &draft, Some(&problem)).into_response()
        }
    }
}

async fn asked(api: &Api, visitor: &Visitor, fields: &Fields) -> Result<Asked, Problem> {
    let lines = fields.resource.lines().map(str::trim).filter(|line| !line.is_empty());
    let mut all = lines.map(read::<Resource>).collect::<Result<Vec<_>, _>>()?.into_iter();
    let nothing = || Problem::new(Kind::Invalid, "say what you ask for: `login@target`");
    let first = all.next().ok_or_else(nothing)?;
    let requested = AccessRequestInput {
        also: all.collect(),
        ttl: optional::<Ttl>(&fields.span)?,
        ticket: optional::<Ticket>(&fields.ticket)?,
        act: if fields.emergency == "yes" { What::BreakGlass } else { What::Connect },
        starts_at: later(fields, api.control.kernel.now())?,
        reason: fields.reason.clone(),
        ..AccessRequestInput::new(first)
    };
    api.control.access.ask(&visitor.actor, requested).await.map_err(|error| {
        // The fields are before them: they needn't read how else it can be said.
        if let ControlError::Refused(Refusal::Rejected(Rejection::MissingInput(unsaid))) = &error {
            return Problem::new(Kind::Invalid, unsaid.wanted());
        }
        error.into()
    })
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
        starts_at: later(&fields, api.control.kernel.now())?.map_or(Part::Goes, Part::Becomes),
        reason: Some(fields.reason),
    };
    let asked = api.control.access.edit(&visitor.actor, &id, changes).await?;
    Ok(onward(&asked))
}

pub(super) async fn extend(
    State(api): State<Api>,
    id: Result<At<GrantId>, Problem>,
    Act { visitor, fields }: Act,
) -> Result<Redirect, Turned> {
    let At(id) = id?;
    let ttl = optional::<Ttl>(&fields.span)?;
    let asked = api.control.access.extend(&visitor.actor, &id, ttl, None).await?;
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

pub(super) fn optional<T: std::str::FromStr>(text: &str) -> Result<Option<T>, Problem>
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
