//! A terminal that wants to be signed in: its person types the code that it shows, reads what asks,
//! and says whether it is theirs.
//!
//! No address carries a code, so that no link can lead anybody to say yes: whoever types one has the
//! terminal before them, or was talked into it, which is what the page warns of.

use axum::extract::State;
use policies::Digest;

use super::challenge_form;
use super::challenge_form::Form;
use super::markup::Markup;
use super::session::{Act, Visitor};
use crate::http::api::guard::Source;
use crate::http::api::state::Api;
use crate::http::pages::page::{Page, Turned, hidden};
use crate::identity::devices::table::DeviceView;

pub(super) async fn ask(visitor: Visitor) -> Page {
    let body = Markup::new()
        .raw("<form class=\"card\" method=\"post\" action=\"/device\">")
        .piece(&hidden("csrf_token", &visitor.csrf_token()))
        .raw("<label>The code that your terminal shows")
        .raw("<input class=\"code\" name=\"code\" required autofocus autocomplete=\"off\"")
        .raw(" autocapitalize=\"characters\" spellcheck=\"false\" placeholder=\"XXXX-XXXX\"")
        .raw(" maxlength=\"20\"></label><button>Show the terminal</button></form>")
        .piece(&hint());
    Page::new("Sign a terminal in", body).of(&visitor)
}

fn hint() -> Markup {
    Markup::new()
        .raw("<p class=\"warn\">Go on only if you ran <code>postern login</code> yourself, just now.")
        .raw(" A code that somebody sent you signs <strong>their</strong> terminal in as you.")
        .raw(" Nobody who helps you needs that.</p>")
}

pub(super) async fn look(
    State(api): State<Api>,
    source: Source,
    Act { visitor, fields }: Act,
) -> Result<Page, Turned> {
    let actor = &visitor.actor;
    let view = api.control.identity.device_by_code(actor, &fields.code).await?;
    let statement = view.statement(actor);
    let both = hidden("csrf_token", &visitor.csrf_token()).piece(&hidden("code", &fields.code));
    let no = Markup::new()
        .raw("<form method=\"post\" action=\"/device/deny\">")
        .piece(&both)
        .raw("<button class=\"stop\">No, it isn't mine</button></form>")
        .piece(&hint());
    let fields = both.piece(&hidden("digest", &view.digest.to_string()));
    let form = Form { action: "/device/confirm", fields, button: "Yes, this is my terminal" };
    let head = warning(&view, source).piece(&challenge_form::shown(&statement));
    if !api.control.identity.factors(&actor.principal.id).await?.any() {
        let body = head.piece(&clicked(&form)).piece(&no);
        return Ok(Page::new("Is this your terminal?", body).of(&visitor));
    }
    let challenge = api.control.identity.challenge(actor, &statement).await?;
    let body = head.piece(&challenge_form::prove(&challenge, &form)).piece(&no);
    Ok(Page::new("Is this your terminal?", body).of(&visitor).with_script())
}

/// The form of somebody who has nothing to prove themselves with.
fn clicked(form: &Form<'_>) -> Markup {
    Markup::new()
        .raw("<form class=\"card\" method=\"post\" action=\"")
        .text(form.action)
        .raw("\">")
        .piece(&form.fields)
        .raw("<button>")
        .raw(form.button)
        .raw("</button></form>")
}

fn warning(view: &DeviceView, Source(address): Source) -> Markup {
    if view.address.is_some() && view.address == address {
        return Markup::new();
    }
    Markup::new()
        .raw("<p class=\"warn\"><strong>This terminal is at another address than your browser.")
        .raw(
            "</strong> That is so with a VPN or a remote machine; it is also so when somebody else",
        )
        .raw(" wants you to sign their terminal in.</p>")
}

pub(super) async fn confirm(
    State(api): State<Api>,
    Act { mut visitor, mut fields }: Act,
) -> Result<Page, Turned> {
    let proof = fields.proof().map(|proof| (fields.challenge.as_str(), proof));
    let touched = proof.is_some();
    let (actor, digest) = (&visitor.actor, Digest::from(fields.digest));
    let view = api.control.identity.confirm_device(actor, &fields.code, digest, proof).await?;
    if touched {
        visitor.raise(&api).await?;
    }
    let body = Markup::new()
        .raw("<div class=\"card\"><h3>")
        .text(&view.device)
        .raw("</h3><p>Your terminal goes on by itself in a few seconds.</p></div>")
        .raw("<p><a href=\"/logins\">See where you are signed in</a></p>");
    Ok(Page::new("Signed in", body).of(&visitor))
}

pub(super) async fn deny(
    State(api): State<Api>,
    Act { visitor, fields }: Act,
) -> Result<Page, Turned> {
    api.control.identity.deny_device(&visitor.actor, &fields.code).await?;
    let body = Markup::new()
        .raw("<p>That terminal stays out. If somebody sent you its code, tell your admins.</p>")
        .raw("<p><a href=\"/\">Go to my access</a></p>");
    Ok(Page::new("Refused", body).of(&visitor))
}
