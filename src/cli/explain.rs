//! `postern explain`: what the rules of the gateway say about access, before anybody asks.

use clap::Args;
use policies::{Explanation, PrincipalId, Resource, Ticket, Ttl};
use serde::Deserialize;

use super::{Failure, Shape, client, read, show};
use crate::terminal::{Paint, plain_lines};

/// Say in plain words whether you can have something, what it takes, and who could approve it
///
/// The gateway answers by the rules in force; nothing is asked for by this. Admins and auditors may ask
/// about others, and see what would change the answer. Exit codes: 0 where it can be had, 4 where
/// it is denied.
#[derive(Debug, Args)]
pub(super) struct Explain {
    /// LOGIN@TARGET or LOGIN@TARGET/DATABASE
    resource: Resource,
    /// Somebody else's access: for admins and auditors
    #[arg(long)]
    who: Option<PrincipalId>,
    /// For how long, such as 2h
    #[arg(long = "for", value_name = "SPAN")]
    span: Option<Ttl>,
    /// The ticket that would be named
    #[arg(long)]
    ticket: Option<Ticket>,
    /// The reason that would be given
    #[arg(long)]
    reason: Option<String>,
    /// It would be an emergency
    #[arg(long)]
    break_glass: bool,
    #[command(flatten)]
    shape: Shape,
}

impl Explain {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let span = self.span.map(|span| span.to_string());
        let optional = [
            ("database", self.resource.database.as_ref().map(|name| name.as_str())),
            ("who", self.who.as_ref().map(PrincipalId::as_str)),
            ("ttl", span.as_deref()),
            ("ticket", self.ticket.as_ref().map(Ticket::as_str)),
            ("reason", self.reason.as_deref()),
            ("break_glass", self.break_glass.then_some("true")),
        ];
        let given = optional.into_iter().filter_map(|(name, value)| Some((name, value?)));
        let query: Vec<_> =
            std::iter::once(("login", self.resource.login.as_str())).chain(given).collect();
        let path = ["targets", self.resource.target.as_str(), "explain"];
        let answer = client()?.get(&path, &query).await?;
        let explained: Explained = read(&answer)?;
        show(self.shape, &answer, || Ok(explained.text()))?;
        match explained.verdict.as_str() {
            "denied" => Err(Failure::Denied("that is denied".into())),
            _ => Ok(()),
        }
    }
}

/// What the rules say, as people read it.
#[derive(Debug, Deserialize)]
pub(super) struct Explained {
    verdict: String,
    answer: String,
    takes: Vec<String>,
    unsaid: Option<String>,
    approvers: Vec<Approvers>,
    rules: Vec<Rule>,
    ends: Option<End>,
    week: Vec<Answered>,
    otherwise: Vec<Answered>,
}

#[derive(Debug, Deserialize)]
struct Approvers {
    wanted: String,
    people: Vec<String>,
    more: bool,
}

#[derive(Debug, Deserialize)]
struct Rule {
    title: String,
    place: String,
    says: String,
}

#[derive(Debug, Deserialize)]
struct End {
    when: String,
    why: String,
}

#[derive(Debug, Deserialize)]
struct Answered {
    when: String,
    then: String,
}

impl From<&Explanation> for Explained {
    fn from(explanation: &Explanation) -> Self {
        let approvers = explanation.approvers.iter().map(|place| Approvers {
            wanted: place.wanted.clone(),
            people: place.people.clone(),
            more: place.more,
        });
        let rules = explanation.rules.iter().map(|rule| Rule {
            title: rule.title.clone(),
            place: rule.place.to_string(),
            says: rule.says.clone(),
        });
        let answered =
            |when: &String, then: &String| Answered { when: when.clone(), then: then.clone() };
        Self {
            verdict: explanation.verdict.word().to_owned(),
            answer: explanation.answer.clone(),
            takes: explanation.takes.clone(),
            unsaid: explanation.unsaid.clone(),
            approvers: approvers.collect(),
            rules: rules.collect(),
            ends: explanation
                .ends
                .as_ref()
                .map(|end| End { when: end.when.clone(), why: end.why.clone() }),
            week: explanation.week.iter().map(|part| answered(&part.when, &part.then)).collect(),
            otherwise: explanation
                .otherwise
                .iter()
                .map(|one| answered(&one.when, &one.then))
                .collect(),
        }
    }
}

impl Explained {
    /// Everything, one thought a paragraph.
    pub(super) fn text(&self) -> String {
        let Self { answer, takes, unsaid, approvers, rules, ends, otherwise, week, .. } = self;
        let takes = takes.iter().map(|one| format!("  {one}"));
        // A rule without an @id has its place for a title.
        let rules = rules.iter().map(|rule| match rule.title.ends_with(&rule.place) {
            true => format!("  {}: {}", rule.place, rule.says),
            false => format!("  {} ({}): {}", rule.title, rule.place, rule.says),
        });
        let ends = ends.iter().map(|end| format!("  {}: {}", end.when, end.why));
        let answered = |one: &Answered| format!("  {}: {}", one.when, one.then);
        let mut text = format!("{}\n", plain_lines(answer));
        text.push_str(&part("What it takes", takes));
        text.push_str(&part("Still missing", unsaid.iter().map(|line| format!("  {line}"))));
        text.push_str(&part("Who could approve", approvers.iter().map(Approvers::line)));
        text.push_str(&part("Which rules say so", rules));
        text.push_str(&part("The rules would end it", ends));
        text.push_str(&part("In the course of a week", week.iter().map(answered)));
        text.push_str(&part("What would change the answer", otherwise.iter().map(answered)));
        text
    }
}

impl Approvers {
    fn line(&self) -> String {
        let more = if self.more { ", and others whom an issuer or a roster knows" } else { "" };
        let people = match self.people.join(", ") {
            nobody if nobody.is_empty() => "nobody".to_owned(),
            people => people,
        };
        format!("  {}: {people}{more}", self.wanted)
    }
}

fn part(title: &str, lines: impl Iterator<Item = String>) -> String {
    let lines: Vec<String> = lines.collect();
    if lines.is_empty() {
        return String::new();
    }
    let lines = plain_lines(&lines.join("\n"));
    format!("\n{}\n{lines}\n", Paint::for_stdout().bold(title))
}
