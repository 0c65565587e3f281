//! `postern policy simulate`: the requests of the past against changed rules.

use std::path::{Path, PathBuf};

use clap::Args;
use policies::{Timestamp, Ttl};
use serde_json::{Value, json};

use super::{ContextArgs, count, now};
use crate::cli::{Failure, Shape, client, read_all, show};
use crate::policy::Folder;
use crate::policy::differ::Effect;
use crate::policy::replay::{Changed, Event, Replay, instant, replay, requests};
use crate::terminal::{self, moment, plain_lines};

/// So many events are read at most.
const MOST: usize = 200_000;
/// So many events are asked for at once.
const BATCH: usize = 2_000;

/// Ask the requests of the past again, and show what would turn out otherwise
///
/// The requests come from the audit log of the gateway that you are signed in to, as an auditor or admin,
/// or from a file that `postern audit --json` wrote. With `--policies`, the rules there are compared with
/// those of the configuration; without, those of the configuration with what the log says that each request
/// took. People, groups and targets are those of the configuration. What was refused at once is no request:
/// `postern policy diff` shows who gains. Exit codes: 0 where nothing would be otherwise, 1 where something
/// would, 2 where something can't be read.
#[derive(Debug, Args)]
pub(super) struct Simulate {
    /// How far back, such as 30d
    #[arg(long, value_name = "SPAN", default_value = "30d")]
    since: Ttl,
    /// The changed rules; without, those of the configuration
    #[arg(long, value_name = "DIR")]
    policies: Option<PathBuf>,
    /// A file of events instead of the gateway's audit log
    #[arg(long, value_name = "FILE")]
    events: Option<PathBuf>,
    #[command(flatten)]
    context: ContextArgs,
    #[command(flatten)]
    shape: Shape,
}

impl Simulate {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let (in_force, context) = self.context.rules(None)?;
        let changed = self.policies.as_deref().map(Folder::load).transpose()?;
        let from = Timestamp::from_millis(now().millis().saturating_sub(self.since.millis()));
        let events = match &self.events {
            Some(file) => of_file(file)?,
            None => of_gateway(from).await?,
        };
        let events = parsed(events, from)?;
        let rules = changed.as_ref().unwrap_or(&in_force);
        let before = changed.as_ref().map(|_| &in_force.book);
        let found = replay(requests(&events, &context), before, &rules.book, &context);
        show(self.shape, &json!(found), || Ok(plain_lines(&summary(&found))))?;
        if found.changed.is_empty() {
            return Ok(());
        }
        let asked = count(found.asked, "request");
        Err(Failure::Failed(format!("{} of {asked} would turn out otherwise", found.changed.len())))
    }
}

fn of_file(file: &Path) -> Result<Vec<Value>, Failure> {
    let name = file.display();
    let text = std::fs::read_to_string(file).map_err(Failure::io(format!("read `{name}`")))?;
    serde_json::from_str(&text).map_err(|error| {
        let hint = "it is what `postern audit --limit 10000 --json` prints";
        Failure::Usage(format!("`{name}` holds no events: {error}; {hint}"))
    })
}

/// The events of the log since a moment, newest first.
async fn of_gateway(from: Timestamp) -> Result<Vec<Value>, Failure> {
    let client = client()?;
    let mut most = BATCH;
    loop {
        let events = client.list(&["audit"], &[], most).await?;
        let oldest = events.last().and_then(|event| event.get("at")).and_then(Value::as_str);
        let reached = oldest.and_then(instant).is_none_or(|oldest| oldest < from);
        if reached || events.len() < most {
            return Ok(events);
        }
        if most >= MOST {
            terminal::note(&format!("postern: only the newest {MOST} events were read"));
            return Ok(events);
        }
        most = most.saturating_mul(4).min(MOST);
    }
}

fn parsed(events: Vec<Value>, from: Timestamp) -> Result<Vec<Event>, Failure> {
    let mut events: Vec<Event> = read_all(&events)?;
    events.retain(|event| instant(&event.at).is_some_and(|at| at >= from));
    Ok(events)
}

fn summary(found: &Replay) -> String {
    let mut text = String::new();
    for effect in [Effect::Loses, Effect::Changes, Effect::Gains] {
        let all = found.changed.iter().filter(|changed| changed.effect == effect);
        text.extend(all.map(line));
    }
    let of = |effect| found.changed.iter().filter(|changed| changed.effect == effect).count();
    let unclear = match found.unclear {
        0 => String::new(),
        many => format!("; {} can't be asked again", count(many, "other")),
    };
    text.push_str(&format!(
        "{}: {} would be denied, {} would be given that wasn't, {} would take something else{unclear}\n",
        count(found.asked, "request"),
        of(Effect::Loses),
        of(Effect::Gains),
        of(Effect::Changes),
    ));
    text
}

fn line(changed: &Changed) -> String {
    let Changed { request, at, who, resource, effect, before, after, became } = changed;
    format!(
        "{:<8}{resource}  {who}  {}  {request}, which was {became}\n    - {before}\n    + {after}\n",
        effect.word(),
        moment(at),
    )
}
