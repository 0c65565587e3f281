//! Bringing the register of sessions up to what the recordings prove.
//!
//! A process that is killed tells nobody how its sessions ended, and one whose store can't write tells
//! nobody that they began. Their recordings say both. At each start the names of recordings that were
//! changed since the last start are compared with the register. Those without a row, or whose row has
//! no end or no head, are read in the background, one after the other.
//!
//! A recording counts only where its chain holds and it names the session and principal that the
//! register has. Of a broken one nothing is taken over: the audit log says that it is broken. Every
//! correction is an event of its own.

use std::fs::{File, OpenOptions};
use std::io::{BufReader, ErrorKind};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::{fs, io};

use ::audit::{Start, Summary, Tail};
use policies::{Authn, Resource, SessionId, Timestamp, Ttl};
use serde_json::json;

use crate::evidence::Evidence;
use crate::evidence::sessions::{ID_MAX, TEXT_MAX};
use crate::kernel::state::Transaction;
use crate::model::audit_kind::AuditKind;
use crate::model::error::{ControlError, InternalError};
use crate::model::event::{By, Event};
use crate::model::view::{SessionEnd, SessionView};
use crate::platform::sanitize::clip;
use crate::store::sessions as rows;
use crate::store::sessions::Stored;

/// How a session ended of which no end was reported.
pub(crate) const UNKNOWN: &str = "unknown";
/// Files that were changed so long before the last comparison are looked at again, in seconds.
const SLACK: i64 = 24 * 3_600;
/// How many names are compared at once.
const CHUNK: usize = 256;

/// Recordings that have to be read, and until when all were compared once they are.
#[derive(Debug, Default)]
pub(crate) struct Doubtful {
    sessions: Vec<SessionId>,
    until: Option<i64>,
}

impl Evidence {
    /// Finds the recordings that prove more than the register has. To be called before any session of
    /// this run begins: what is written later is not looked at.
    pub(crate) async fn doubtful_recordings(&self) -> Result<Doubtful, ControlError> {
        let folder = self.kernel.settings().recordings.clone();
        let since = rows::reconciled_until(&mut *self.kernel.store().read().await?).await?;
        let listed = tokio::task::spawn_blocking(move || changed_since(&folder, since));
        let (names, until) = match listed.await.map_err(|_| InternalError::Broken)? {
            Ok(listed) => listed,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Doubtful::default()),
            Err(error) => {
                tracing::error!(%error, "the recordings can't be compared with the register");
                return Ok(Doubtful::default());
            }
        };
        let db = &mut *self.kernel.store().read().await?;
        let mut sessions = Vec::new();
        for names in names.chunks(CHUNK) {
            sessions.extend(rows::doubtful(db, names).await?);
        }
        Ok(Doubtful { sessions, until })
    }

    /// Reads them, and corrects the register.
    pub(crate) async fn reconcile(self, doubtful: Doubtful) -> Result<(), ControlError> {
        let Doubtful { sessions, until } = doubtful;
        if !sessions.is_empty() {
            tracing::info!(
                recordings = sessions.len(),
                "recordings are compared with the register"
            );
        }
        for session in sessions {
            if self.kernel.closing().is_cancelled() {
                return Ok(());
            }
            let path = self.kernel.settings().recording(&session);
            let id = session.clone();
            let reading = tokio::task::spawn_blocking(move || read(&path, &id));
            match reading.await.map_err(|_| InternalError::Broken)? {
                Ok(summary) => self.compare(&session, summary).await?,
                // Moved away meanwhile.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => {
                    tracing::error!(%session, %error, "a recording can't be read");
                    return Ok(());
                }
            }
        }
        if let Some(until) = until {
            let evidence = self.clone();
            let noting = async move {
                let mut tx = evidence.kernel.begin().await?;
                rows::reconciled(tx.db(), until).await?;
                tx.commit().await.map(drop)
            };
            self.kernel.to_the_end(noting).await?;
        }
        Ok(())
    }

    async fn compare(&self, session: &SessionId, summary: Summary) -> Result<(), ControlError> {
        let evidence = self.clone();
        let session = session.clone();
        self.kernel
            .to_the_end(async move {
                let mut tx = evidence.kernel.begin().await?;
                compare(&mut tx, &session, &summary).await?;
                tx.commit().await.map(drop)
            })
            .await
    }
}

async fn compare(
    tx: &mut Transaction,
    id: &SessionId,
    summary: &Summary,
) -> Result<(), ControlError> {
    let kept = rows::kept(tx.db(), id).await?;
    let proof = match Proof::of(id, summary) {
        Ok(proof) => proof,
        Err(why) => return broken(tx, id, kept, &why).await,
    };
    let Some(kept) = kept else {
        rows::insert(tx.db(), &proof.session).await?;
        rows::correct(tx.db(), id, &proof.end).await?;
        return corrected(tx, &proof, true).await;
    };
    if kept.session.principal != proof.session.principal {
        let why = format!("it names the principal `{}`", proof.session.principal);
        return broken(tx, id, Some(kept), &why).await;
    }
    let end = match kept.session.ended {
        Some(reported) if !kept.assumed => SessionEnd {
            statements: reported.statements.max(proof.end.statements),
            head: proof.end.head.clone(),
            ..reported
        },
        Some(_) | None => proof.end.clone(),
    };
    rows::correct(tx.db(), id, &end).await?;
    corrected(tx, &Proof { end, ..proof }, false).await
}

/// Says what the register has now.
async fn corrected(
    tx: &mut Transaction,
    proof: &Proof,
    was_missing: bool,
) -> Result<(), ControlError> {
    let Proof { session, end, state } = proof;
    let detail = json!({
        "was_missing": was_missing, "recording": state, "principal": session.principal,
        "grant": session.grant, "resource": session.resource.to_string(),
        "opened_at": session.opened_at.to_string(), "proxy": session.proxy, "end": end.end,
        "detail": end.detail, "ended_at": end.at.to_string(), "statements": end.statements,
        "head": end.head,
    });
    tx.record(Event::new(By::Control, AuditKind::SessionReconciled, &session.id, detail)).await
}

/// Says once that a recording proves nothing.
async fn broken(
    tx: &mut Transaction,
    id: &SessionId,
    kept: Option<Stored>,
    why: &str,
) -> Result<(), ControlError> {
    tracing::error!(session = %id, why, "a recording can't be trusted");
    let now = tx.now;
    if !rows::is_new(tx.db(), &format!("recording.broken {id} {why}"), now).await? {
        return Ok(());
    }
    let assumed = kept.filter(|kept| kept.assumed).and_then(|kept| kept.session.ended);
    if let Some(end) = assumed {
        let detail = format!("{}; its recording proves nothing: {why}", end.detail);
        rows::correct(tx.db(), id, &SessionEnd { detail, ..end }).await?;
    }
    let detail = json!({ "why": why });
    tx.record(Event::new(By::Control, AuditKind::RecordingBroken, id, detail)).await
}

/// What a recording proves.
#[derive(Debug, Clone)]
struct Proof {
    session: SessionView,
    end: SessionEnd,
    /// What the file is: sealed, open or torn.
    state: &'static str,
}

impl Proof {
    fn of(id: &SessionId, summary: &Summary) -> Result<Self, String> {
        let state = match summary.tail {
            Tail::Sealed => "sealed",
            Tail::Open => "open",
            Tail::Torn { .. } => "torn",
            Tail::Broken { offset } => {
                return Err(format!("its chain is broken in the frame at byte {offset}"));
            }
        };
        let start = summary.start.as_ref().ok_or("it has no whole frame")?;
        let session = session(id, start).map_err(|why| format!("its first frame {why}"))?;
        let end = end(session.opened_at, summary);
        Ok(Self { session, end, state })
    }
}

fn session(id: &SessionId, start: &Start<'_>) -> Result<SessionView, String> {
    fn parsed<T: std::str::FromStr>(what: &str, text: &str) -> Result<T, String> {
        text.parse().map_err(|_| format!("has no readable {what}"))
    }
    let database = Some(&*start.database).filter(|name| !name.is_empty());
    let resource = Resource {
        target: parsed("target", &start.target)?,
        login: parsed("login", &start.login)?,
        database: database.map(|name| parsed("database", name)).transpose()?,
    };
    let method = serde_json::from_value(json!(start.authn));
    Ok(SessionView {
        id: id.clone(),
        grant: parsed("grant", &start.grant)?,
        principal: parsed("principal", &start.principal)?,
        name: clip(&start.name, TEXT_MAX),
        authn: Authn {
            method: method.map_err(|_| "has no readable authentication".to_owned())?,
            at: parsed("time of authentication", &start.authn_at)?,
            // The recording doesn't have it.
            evidence: String::new(),
            device: None,
        },
        resource,
        client: clip(&start.client, TEXT_MAX),
        application: clip(&start.application, TEXT_MAX),
        proxy: clip(&start.proxy, ID_MAX),
        opened_at: parsed("time", &start.at)?,
        ended: None,
    })
}

fn end(opened_at: Timestamp, summary: &Summary) -> SessionEnd {
    let last = opened_at.after(Ttl::from_millis(summary.last_micros / 1_000));
    let head = summary.head.map(|head| head.to_string()).unwrap_or_default();
    let statements = summary.statements;
    let Some(end) = &summary.end else {
        let detail = match summary.tail {
            Tail::Torn { offset, bytes } => format!(
                "the gateway stopped; the last {bytes} bytes of the recording, from byte {offset}, are an \
                 incomplete frame"
            ),
            Tail::Sealed | Tail::Open | Tail::Broken { .. } => "the gateway stopped".to_owned(),
        };
        let (bytes_in, bytes_out) = (0, 0);
        let end = UNKNOWN.to_owned();
        return SessionEnd { at: last, end, detail, bytes_in, bytes_out, statements, head };
    };
    SessionEnd {
        at: end.at.parse().unwrap_or(last),
        end: clip(&end.end, ID_MAX),
        detail: clip(&end.reason, TEXT_MAX),
        bytes_in: end.bytes_in,
        bytes_out: end.bytes_out,
        statements,
        head,
    }
}

fn read(path: &Path, session: &SessionId) -> io::Result<Summary> {
    // What is no plain file is not opened: that could block.
    if !fs::symlink_metadata(path)?.is_file() {
        return Err(ErrorKind::NotFound.into());
    }
    Summary::read(BufReader::new(File::open(path)?), session.as_str())
}

/// The sessions whose recordings were changed since then, and what time it was by the clock of the file
/// system before they were listed.
fn changed_since(folder: &Path, since: Option<i64>) -> io::Result<(Vec<SessionId>, Option<i64>)> {
    let now = clock_of(folder);
    let since = look_from(since, now);
    let mut sessions = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let session = name.to_str().and_then(|name| name.strip_suffix(".rec")?.parse().ok());
        if let Some(session) = session
            && let Ok(metadata) = entry.metadata()
            && metadata.ctime() >= since
        {
            sessions.push(session);
        }
    }
    Ok((sessions, now))
}

/// From which change on files are looked at. A clock that went back makes the last comparison count for
/// nothing.
fn look_from(since: Option<i64>, now: Option<i64>) -> i64 {
    let since = since.filter(|since| now.is_none_or(|now| *since <= now));
    since.map_or(i64::MIN, |since| since.saturating_sub(SLACK))
}

/// The time by the clock of this file system, in seconds, where a file can be made there.
fn clock_of(folder: &Path) -> Option<i64> {
    let path = folder.join(".clock");
    let mut options = OpenOptions::new();
    let made = options.write(true).create(true).truncate(true).mode(0o600).open(&path);
    let changed = made.and_then(|file| {
        file.set_len(1)?;
        file.metadata().map(|metadata| metadata.ctime())
    });
    // What stays behind does no harm.
    let _ = fs::remove_file(&path);
    changed.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_looked_at_that_changed_since_the_last_comparison() {
        let now = 100 * SLACK;
        for (since, now, from) in [
            (None, Some(now), i64::MIN),
            (Some(now), Some(now), now - SLACK),
            (Some(now), None, now - SLACK),
            (Some(now + 1), Some(now), i64::MIN),
        ] {
            assert_eq!(look_from(since, now), from);
        }
    }
}
