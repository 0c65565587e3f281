//! Fields for what somebody asks with. Where the rules want to know something, the field says so before
//! the form is sent; whether it is right is for the server to say.

use policies::RequiredInput;

use super::markup::Markup;

/// What stands in the fields at first.
#[derive(Debug, Clone, Default)]
pub(super) struct Draft {
    pub(super) resource: String,
    pub(super) span: String,
    pub(super) reason: String,
    pub(super) ticket: String,
    pub(super) starts_at: String,
    pub(super) emergency: bool,
}

/// All that is said besides what is asked for.
pub(super) fn all(draft: &Draft, words: &RequiredInput) -> Markup {
    plain("For how long", "span", "1h", 20, &draft.span)
        .piece(&reason(&draft.reason, words))
        .piece(&ticket(&draft.ticket, words))
        .piece(&plain(
            "From when on, if not at once",
            "starts_at",
            "2h, or 2026-03-01T22:00:00Z",
            40,
            &draft.starts_at,
        ))
}

/// Why.
pub(super) fn reason(filled: &str, words: &RequiredInput) -> Markup {
    let label = Markup::new().raw("<label class=\"wide\">Why");
    let field = match words.reason {
        Some(least) => label
            .raw(" (wanted here, with at least ")
            .text(least)
            .raw(" characters)<input name=\"reason\" maxlength=\"2000\" required minlength=\"")
            .text(least)
            .raw("\""),
        None => label.raw("<input name=\"reason\" maxlength=\"2000\""),
    };
    value(field, filled)
}

/// The ticket that it is for.
pub(super) fn ticket(filled: &str, words: &RequiredInput) -> Markup {
    let label = Markup::new().raw("<label>Ticket");
    let field = match words.ticket() {
        Some(pattern) => label
            .raw(" (wanted here, like ")
            .text(pattern)
            .raw(")<input name=\"ticket\" maxlength=\"64\" autocomplete=\"off\" required"),
        None => label.raw("<input name=\"ticket\" maxlength=\"64\" autocomplete=\"off\""),
    };
    value(field, filled)
}

fn plain(
    label: &'static str,
    name: &'static str,
    example: &'static str,
    most: u32,
    filled: &str,
) -> Markup {
    let field = Markup::new()
        .raw("<label>")
        .raw(label)
        .raw("<input name=\"")
        .raw(name)
        .raw("\" placeholder=\"")
        .raw(example)
        .raw("\" maxlength=\"")
        .text(most)
        .raw("\" autocomplete=\"off\"");
    value(field, filled)
}

fn value(field: Markup, filled: &str) -> Markup {
    field.raw(" value=\"").text(filled).raw("\"></label>")
}
