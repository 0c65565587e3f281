//! A connection that waits for people, as a dialogue in which there is nothing to type.
//!
//! Each step of keyboard-interactive authentication shows a text and asks for nothing, so that a client
//! answers at once; the answer to its answer comes when something has happened. A waiting connection
//! has no channels, and if the client leaves or sends anything, its code is no longer valid.

use policies::Resource;
use tokio_util::sync::DropGuard;

use crate::core::admission::{AdmissionError, Admitted, Attempt, Progress};
use crate::core::identity::Identity;
use crate::ssh::auth::Destination;
use crate::ssh::connection::Connection;
use crate::ssh::refuse::Refusal;

/// A client that waits.
#[derive(Debug)]
pub(in crate::ssh) struct Dialogue {
    user: String,
    destination: Destination,
    attempt: Attempt,
    /// Whether the next event is the first one since control was asked.
    begins: bool,
    /// Ends the connection with its wait, however that ends.
    until_over: Option<DropGuard>,
    /// Why the wait failed, once the client has read it.
    failed: Option<Refusal>,
}

/// What comes next.
pub(in crate::ssh) enum Turn {
    /// The client is shown this.
    Show(String),
    Admitted(Box<Admitted>),
    Refused(Refusal),
    /// The client has left.
    Left,
}

impl Dialogue {
    pub(in crate::ssh) fn new(user: &str, destination: Destination, attempt: Attempt) -> Self {
        let user = user.to_owned();
        Self { user, destination, attempt, begins: true, until_over: None, failed: None }
    }

    /// Whether this is the dialogue of that user name: another name asks for something else.
    pub(in crate::ssh) fn is_of(&self, user: &str) -> bool {
        self.user == user
    }

    pub(in crate::ssh) fn identity(&self) -> Option<&Identity> {
        self.attempt.identity()
    }

    pub(in crate::ssh) fn resource(&self) -> &Resource {
        &self.destination.resource
    }

    pub(in crate::ssh) fn into_destination(self) -> Destination {
        self.destination
    }

    /// Waits for the next event. Stock clients don't show what comes with a refusal where it was the last
    /// method: so it is shown before.
    pub(in crate::ssh) async fn turn(&mut self, connection: &Connection) -> Turn {
        if let Some(refusal) = self.failed.take() {
            return Turn::Refused(refusal);
        }
        loop {
            match self.step(connection).await {
                Ok(Progress::MustWait) => self.begins = true,
                Ok(Progress::Event(event)) => {
                    let mut lines = self.attempt.describe(&event);
                    if std::mem::take(&mut self.begins) {
                        lines.insert(0, self.attempt.headline(&event));
                    }
                    return Turn::Show(lines.iter().map(|line| shown(line)).collect());
                }
                Ok(Progress::Admitted(admitted)) => {
                    let _ = self.until_over.take().map(DropGuard::disarm);
                    return Turn::Admitted(admitted);
                }
                Ok(Progress::Left) => return Turn::Left,
                Ok(Progress::Refused(error)) | Err(error) => return self.fail(&error),
            }
        }
    }

    async fn step(&mut self, connection: &Connection) -> Result<Progress, AdmissionError> {
        if self.begins {
            self.attempt.ask().await?;
            if self.until_over.is_none() {
                self.until_over = Some(connection.over.clone().drop_guard());
            }
        }
        Ok(self.attempt.wait(connection.leaving.left()).await)
    }

    fn fail(&mut self, error: &AdmissionError) -> Turn {
        self.until_over = None;
        let refusal = Refusal::admission(error, self.resource());
        let text = shown(&refusal.message);
        self.failed = Some(refusal);
        Turn::Show(text)
    }
}

fn shown(line: &str) -> String {
    format!("postern: {line}\r\n")
}
