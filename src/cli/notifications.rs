//! For admins: `notifications`: the messages to people, which of them failed, and a test of each channel.

use clap::{Args, Subcommand};
use control::WebhookSecret;
use secrecy::ExposeSecret;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Failure, Shape, client, read, read_all, show};
use crate::terminal::{self, moment, plain};

/// List messages to people, newest first, and send again what nobody took
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Notifications {
    #[command(subcommand)]
    command: Option<Command>,
    /// Only those that are waiting, sent or dead
    #[arg(long, value_parser = ["waiting", "sent", "dead"])]
    state: Option<String>,
    /// How many at most
    #[arg(long, default_value_t = 50)]
    limit: usize,
    #[command(flatten)]
    shape: Shape,
}

#[derive(Debug, Subcommand)]
enum Command {
    Retry(Retry),
    Replay(Replay),
    Channels(Channels),
    Test(Named),
    On(On),
    /// Print a fresh secret for a webhook
    Secret,
}

/// Send a message again that is dead or waits
#[derive(Debug, Args)]
struct Retry {
    /// The message
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    id: Option<String>,
    /// All that are dead
    #[arg(long)]
    all: bool,
}

/// Send a message once more, under its old id
#[derive(Debug, Args)]
struct Replay {
    /// The message
    id: String,
}

/// List the channels that messages go out by
#[derive(Debug, Args)]
struct Channels {
    #[command(flatten)]
    shape: Shape,
}

/// Send a test by a channel, at once
#[derive(Debug, Args)]
struct Named {
    /// The channel
    name: String,
}

/// Switch a channel on again whose receiver had said that it is gone
#[derive(Debug, Args)]
struct On {
    /// The channel
    name: String,
}

#[derive(Deserialize)]
struct Message {
    id: String,
    channel: String,
    recipient: Option<String>,
    #[serde(rename = "type")]
    topic: String,
    about: String,
    written_at: String,
    state: String,
    tries: u32,
    fault: Option<String>,
}

impl Notifications {
    pub(super) async fn run(self) -> Result<(), Failure> {
        match self.command {
            Some(command) => command.run().await,
            None => self.list().await,
        }
    }

    async fn list(&self) -> Result<(), Failure> {
        let state = self.state.as_deref().map(|state| ("state", state));
        let query: Vec<(&str, &str)> = state.into_iter().collect();
        let messages = client()?.list(&["notifications"], &query, self.limit).await?;
        show(self.shape, &Value::from(messages.clone()), || {
            let messages: Vec<Message> = read_all(&messages)?;
            if messages.is_empty() {
                return Ok("no messages\n".into());
            }
            let rows: Vec<_> = messages.iter().map(Message::row).collect();
            let head =
                ["message", "when", "what", "about", "by", "to", "state", "tries", "because"];
            Ok(terminal::table(&head, &rows))
        })
    }
}

impl Message {
    fn row(&self) -> Vec<String> {
        vec![
            self.id.clone(),
            moment(&self.written_at),
            self.topic.clone(),
            self.about.clone(),
            self.channel.clone(),
            self.recipient.clone().unwrap_or_default(),
            self.state.clone(),
            self.tries.to_string(),
            self.fault.clone().unwrap_or_default(),
        ]
    }
}

impl Command {
    async fn run(self) -> Result<(), Failure> {
        match self {
            Self::Retry(Retry { id: Some(id), .. }) => {
                act(&["notifications", &id, "retry"], &id).await
            }
            Self::Retry(Retry { id: None, .. }) => retry_all().await,
            Self::Replay(Replay { id }) => act(&["notifications", &id, "replay"], &id).await,
            Self::Channels(channels) => channels.run().await,
            Self::Test(Named { name }) => {
                client()?.post(&["channels", &name, "test"], &json!({}), None).await?;
                Ok(terminal::print(&format!("{} took the test\n", plain(&name)))?)
            }
            Self::On(On { name }) => {
                client()?.post(&["channels", &name, "on"], &json!({}), None).await?;
                Ok(terminal::print(&format!("{} is on\n", plain(&name)))?)
            }
            Self::Secret => {
                let secret = WebhookSecret::fresh();
                Ok(terminal::print(&format!("{}\n", secret.expose_secret()))?)
            }
        }
    }
}

async fn act(path: &[&str], id: &str) -> Result<(), Failure> {
    client()?.post(path, &json!({}), None).await?;
    Ok(terminal::print(&format!("{} is sent again\n", plain(id)))?)
}

async fn retry_all() -> Result<(), Failure> {
    #[derive(Deserialize)]
    struct Again {
        count: u64,
    }
    let answer = client()?.post(&["notifications", "retry"], &json!({}), None).await?;
    let again: Again = read(&answer)?;
    Ok(terminal::print(&format!("{} are sent again\n", again.count))?)
}

#[derive(Deserialize)]
struct Channel {
    name: String,
    kind: String,
    place: String,
    events: Vec<String>,
    off_since: Option<String>,
}

impl Channels {
    async fn run(self) -> Result<(), Failure> {
        let answer = client()?.get(&["channels"], &[]).await?;
        show(self.shape, &answer, || {
            let channels: Vec<Channel> = read(&answer)?;
            if channels.is_empty() {
                return Ok("there are none: write [notify.NAME] into the configuration\n".into());
            }
            let rows: Vec<_> = channels.iter().map(Channel::row).collect();
            Ok(terminal::table(&["channel", "by", "to", "tells", "state"], &rows))
        })
    }
}

impl Channel {
    fn row(&self) -> Vec<String> {
        let off = self.off_since.as_deref();
        vec![
            self.name.clone(),
            self.kind.clone(),
            self.place.clone(),
            self.events.join(" "),
            off.map_or_else(|| "on".into(), |since| format!("off since {}", moment(since))),
        ]
    }
}
