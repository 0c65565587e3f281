//! The SSH keys of the page of my keys: to add, to prove, to agree to, and to remove.

use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};

use super::challenge_form::Form;
use super::markup::Markup;
use super::session::{Act, Fields, Visitor};
use crate::http::api::error::{Kind, Problem};
use crate::http::api::extract::At;
use crate::http::api::state::Api;
use crate::http::pages::factors::{agree, last_used};
use crate::http::pages::page::{Page, Turned, hidden, is_id};
use crate::identity::ssh_proof::SshKeyChallenge;
use crate::model::error::ControlError;
use crate::model::view::{Scope, SshKeyView};

/// What the page of my keys has of them; nothing where the gateway has no SSH side.
pub(super) async fn section(api: &Api, visitor: &Visitor) -> Result<Markup, ControlError> {
    if api.control.kernel.settings().ssh.is_none() {
        return Ok(Markup::new());
    }
    let keys = api.control.identity.ssh_keys(&visitor.actor, Scope::Mine).await?;
    let csrf_token = visitor.csrf_token();
    let head = Markup::new().raw("<h2>SSH keys</h2><p class=\"quiet\">With one of these, ").raw(
        "<code>ssh</code> needs no certificate of <code>postern login</code>. Whoever has the \
         private key is you, so add only keys of your own.</p>",
    );
    let list = keys.iter().fold(head, |page, key| page.piece(&card(key, &csrf_token)));
    Ok(list.piece(&form(&csrf_token)))
}

fn card(key: &SshKeyView, csrf_token: &str) -> Markup {
    let card = Markup::new()
        .raw("<div class=\"card\"><h2 class=\"name\">")
        .text(&key.name)
        .raw("</h2><dl>")
        .row("Fingerprint", &key.fingerprint)
        .row("Kind", key.kind())
        .moment("Added", key.added_at);
    let card = match key.user_verified {
        Some(true) => card.row("When added", "touched, and its PIN, finger or face was checked"),
        Some(false) => card.row("When added", "touched"),
        None => card,
    };
    let card = if key.confirmed_at.is_some() {
        card.piece(&last_used(key.used_at)).raw("</dl>")
    } else {
        card.raw(
            "</dl><p class=\"warn\">It opens nothing yet. Agree to it only if you added it.</p>",
        )
        .piece(&of_key(key, "/confirm\">", csrf_token))
        .raw("<button>Look at it and agree</button></form>")
    };
    card.piece(&of_key(key, "/remove\">", csrf_token))
        .raw("<button class=\"stop\">Remove for good</button></form></div>")
}

fn of_key(key: &SshKeyView, verb: &'static str, csrf_token: &str) -> Markup {
    Markup::new()
        .raw("<form method=\"post\" action=\"/keys/ssh/")
        .text(&key.id)
        .raw(verb)
        .piece(&hidden("csrf_token", csrf_token))
}

fn form(csrf_token: &str) -> Markup {
    Markup::new()
        .raw("<form class=\"card\" method=\"post\" action=\"/keys/ssh/add\">")
        .piece(&hidden("csrf_token", csrf_token))
        .raw("<label>What to call it<input name=\"name\" required maxlength=\"64\"")
        .raw(" autocomplete=\"off\" placeholder=\"my laptop\"></label>")
        .raw("<label class=\"wide\">Public key: the line of a file such as ~/.ssh/id_ed25519.pub")
        .raw("<input name=\"public_key\" required maxlength=\"8192\" autocomplete=\"off\"")
        .raw(" spellcheck=\"false\" placeholder=\"ssh-ed25519 AAAA…\"></label>")
        .raw("<button>Add an SSH key</button></form>")
}

pub(super) async fn add(
    State(api): State<Api>,
    Act { visitor, fields }: Act,
) -> Result<Page, Turned> {
    let asked = api.control.identity.ask_for_ssh_key(&visitor.actor, &fields.public_key).await?;
    let body = signing(&asked, &fields.name, &visitor);
    Ok(Page::new("Prove that the key is yours", body).of(&visitor))
}

/// What to run, and where to paste what it prints.
fn signing(asked: &SshKeyChallenge, name: &str, visitor: &Visitor) -> Markup {
    Markup::new()
        .raw("<div class=\"card\"><dl>")
        .row("Name", name)
        .row("Fingerprint", &asked.fingerprint)
        .row("For", &visitor.actor.principal.id)
        .raw("</dl><p>Run this line where the private key is, within five minutes. If the key is in")
        .raw(" another file, name that one.</p><p><code class=\"line\">")
        .text(asked.command())
        .raw("</code></p><p class=\"quiet\">Where it can't ask for the passphrase, run")
        .raw(" <code>ssh-add</code> first. <code>postern keys add</code> does all this by itself.</p>")
        .raw("</div><form class=\"card\" method=\"post\" action=\"/keys/ssh/prove\">")
        .piece(&hidden("csrf_token", &visitor.csrf_token()))
        .piece(&hidden("challenge", &asked.id))
        .piece(&hidden("name", name))
        .raw("<label class=\"wide\">What it prints<textarea name=\"signature\" required rows=\"7\"")
        .raw(" maxlength=\"8192\" autocomplete=\"off\" autocapitalize=\"none\" spellcheck=\"false\"")
        .raw(" placeholder=\"-----BEGIN SSH SIGNATURE-----\"></textarea></label>")
        .raw("<button>The key is mine</button></form>")
}

pub(super) async fn prove(
    State(api): State<Api>,
    Act { visitor, fields }: Act,
) -> Result<Response, Turned> {
    let Fields { challenge, signature, name, .. } = &fields;
    let key = api.control.identity.add_ssh_key(&visitor.actor, challenge, signature, name).await?;
    if key.confirmed_at.is_some() {
        return Ok(Redirect::to("/keys").into_response());
    }
    ask(&api, &visitor, &key.id).await
}

/// Shows what the key is, and takes the touch for it.
async fn ask(api: &Api, visitor: &Visitor, id: &str) -> Result<Response, Turned> {
    let statement = api.control.identity.ssh_key_addition(&visitor.actor, id).await?;
    let action = format!("/keys/ssh/{id}/confirm");
    let fields = hidden("csrf_token", &visitor.csrf_token());
    let form = Form { action: &action, fields, button: "Add this key" };
    Ok(agree(api, visitor, &statement, form).await?.into_response())
}

pub(super) async fn confirm(
    State(api): State<Api>,
    id: Result<At<String>, Problem>,
    Act { mut visitor, mut fields }: Act,
) -> Result<Response, Turned> {
    let id = known(id)?;
    let Some(proof) = fields.proof() else {
        return ask(&api, &visitor, &id).await;
    };
    api.control.identity.confirm_ssh_key(&visitor.actor, &id, &fields.challenge, proof).await?;
    visitor.raise(&api).await?;
    Ok((visitor.cookie(), Redirect::to("/keys")).into_response())
}

pub(super) async fn remove(
    State(api): State<Api>,
    id: Result<At<String>, Problem>,
    act: Act,
) -> Result<Redirect, Turned> {
    api.control.identity.remove_ssh_key(&act.visitor.actor, &known(id)?).await?;
    Ok(Redirect::to("/keys"))
}

fn known(id: Result<At<String>, Problem>) -> Result<String, Problem> {
    let At(id) = id?;
    let none = || Problem::new(Kind::NotFound, "you have no such SSH key");
    if is_id(&id) { Ok(id) } else { Err(none()) }
}
