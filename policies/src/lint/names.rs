//! Names in rules that the configuration doesn't know, and words that a fact never is.

use super::{Finding, Level};
use crate::anatomy::{Mention, RuleView};
use crate::calendar::Day;
use crate::directory::Directory;
use crate::{GroupName, StepUpKind, Target};

/// Each name that nothing in the configuration has.
pub(super) fn unknown(view: &RuleView<'_>, directory: &Directory) -> Vec<Finding> {
    let strange = view.mentions().into_iter().filter_map(|spoken| match &spoken {
        Mention::Entity(kind, id) => entity(kind, id, directory),
        Mention::Fact(fact, text) => fact_is_never(fact, text, directory),
        Mention::Label(key, value) => label(key, value.as_deref(), directory),
        Mention::Network(_) | Mention::Span(_) => None,
    });
    let remedy = "names are compared to the letter: fix it here, or add it to the configuration";
    let findings = strange.map(|description| {
        let message = format!("`{}` speaks of {description}", view.title());
        Finding::new(view, Level::Warning, message, remedy)
    });
    findings.collect()
}

/// A name of a person or a thing that isn't there. Where there are no targets at all, they are not
/// written down yet.
fn entity(kind: &str, id: &str, directory: &Directory) -> Option<String> {
    let targets = || directory.targets.values();
    if !matches!(kind, "Group" | "Person") && directory.targets.is_empty() {
        return None;
    }
    let named = |target: &Target| target.kind.entity() == kind && target.name.as_str() == id;
    let description = match kind {
        "Group" if !is_group(id, directory) => format!("group `{id}`, in which nobody is"),
        "Person" if !directory.people.keys().any(|person| person.as_str() == id) => {
            format!("person `{id}`, whom nobody is called")
        }
        "Env" if !targets().any(|target| is_in(target, id)) => {
            format!("environment `{id}`, which no target is in")
        }
        "Label" if !targets().any(|target| is_labelled(target, id)) => {
            format!("label `{id}`, which no target has")
        }
        "Database" | "Host" | "Service" if !targets().any(named) => {
            format!("{kind} `{id}`, which is no target")
        }
        _ => return None,
    };
    Some(description)
}

fn is_group(id: &str, directory: &Directory) -> bool {
    let Ok(group) = GroupName::new(id) else { return false };
    let mut people = directory.people.values();
    directory.is_open(&group) || people.any(|member| member.principal.groups.contains(&group))
}

fn is_in(target: &Target, environment: &str) -> bool {
    target.environment.as_ref().is_some_and(|name| name.as_str() == environment)
}

fn is_labelled(target: &Target, label: &str) -> bool {
    target.labels.iter().any(|(key, value)| format!("{key}={value}") == label)
}

fn label(key: &str, value: Option<&str>, directory: &Directory) -> Option<String> {
    if directory.targets.is_empty() {
        return None;
    }
    let mut targets = directory.targets.values();
    let has = |target: &Target| {
        target.labels.get(key).is_some_and(|is| value.is_none_or(|value| value == is))
    };
    let label = value.map_or_else(|| key.to_owned(), |value| format!("{key}={value}"));
    (!targets.any(has)).then(|| format!("label `{label}`, which no target has"))
}

/// A text that this fact never is.
fn fact_is_never(fact: &str, text: &str, directory: &Directory) -> Option<String> {
    if matches!(fact, "login" | "database") && directory.targets.is_empty() {
        return None;
    }
    let mut targets = directory.targets.values();
    let known = match fact {
        "login" => targets.any(|target| target.logins.keys().any(|login| login.as_str() == text)),
        "database" => {
            let mut databases = targets.flat_map(|target| &target.databases);
            text.is_empty() || databases.any(|name| name.as_str() == text)
        }
        "day" => Day::ALL.iter().any(|day| day.word() == text),
        "step_up.kind" => {
            [StepUpKind::Passkey, StepUpKind::Totp].iter().any(|kind| kind.word() == text)
        }
        _ => true,
    };
    let description = match fact {
        "login" => format!("login `{text}`, which no target has"),
        "database" => format!("database `{text}`, which no target has"),
        "day" => format!("day `{text}`, while days are `Mon` to `Sun`"),
        other => format!("`{text}`, which `context.{other}` never is"),
    };
    (!known).then_some(description)
}
