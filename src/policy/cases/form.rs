//! The form of a file of cases. What it doesn't know is refused, with the place.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use policies::{
    Approvals, Database, Environment, GroupName, Login, PrincipalId, Record, Resource, Ticket, Ttl,
};
use serde::Deserialize;
use toml::Spanned;

use crate::config::{Fault, Faults, Site};

/// A file, read.
pub(super) struct Form {
    pub(super) policies: Option<PathBuf>,
    pub(super) config: Option<PathBuf>,
    /// The line of each case, and the case.
    pub(super) cases: Vec<(usize, Case)>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    /// The folder of the rules, from the file's own; without, that one.
    policies: Option<PathBuf>,
    /// The configuration, from the file's folder; without, the one beside the rules or above them.
    config: Option<PathBuf>,
    case: Vec<Spanned<Case>>,
}

/// One case: who asks, for what, when and from where; and what has to come of it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// What it shows, as a sentence.
    pub says: String,
    /// Somebody of the configuration.
    pub who: Option<PrincipalId>,
    /// Groups of whoever asks, besides those of `who`.
    #[serde(default)]
    pub groups: BTreeSet<GroupName>,
    /// What is asked for, of a target of the configuration.
    pub resource: Option<String>,
    /// What is asked for, of a target that is made up: a login,
    pub login: Option<Login>,
    /// its database, `shop` where it doesn't matter,
    pub database: Option<Database>,
    /// its environment,
    pub environment: Option<Environment>,
    /// its labels,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// and its kind, `postgres` where it doesn't matter.
    pub kind: Option<String>,
    /// When: by the organisation's clock, or with an offset.
    pub at: Option<String>,
    /// Where the connection comes from.
    #[serde(alias = "source")]
    pub from: Option<IpAddr>,
    /// For how long.
    #[serde(rename = "for")]
    pub ttl: Option<Ttl>,
    /// The ticket that is named.
    pub ticket: Option<Ticket>,
    /// How it stands.
    pub ticket_state: Option<String>,
    /// Why.
    #[serde(default)]
    pub reason: String,
    /// Whether they are on call, or on which rosters.
    pub on_call: Option<OnCall>,
    /// Whether it is an emergency.
    #[serde(default)]
    pub break_glass: bool,
    /// The last step-up, as `passkey 30s`.
    pub touched: Option<String>,
    /// Whether they have never come from this network.
    #[serde(default)]
    pub new_network: bool,
    /// Whether they have never come with this device.
    #[serde(default)]
    pub new_device: bool,
    /// How often somebody failed lately in their name.
    #[serde(default)]
    pub failed_attempts: u32,
    /// Who has said yes, in this order.
    #[serde(default)]
    pub approved_by: Vec<PrincipalId>,

    /// Nobody has to be asked.
    #[serde(default)]
    pub allow: bool,
    /// Who has to approve.
    pub approvals: Option<Wanted>,
    /// The longest that a grant may last.
    pub limit: Option<Ttl>,
    /// How old a step-up may be.
    pub step_up: Option<Ttl>,
    /// What the ticket has to look like.
    #[serde(default)]
    pub tickets: BTreeSet<String>,
    /// How many characters the reason has to have.
    pub reason_of: Option<u32>,
    /// How soon a grant has to be used.
    pub claim_within: Option<Ttl>,
    /// What has to be recorded.
    #[serde(default)]
    pub record: BTreeSet<Record>,
    /// What the refusal says; after `…`, anything may follow.
    pub deny: Option<String>,
    /// The rules that say so.
    pub by: Option<BTreeSet<String>>,
    /// How many have still to say yes.
    pub missing: Option<usize>,
    /// Who could say yes.
    pub approvers: Option<BTreeSet<PrincipalId>>,
    /// What was left unsaid: `ticket`, `reason` or `nothing`.
    pub lacks: Option<String>,
    /// When the rules would end it, as `Fri 18:00`, or `never`.
    pub ends: Option<String>,
}

/// Whether somebody is on call.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub enum OnCall {
    /// By some roster, or by none.
    Somewhere(bool),
    /// By these.
    Rosters(BTreeSet<GroupName>),
}

/// Whose approval is wanted.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub enum Wanted {
    /// In one text, as in a rule.
    Text(Approvals),
    /// As a list, of one stage.
    List(Vec<String>),
}

impl Wanted {
    /// As a rule would say it.
    pub(super) fn text(&self) -> String {
        let read = match self {
            Self::Text(approvals) => return approvals.to_string(),
            Self::List(parts) => parts.join(", "),
        };
        read.parse::<Approvals>().map_or(read, |approvals| approvals.to_string())
    }
}

impl Case {
    /// What is wrong with it that its form doesn't show.
    fn fault(&self) -> Option<String> {
        let answers = [self.allow, self.approvals.is_some(), self.deny.is_some()];
        let answers = answers.into_iter().filter(|given| *given).count();
        let made_up = self.login.is_some();
        let message = if answers != 1 {
            "a case says exactly one of `allow = true`, `approvals = …` and `deny = …`"
        } else if self.resource.is_some() == made_up {
            "a case says either `resource = \"login@target\"` or a `login` with its `environment`"
        } else if !made_up && self.describes_a_target() {
            "`environment`, `database`, `labels` and `kind` are of a made-up target: leave `resource` out"
        } else if self.deny.is_some() && self.expects_terms() {
            "what is denied has no terms: leave `limit`, `step_up` and the like out"
        } else {
            return self.unread();
        };
        Some(message.to_owned())
    }

    fn describes_a_target(&self) -> bool {
        self.environment.is_some()
            || self.database.is_some()
            || self.kind.is_some()
            || !self.labels.is_empty()
    }

    fn expects_terms(&self) -> bool {
        let spans = [self.limit, self.step_up, self.claim_within];
        spans.iter().any(Option::is_some)
            || self.reason_of.is_some()
            || self.missing.is_some()
            || self.approvers.is_some()
            || self.ends.is_some()
            || !self.tickets.is_empty()
            || !self.record.is_empty()
    }

    /// A text that is to be read later, and can't be.
    fn unread(&self) -> Option<String> {
        if let Some(Err(error)) =
            self.resource.as_ref().map(|resource| resource.parse::<Resource>())
        {
            return Some(error.to_string());
        }
        let kind = self.kind.as_deref().unwrap_or("postgres");
        if !["postgres", "ssh"].contains(&kind) {
            return Some(format!("`{kind}` is no kind of target"));
        }
        let touched = self.touched.as_deref().map(super::ask::step_up);
        let at = self.at.as_deref().map(super::ask::is_moment);
        match (touched, at) {
            (Some(Err(message)), _) | (_, Some(Err(message))) => Some(message),
            (_, _) => None,
        }
    }
}

/// Reads a file.
pub(super) fn read(path: &Path, text: &str) -> Result<Form, Faults> {
    let name = path.display().to_string();
    let site = |at: usize, width: usize| {
        let before = text.get(..at).unwrap_or_default();
        let (line, column) = place(before);
        let shown = text.lines().nth(line - 1).unwrap_or_default();
        Site::at(&name.as_str().into(), line, column, width, shown)
    };
    let file: File = toml::from_str(text).map_err(|error| {
        let span = error.span().unwrap_or(0..0);
        Fault::new(site(span.start, span.len()), error.message())
    })?;
    let faults = file.case.iter().filter_map(|case| {
        let message = case.get_ref().fault()?;
        Some(Fault::new(site(case.span().start, 8), message))
    });
    Faults::none_in(faults.collect())?;
    let cases = file.case.into_iter().map(|case| {
        let (line, _) = place(text.get(..case.span().start).unwrap_or_default());
        (line, case.into_inner())
    });
    Ok(Form { policies: file.policies, config: file.config, cases: cases.collect() })
}

/// Line and column, from 1, of what follows a text.
fn place(before: &str) -> (usize, usize) {
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().map_or(0, |tail| tail.chars().count()) + 1;
    (line, column)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(text: &str) -> String {
        match read(Path::new("cases.toml"), text) {
            Ok(form) => format!("{} cases", form.cases.len()),
            Err(faults) => faults.to_string(),
        }
    }

    #[test]
    fn a_case_that_says_nothing_or_two_things_is_refused_with_its_place() {
        let good = "[[case]]\nsays = \"a\"\nlogin = \"app\"\nallow = true\n";
        assert_eq!(outcome(good), "1 cases");
        for (text, why) in [
            (
                "[[case]]\nsays = \"a\"\nlogin = \"app\"\n",
                "cases.toml:1:1: a case says exactly one",
            ),
            (
                "[[case]]\nsays = \"a\"\nlogin = \"app\"\nallow = true\ndeny = \"x\"\n",
                "exactly one",
            ),
            ("[[case]]\nsays = \"a\"\nallow = true\n", "either `resource"),
            ("[[case]]\nsays = \"a\"\nlogin = \"app\"\ndeny = \"x\"\nlimit = \"1h\"\n", "no terms"),
            ("[[case]]\nsays = \"a\"\nresource = \"app\"\nallow = true\n", "login@target"),
            (
                "[[case]]\nsays = \"a\"\nresource = \"a@b\"\nkind = \"ssh\"\nallow = true\n",
                "made-up",
            ),
            (
                "[[case]]\nsays = \"a\"\nlogin = \"app\"\nalow = true\n",
                "cases.toml:4:1: unknown field `alow`",
            ),
            ("[[case]]\nsays = \"a\"\nlogin = \"app\"\nlimit = \"soon\"\n", "is not a duration"),
            (
                "[[case]]\nsays = \"a\"\nlogin = \"app\"\nat = \"noon\"\nallow = true\n",
                "2026-11-20T19:00",
            ),
            (
                "[[case]]\nsays = \"a\"\nlogin = \"app\"\ntouched = \"foot 3s\"\nallow = true\n",
                "passkey 30s",
            ),
        ] {
            assert!(outcome(text).contains(why), "{text}\n{}", outcome(text));
        }
    }
}
