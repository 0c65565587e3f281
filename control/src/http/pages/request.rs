//! One request: to stand by one's own with a touch, or to decide on somebody else's.
//!
//! What is agreed to is the statement on the page and nothing else; whoever has something to prove
//! themselves with does so here.

use axum::extract::State;
use axum::response::{IntoResponse, Redirect};
use policies::{Purpose, RequestId, RequestState};

use super::ask::edit_form;
use super::challenge_form;
use super::challenge_form::Form;
use super::home::{approve_form, denial, described, form_of};
use super::markup::Markup;
use super::session::{Act, Visitor};
use crate::access::step_up::Way;
use crate::http::api::error::{Kind, Problem};
use crate::http::api::extract::At;
use crate::http::api::state::Api;
use crate::http::pages::page::{Page, Turned, hidden};
use crate::model::statement;
use crate::model::statement::Statement;
use crate::model::view::RequestView;

pub(super) async fn show(
    State(api): State<Api>,
    id: Result<At<RequestId>, Problem>,
    visitor: Visitor,
) -> Result<Page, Turned> {
    let At(id) = id?;
    let view = api.control.access.request(&visitor.actor, &id).await?;
    let own = view.request.principal == visitor.actor.principal.id;
    let head = Markup::new()
        .raw("<div class=\"card\">")
        .piece(&described(&view, api.control.kernel.now()))
        .raw("</div>");
    let act = match (&view.request.state, own) {
        (RequestState::NeedsStepUp, true) => stand_by(&api, &visitor, &view).await?,
        (RequestState::NeedsApproval { .. }, false) if view.may_approve => {
            decide(&api, &visitor, &view).await?
        }
        (RequestState::NeedsApproval { .. }, false) if view.may_decide => Markup::new()
            .raw("<p class=\"quiet\">It doesn't wait for your yes now. You may say no.</p>")
            .piece(&denial(&view, &visitor.csrf_token())),
        (state, _) => {
            Markup::new().raw("<p class=\"quiet\">It is ").text(state.word()).raw(".</p>")
        }
    };
    let own = own && view.request.is_pending();
    let body =
        if own { head.piece(&act).piece(&withdrawal(&view, &visitor)) } else { head.piece(&act) };
    Ok(Page::new("A request", body).of(&visitor).with_script())
}

async fn stand_by(api: &Api, visitor: &Visitor, view: &RequestView) -> Result<Markup, Turned> {
    let shown = statement::of_request(&view.request, &view.name);
    let action = format!("/r/{}/prove", view.request.id);
    let fields = hidden("csrf_token", &visitor.csrf_token());
    let form = Form { action: &action, fields, button: "Yes, I ask for this" };
    let way = api.control.access.way(&visitor.actor, view.request.terms.step_up).await?;
    match way {
        Way::Touch => agree(api, visitor, &shown, &form).await,
        Way::Enrol | Way::Click => Ok(enrol()),
    }
}

async fn decide(api: &Api, visitor: &Visitor, view: &RequestView) -> Result<Markup, Turned> {
    let request = &view.request;
    let csrf_token = visitor.csrf_token();
    let shown = statement::of_approval(request, &view.name);
    let way = api.control.access.way(&visitor.actor, request.terms.step_up).await?;
    let yes = match way {
        Way::Click => approve_form(view, &csrf_token),
        Way::Enrol => enrol(),
        Way::Touch => {
            let action = format!("/requests/{}/approve", request.id);
            let fields = hidden("csrf_token", &csrf_token)
                .piece(&hidden("digest", &request.digest().to_string()))
                .raw("<label>Shorter, if you like<input name=\"shorten\" placeholder=\"30m\"")
                .raw(" maxlength=\"20\" autocomplete=\"off\"></label>");
            let form = Form { action: &action, fields, button: "Approve" };
            agree(api, visitor, &shown, &form).await?
        }
    };
    Ok(yes.piece(&denial(view, &csrf_token)))
}

/// The statement, and the forms by which somebody agrees to it with a touch.
pub(super) async fn agree(
    api: &Api,
    visitor: &Visitor,
    shown: &Statement,
    form: &Form<'_>,
) -> Result<Markup, Turned> {
    let challenge = api.control.identity.challenge(&visitor.actor, shown).await?;
    Ok(challenge_form::shown(shown).piece(&challenge_form::prove(&challenge, form)))
}

/// For who has nothing to prove themselves with where the rules want it.
pub(super) fn enrol() -> Markup {
    Markup::new()
        .raw("<p class=\"warn\">The rules require a fresh step-up with a passkey here, and you have none")
        .raw(" yet: <a href=\"/keys\">register one</a>, then come back to this page.</p>")
}

fn withdrawal(view: &RequestView, visitor: &Visitor) -> Markup {
    let csrf_token = visitor.csrf_token();
    edit_form(view, &csrf_token)
        .piece(&form_of(&view.request.id, "/withdraw\">", &csrf_token))
        .raw("<button class=\"plain\">Withdraw</button></form>")
}

pub(super) async fn prove(
    State(api): State<Api>,
    id: Result<At<RequestId>, Problem>,
    Act { mut visitor, mut fields }: Act,
) -> Result<impl IntoResponse, Turned> {
    let At(id) = id?;
    let actor = &visitor.actor;
    let view = api.control.access.request(actor, &id).await?;
    let shown = statement::of_request(&view.request, &view.name);
    let challenge = fields.challenge.clone();
    let proof = fields.proof().ok_or_else(unproved)?;
    let digest = shown.digest();
    let given =
        api.control.identity.prove(actor, &challenge, proof, Purpose::Ask, &digest, None).await?;
    api.control.access.stand_by(actor, &id, &given.id).await?;
    visitor.raise(&api).await?;
    Ok((visitor.cookie(), Redirect::to(&format!("/r/{id}"))))
}

fn unproved() -> Problem {
    Problem::new(Kind::Invalid, "the form came without a proof: open the page again")
}
