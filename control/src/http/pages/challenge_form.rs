//! Forms that take a touch: whoever has a passkey proves themselves, by WebAuthn or a code.
//!
//! The page works without script but for the passkey itself, which `/assets/passkey.js` runs: it
//! reads the options from the form, and puts what the authenticator says into the field `proof`.

use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde_json::Value;

use super::markup::Markup;
use crate::http::pages::page::hidden;
use crate::identity::proof::Challenge;
use crate::model::statement::Statement;

const SCRIPT: &str = include_str!("passkey.js");

/// What a form asks of the passkey.
#[derive(Debug, Clone, Copy)]
pub(super) enum Operation {
    /// Make a passkey.
    Create,
    /// Use one.
    Get,
}

/// A form that sends a proof.
pub(super) struct Form<'a> {
    /// Where it is sent to.
    pub(super) action: &'a str,
    /// What else it carries, such as the csrf_token; markup of fields.
    pub(super) fields: Markup,
    /// What its button says.
    pub(super) button: &'static str,
}

/// The script.
pub(super) async fn script() -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/javascript; charset=utf-8"),
        (header::CACHE_CONTROL, "max-age=3600"),
    ];
    (headers, SCRIPT).into_response()
}

/// What somebody is to agree to, as it goes into the digest.
pub(super) fn shown(statement: &Statement) -> Markup {
    let list = Markup::new().raw("<div class=\"card\"><dl>");
    let rows = statement.lines.iter();
    rows.fold(list, |list, (label, text)| {
        list.raw("<dt>").text(label).raw("</dt><dd>").text(text).raw("</dd>")
    })
    .raw("</dl></div>")
}

/// The forms by which somebody answers a challenge: with a passkey, with a code, or either.
pub(super) fn prove(challenge: &Challenge, form: &Form<'_>) -> Markup {
    let touch = challenge.options.as_ref();
    let touch = touch.map(|options| passkey_form(Operation::Get, &challenge.id, options, form));
    let typed = challenge.totp.then(|| typed(&challenge.id, form));
    [touch, typed].into_iter().flatten().fold(Markup::new(), |all, one| all.piece(&one))
}

/// The form that uses a passkey and sends what came of it.
pub(super) fn passkey_form(
    operation: Operation,
    challenge: &str,
    options: &Value,
    form: &Form<'_>,
) -> Markup {
    Markup::new()
        .raw("<form class=\"card\" method=\"post\" action=\"")
        .text(form.action)
        .raw("\" data-webauthn=\"")
        .raw(match operation {
            Operation::Create => "create",
            Operation::Get => "get",
        })
        .raw("\" data-options=\"")
        .text(options)
        .raw("\">")
        .piece(&hidden("challenge", challenge))
        .piece(&hidden("proof", ""))
        .piece(&form.fields)
        .raw("<button>")
        .raw(form.button)
        .raw("</button><p class=\"warn\" role=\"alert\" hidden></p>")
        .raw("<noscript><p class=\"warn\">Passkeys need a browser that runs our one script: ")
        .raw("allow scripts for this site, and load the page again.</p></noscript></form>")
}

fn typed(challenge: &str, form: &Form<'_>) -> Markup {
    Markup::new()
        .raw("<form class=\"card\" method=\"post\" action=\"")
        .text(form.action)
        .raw("\">")
        .piece(&hidden("challenge", challenge))
        .piece(&form.fields)
        .raw("<label>Or the code of your authenticator app<input class=\"code\" name=\"totp\"")
        .raw(" required inputmode=\"numeric\" autocomplete=\"one-time-code\" maxlength=\"10\">")
        .raw("</label><button class=\"plain\">Use the code</button></form>")
}
