//! `docs/reference/configuration.md` has every key: its kind and default as the code that reads it declares them,
//! its meaning from the comment of the field that it becomes.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use postern::config::{Key, keys};

use crate::support::pages;

#[rustfmt::skip]
mod texts;

use texts::TEXTS;

const HEAD: &str = "\
# Configuration reference

Every key of `postern.toml`. This page is made from the code: the test
`the_configuration_reference_says_what_the_code_says` compares them, and writes the page again with `UPDATE_DOCS=1`.
[deploy/postern.toml](../../deploy/postern.toml) is an example with comments, [Run a gateway](../how-to/run.md) shows how to begin, and
`postern config check` finds what is wrong with a file.

Durations are written like `90s`, `15m`, `12h` or `30d`, sizes like `64MiB`. Paths begin at the folder of the
configuration file. `NAME` is a name that you choose. Where there is no default, the key may be left out.
";

/// Which fields a section becomes.
const FIELDS: [(&str, &str, &str); 22] = [
    ("gateway", "src/config/sections.rs", "Gateway"),
    ("postgres", "src/config/sections.rs", "Postgres"),
    ("ssh", "src/config/sections.rs", "Ssh"),
    ("api", "src/config/sections.rs", "Api"),
    ("metrics", "src/config/sections.rs", "Metrics"),
    ("log", "src/config/sections.rs", "Log"),
    ("limits", "src/config/sections.rs", "Limits"),
    ("recording", "proxy/src/core/settings.rs", "RecordingSettings"),
    ("grants", "control/src/model/settings.rs", "Grants"),
    ("workflow", "src/config/workflow.rs", "Workflow"),
    ("sign_in", "control/src/model/settings.rs", "SignIn"),
    ("totp", "src/config/sections.rs", "Totp"),
    ("people.NAME", "src/config/mod.rs", "Person"),
    ("workloads.NAME", "src/config/mod.rs", "Person"),
    ("issuers.NAME", "src/config/issuer.rs", "Issuer"),
    ("targets.NAME", "src/config/target.rs", "Target"),
    ("targets.NAME", "policies/src/target.rs", "Recording"),
    ("targets.NAME", "policies/src/ssh.rs", "Ssh"),
    ("targets.NAME.tls", "src/config/target.rs", "Tls"),
    ("people.NAME.oidc", "src/config/issuer.rs", "Account"),
    ("rosters.NAME", "src/config/organisation.rs", "Roster"),
    ("notify.NAME", "src/config/notify.rs", "Channel"),
];

#[test]
fn the_configuration_reference_says_what_the_code_says() {
    let mut fields = BTreeMap::new();
    for (section, file, name) in FIELDS {
        fields.extend(comments(file, name).into_iter().map(|(key, text)| ((section, key), text)));
    }
    let keys = keys();
    let (mut page, mut section, mut lacking) = (HEAD.to_owned(), "", Vec::new());
    for key in in_sections(&keys) {
        if key.section != section {
            section = &key.section;
            page += &format!("\n## [{section}]\n\n");
            page += "| key | kind | default | meaning |\n| --- | --- | --- | --- |\n";
        }
        let own = TEXTS.iter().find(|text| (text.0, text.1) == (section, key.name));
        let (_, _, kind, default, text) = own.copied().unwrap_or((section, key.name, "", "", ""));
        let from_field = || fields.get(&(section, key.name.to_owned())).cloned();
        let meaning = if text.is_empty() { from_field() } else { Some(text.to_owned()) };
        let kind = if kind.is_empty() { key.kind.clone() } else { Some(kind.to_owned()) };
        match (kind, meaning) {
            (Some(kind), Some(meaning)) => page += &row(key, &kind, default, &meaning),
            (kind, meaning) => lacking.push((section, key.name, kind, meaning)),
        }
    }
    assert!(lacking.is_empty(), "keys without a kind or a meaning: {lacking:#?}");
    let is_key = |text: &&(&str, &str, &str, &str, &str)| {
        !keys.iter().any(|key| (key.section.as_str(), key.name) == (text.0, text.1))
    };
    let gone: Vec<_> = TEXTS.iter().filter(is_key).collect();
    assert!(gone.is_empty(), "no such keys: {gone:#?}");
    pages::is_current("configuration.md", &page);
}

/// The keys, those of one section together: some are read after a table within their section.
fn in_sections(keys: &[Key]) -> Vec<&Key> {
    let first = |key: &Key| keys.iter().position(|other| other.section == key.section);
    let mut sorted: Vec<&Key> = keys.iter().collect();
    sorted.sort_by_key(|key| first(key));
    sorted
}

fn row(key: &Key, kind: &str, default: &str, meaning: &str) -> String {
    let declared = key.default.as_deref().unwrap_or_default();
    let default = match if default.is_empty() { declared } else { default } {
        "" => "–".to_owned(),
        "required" => "required".to_owned(),
        text if text.starts_with(|first: char| first.is_alphabetic()) && text.contains(' ') => {
            text.to_owned()
        }
        text => format!("`{text}`"),
    };
    let meaning = meaning.replace('|', "\\|");
    format!("| `{}` | {} | {default} | {meaning} |\n", key.name, kind.replace('|', "\\|"))
}

/// The comment of each field of a type.
fn comments(file: &str, name: &str) -> Vec<(String, String)> {
    let source = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap();
    let start = format!("pub struct {name} {{");
    let (_, body) = source.split_once(&start).unwrap_or_else(|| panic!("no {name} in {file}"));
    let (body, _) = body.split_once("\n}").expect("the end of the type");
    let (mut found, mut comment) = (Vec::new(), Vec::new());
    for line in body.lines().map(str::trim) {
        if let Some(text) = line.strip_prefix("///") {
            comment.push(text.trim());
        } else if let Some(field) = line.strip_prefix("pub ") {
            let key = field.split(':').next().unwrap();
            found.push((key.to_owned(), std::mem::take(&mut comment).join(" ")));
        }
    }
    assert!(!found.is_empty(), "{name} in {file} has no fields");
    found
}
