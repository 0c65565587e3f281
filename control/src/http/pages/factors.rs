//! What the pages of passkeys and of SSH keys have in common.

use policies::Timestamp;

use crate::http::api::state::Api;
use crate::http::pages::challenge_form;
use crate::http::pages::challenge_form::Form;
use crate::http::pages::markup::Markup;
use crate::http::pages::page::{Page, Turned};
use crate::http::pages::session::Visitor;
use crate::model::statement::Statement;

/// A row that says when a key was used last.
pub(super) fn last_used(at: Option<Timestamp>) -> Markup {
    match at {
        Some(at) => Markup::new().moment("Last used", at),
        None => Markup::new().row("Last used", "never"),
    }
}

/// A page that shows a statement and takes the touch for it.
pub(super) async fn agree(
    api: &Api,
    visitor: &Visitor,
    statement: &Statement,
    form: Form<'_>,
) -> Result<Page, Turned> {
    let challenge = api.control.identity.challenge(&visitor.actor, statement).await?;
    let body = challenge_form::shown(statement).piece(&challenge_form::prove(&challenge, &form));
    Ok(Page::new("Is this what you want?", body).of(visitor).with_script())
}
