//! Who is on call: asked of files, calendar feeds and web addresses, now and then.
//!
//! A source's last word holds for a while after it fell silent, and then nobody is on call by it: what
//! was permitted to those on call ends. That it fell silent is written down once, and counted each time.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use jiff::tz::TimeZone;
use policies::{GroupName, PrincipalId, Roster, Shift, Timestamp, Ttl};
use reqwest::StatusCode;
use serde::Deserialize;
use serde_json::json;
use thiserror::Error;
use tokio_util::sync::CancellationToken;

use crate::access::reconsider;
use crate::model::audit_kind::AuditKind;
use crate::model::context::Heard;
use crate::model::error::ControlError;
use crate::model::event::{By, Event};
use crate::model::inventory::Inventory;
use crate::model::on_call::{Place, RosterSource};
use crate::platform::http_client::{Http, HttpError, get};
use crate::platform::sanitize::clip;
use crate::sources::{Sources, icalendar};
use crate::store::learned;
use crate::store::learned::Kind;

/// How often it is looked whether a source's turn has come.
const EVERY: Ttl = Ttl::from_secs(1);
/// The longest file that is read.
const LONGEST: u64 = 512 << 10;
/// How far turns are read ahead, and back.
const AHEAD: Ttl = Ttl::from_secs(35 * 86_400);
const BACK: Ttl = Ttl::from_secs(2 * 86_400);

/// Why a source has said nothing that can be used.
#[derive(Debug, Error)]
pub(crate) enum Silence {
    #[error("the file can't be read")]
    File(#[source] std::io::Error),
    #[error("the file is longer than {} KiB", LONGEST >> 10)]
    Long,
    #[error(transparent)]
    Web(#[from] HttpError),
    #[error("it is neither an iCalendar feed nor the JSON of a roster: {0}")]
    Strange(String),
    #[error("reading it failed")]
    Broke(#[source] tokio::task::JoinError),
}

/// Which sources are to be asked when, and which are silent.
#[derive(Debug, Default)]
pub(crate) struct Followed {
    next: BTreeMap<GroupName, Timestamp>,
    silent: BTreeSet<GroupName>,
}

/// `{"shifts": [{"who", "from", "until"}]}`, or `{"on_call": ["alice"]}` for now.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
enum Said {
    Shifts(Vec<Turn>),
    OnCall(Vec<String>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Turn {
    who: String,
    from: String,
    until: String,
}

impl Turn {
    fn read(self) -> Result<(Vec<String>, Timestamp, Timestamp), Silence> {
        let instant = |text: &str| {
            let at = text.parse::<jiff::Timestamp>();
            let at = at.map_err(|error| Silence::Strange(error.to_string()))?;
            Ok::<_, Silence>(Timestamp::from_millis(at.as_millisecond()))
        };
        let (from, until) = (instant(&self.from)?, instant(&self.until)?);
        Ok((vec![self.who], from, until))
    }
}

impl Place {
    /// All that it says.
    async fn read(&self, http: &Http) -> Result<String, Silence> {
        let bytes = match self {
            Self::File(path) => read_file(path.clone()).await?,
            Self::Web { url, bearer } => {
                let answer = http.send(get(url, bearer.as_ref())).await?;
                if answer.status != StatusCode::OK {
                    return Err(HttpError::Status(answer.status).into());
                }
                answer.body
            }
        };
        String::from_utf8(bytes).map_err(|error| Silence::Strange(error.to_string()))
    }
}

async fn read_file(path: PathBuf) -> Result<Vec<u8>, Silence> {
    let read = tokio::task::spawn_blocking(move || {
        let size = std::fs::metadata(&path).map_err(Silence::File)?.len();
        if size > LONGEST {
            return Err(Silence::Long);
        }
        std::fs::read(&path).map_err(Silence::File)
    });
    read.await.map_err(|error| Silence::File(std::io::Error::other(error)))?
}

/// What a source has said, as turns of people.
#[derive(Debug, Default)]
pub(crate) struct Understood {
    pub(crate) roster: Roster,
    /// How much of it can't be understood, and why, of the first.
    pub(crate) unread: usize,
    pub(crate) reasons: Vec<String>,
}

impl RosterSource {
    /// Reads on a thread of its own: much text takes a while, and whatever goes wrong ends there.
    async fn read_apart(
        &self,
        text: String,
        zone: TimeZone,
        now: Timestamp,
    ) -> Result<Understood, Silence> {
        let source = self.clone();
        let read = tokio::task::spawn_blocking(move || source.understand(&text, &zone, now));
        read.await.map_err(Silence::Broke)?
    }

    fn understand(
        &self,
        text: &str,
        zone: &TimeZone,
        now: Timestamp,
    ) -> Result<Understood, Silence> {
        let back = Timestamp::from_millis(now.millis().saturating_sub(BACK.millis()));
        if text.trim_start().starts_with('{') {
            let said: Said =
                serde_json::from_str(text).map_err(|error| Silence::Strange(error.to_string()))?;
            let turns = match said {
                Said::Shifts(turns) => {
                    turns.into_iter().map(Turn::read).collect::<Result<_, _>>()?
                }
                // Who is on call now is so until the source's word holds no longer.
                Said::OnCall(names) => vec![(names, now, now.after(self.keep))],
            };
            return Ok(self.shifts(turns.into_iter()));
        }
        let span = (back, now.after(AHEAD));
        let feed = icalendar::read(text.trim_start_matches('\u{feff}'), zone, span);
        let feed = feed.map_err(|fault| Silence::Strange(fault.to_owned()))?;
        let turns = feed.turns.into_iter().map(|turn| (turn.names, turn.from, turn.until));
        let understood = self.shifts(turns);
        let unread = understood.unread + feed.unread;
        Ok(Understood { unread, reasons: feed.reasons, ..understood })
    }

    fn shifts(
        &self,
        turns: impl Iterator<Item = (Vec<String>, Timestamp, Timestamp)>,
    ) -> Understood {
        let (mut shifts, mut unread) = (Vec::new(), 0);
        for (names, from, until) in turns {
            let known = names.iter().filter_map(|name| self.person(name)).collect::<Vec<_>>();
            unread += usize::from(known.is_empty());
            shifts.extend(known.into_iter().map(|who| Shift { who, from, until }));
        }
        Understood { roster: shifts.into_iter().collect(), unread, reasons: Vec::new() }
    }

    fn person(&self, name: &str) -> Option<PrincipalId> {
        self.people.get(name).cloned().or_else(|| PrincipalId::new(name).ok())
    }
}

impl Sources {
    /// Follows all sources until `stop`.
    pub(crate) async fn keep_following(&self, stop: CancellationToken) {
        let mut followed = Followed::default();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.follow_rosters(&mut followed) => {}
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(EVERY.duration()) => {}
            }
        }
    }

    /// Asks those sources whose turn it is.
    pub(crate) async fn follow_rosters(&self, followed: &mut Followed) {
        let inventory = self.kernel.inventory();
        let now = self.kernel.now();
        for (name, source) in inventory.context.rosters.iter() {
            if followed.next.get(name).is_some_and(|next| now < *next) {
                continue;
            }
            followed.next.insert(name.clone(), now.after(source.refresh));
            let heard = self.hear(&inventory, name, source, followed).await;
            if let Err(error) = heard {
                tracing::error!(error = &error as &dyn std::error::Error, %name, "a roster failed");
            }
        }
        followed.next.retain(|name, _| inventory.context.rosters.contains_key(name));
    }

    async fn hear(
        &self,
        inventory: &Inventory,
        name: &GroupName,
        source: &RosterSource,
        followed: &mut Followed,
    ) -> Result<(), ControlError> {
        let text = source.from.read(self.kernel.http()).await;
        let zone = inventory.context.calendar.zone().clone();
        let read = match text {
            Ok(text) => source.read_apart(text, zone, self.kernel.now()).await,
            Err(silence) => Err(silence),
        };
        match read {
            Ok(understood) => {
                let back = followed.silent.remove(name);
                self.learn_roster(name.clone(), understood, back).await
            }
            Err(silence) => {
                self.kernel.counts().source_failures.with_label_values(&["roster"]).inc();
                tracing::warn!(error = &silence as &dyn std::error::Error, %name, "a roster is silent");
                if followed.silent.insert(name.clone()) {
                    self.access
                        .fell_silent(AuditKind::RosterSilent, name.as_str(), &silence.to_string())
                        .await?;
                }
                Ok(())
            }
        }
    }

    /// Takes in what a source has said, and decides again where that is news.
    pub(crate) async fn learn_roster(
        &self,
        name: GroupName,
        understood: Understood,
        back: bool,
    ) -> Result<(), ControlError> {
        let Understood { roster, unread, reasons } = understood;
        let sources = self.clone();
        self.kernel
            .to_the_end(async move {
                let mut tx = sources.kernel.begin().await?;
                let mut next = (*tx.inventory).clone();
                // A reload may have taken the roster away meanwhile.
                let Some(source) = next.context.rosters.get(&name) else { return Ok(()) };
                let (now, keep) = (tx.now, source.keep);
                let before = next.context.learned.rosters.get(&name);
                let same = before.is_some_and(|it| it.roster == roster && now < it.at.after(keep));
                learned::put(tx.db(), Kind::Roster, name.as_str(), &roster, now).await?;
                if !same || back {
                    let on_call = roster.on_call(now);
                    let reasons: Vec<String> = reasons.iter().map(|why| clip(why, 200)).collect();
                    let detail = json!({ "on_call": on_call, "unread": unread, "why": reasons });
                    let event = Event::new(By::Control, AuditKind::RosterLearned, &name, detail);
                    tx.record(event).await?;
                }
                next.context.learned.rosters.insert(name, Heard { roster, at: now });
                if same {
                    tx.know(std::sync::Arc::new(next));
                } else {
                    reconsider::decide_again(&mut tx, next, "a roster").await?;
                }
                tx.commit().await.map(drop)
            })
            .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source() -> RosterSource {
        let alice = PrincipalId::new("alice").unwrap();
        RosterSource {
            from: Place::File(PathBuf::new()),
            people: BTreeMap::from([("alice@example.com".to_owned(), alice)]),
            refresh: Ttl::from_secs(60),
            keep: Ttl::from_secs(900),
        }
    }

    fn on_call(text: &str) -> Result<Vec<String>, Silence> {
        let now = Timestamp::from_millis(1_800_000_000_000);
        let understood = source().understand(text, &TimeZone::UTC, now)?;
        Ok(understood.roster.on_call(now).into_iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_roster_is_read_from_json_or_a_calendar() {
        for text in [
            r#"{"on_call": ["alice@example.com", "bob"]}"#,
            r#"{"shifts": [{"who": "alice", "from": "2027-01-15T00:00:00Z", "until": "2027-01-16T00:00:00Z"},
                {"who": "bob", "from": "2027-01-15T08:00:00Z", "until": "2027-01-15T09:00:00Z"},
                {"who": "carol", "from": "2027-01-15T09:00:00Z", "until": "2027-01-15T10:00:00Z"}]}"#,
            "BEGIN:VCALENDAR\nBEGIN:VEVENT\nATTENDEE:mailto:alice@example.com\nATTENDEE:bob\n\
             DTSTART:20270115T000000Z\nDTEND:20270116T000000Z\nEND:VEVENT\nEND:VCALENDAR\n",
        ] {
            assert_eq!(on_call(text).unwrap(), ["alice", "bob"], "{text}");
        }
    }

    #[test]
    fn what_is_no_roster_puts_nobody_on_call() {
        for text in
            ["", "[]", "{}", "<html>", r#"{"on_call": "alice"}"#, r#"{"on_call": [], "x": 1}"#]
        {
            assert!(on_call(text).is_err(), "{text}");
        }
    }
}
