//! The pages of `docs/reference/` that are made from this crate. With `UPDATE_DOCS=1` these tests write them again.

use std::fmt::Write;
use std::path::Path;

use crate::http::api::error::Kind;
use crate::model::audit_kind::AuditKind;
use crate::model::error_code::ErrorCode;

const ERRORS: &str = "\
# Error reference

This page is made from the code: the test `the_error_reference_says_what_the_code_says` compares them, and writes
the page again with `UPDATE_DOCS=1`.

## Problems

Every error of the HTTP API is a problem (RFC 9457). Its `type` is `urn:postern:problem:` and one of these names.
Where the cause is in the gateway, `incident` is the name under which the log has it.

| type | HTTP status | meaning | what to do |
| --- | --- | --- | --- |
";

const CODES: &str = "
## Codes

The HTTP API and the link between the planes use these codes. The status is that of the API's answer.

| code | HTTP status | meaning | what to do |
| --- | --- | --- | --- |
";

const EVENTS: &str = "\
# Audit event reference

Every kind of event in the audit log. This page is made from the code: the test
`the_audit_event_reference_says_what_the_code_says` compares them, and writes the page again with `UPDATE_DOCS=1`.
[Sessions, recordings and the audit log](../how-to/recordings.md) says how to read the log.

An event has `id`, `at`, `actor`, `kind`, `subject` and `detail`. The actor is `principal:ID`, `operator`, `control`,
`proxy:NAME` or `webhook:NAME`. A field of the detail may be null, or missing in events of older versions; a kind
that a version doesn't know is shown as it is stored.

| kind | what happened | subject | fields of the detail |
| --- | --- | --- | --- |
";

#[test]
fn the_error_reference_says_what_the_code_says() {
    let mut page = ERRORS.to_owned();
    for kind in Kind::ALL {
        let (status, title) = (kind.status().as_u16(), kind.title());
        let remedy = remedy(kind);
        writeln!(page, "| `{}` | {status} | {title}. | {remedy} |", kind.slug()).unwrap();
    }
    page += CODES;
    assert!(ErrorCode::ALL.is_sorted_by_key(|code| code.name()));
    for code in ErrorCode::ALL {
        let (status, meaning, remedy) = (code.status(), code.meaning(), code.remedy());
        writeln!(page, "| `{code}` | {status} | {meaning} | {remedy} |").unwrap();
    }
    is_current("errors.md", &page);
}

#[test]
fn the_audit_event_reference_says_what_the_code_says() {
    let mut page = EVENTS.to_owned();
    for kind in AuditKind::ALL {
        let schema = kind.schema();
        let fields: Vec<String> = schema.fields.iter().map(|field| format!("`{field}`")).collect();
        let (meaning, subject, fields) = (schema.meaning, schema.subject, fields.join(", "));
        writeln!(page, "| `{kind}` | {meaning} | {subject} | {fields} |").unwrap();
    }
    is_current("audit-events.md", &page);
}

/// What a client of the API does about a problem.
fn remedy(kind: Kind) -> &'static str {
    match kind {
        Kind::Invalid => "Correct what `detail` names.",
        Kind::Unauthenticated => "Sign in: `postern login`.",
        Kind::StepUpNeeded => "Open `url`, and confirm with your passkey.",
        Kind::Forbidden => "`detail` says who may.",
        Kind::NotFound => "Check the name, or whether it is yours to see.",
        Kind::WrongMethod => "See `/api/v1/openapi.json`.",
        Kind::Slow => "Send it again, faster.",
        Kind::Conflict => "Look at it again; `detail` says what its state is.",
        Kind::TooLarge => "Send less.",
        Kind::WrongMedia => "Send `Content-Type: application/json`.",
        Kind::KeyReused => "Use another idempotency key for another request.",
        Kind::RateLimited => "Wait for as long as `Retry-After` says.",
        Kind::Internal => "Look the incident up in the log.",
        Kind::Unavailable => "Try again after `Retry-After`.",
        Kind::TimedOut => "Look whether it was done before you try again.",
    }
}

fn is_current(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference").join(name);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let page = std::fs::read_to_string(&path).unwrap_or_default();
    let mut lines = page.lines().zip(text.lines());
    let differs = lines.find(|(page, text)| page != text);
    assert!(page == text, "run with UPDATE_DOCS=1 to write {name} again: {differs:?}");
}
