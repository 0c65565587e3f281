//! `postern keys`: the SSH keys by which somebody is known without a certificate.

use std::io::Read;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Failure, Shape, client, read, read_all, show, sign};
use crate::client::{Client, Home};
use crate::terminal::{self, moment, plain};

/// The longest file that is read as a public key.
const LONGEST: u64 = 16 * 1024;

/// Register your own SSH keys, list them, and remove them
///
/// A registered key opens the gateway with plain `ssh`, without `postern login`. Security keys
/// (`ssh-keygen -t ed25519-sk`) are taken, too.
#[derive(Debug, Args)]
pub(super) struct Keys {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Register a public key; where you have a passkey, agree to it in the browser within the hour
    ///
    /// `ssh-keygen` signs with its private half, in your ssh-agent or beside the file, so that nobody
    /// registers a key of somebody else's.
    Add {
        /// A file such as ~/.ssh/id_ed25519.pub
        file: PathBuf,
        /// What to call it; without, the comment in the file or its name
        #[arg(long)]
        name: Option<String>,
        #[command(flatten)]
        shape: Shape,
    },
    /// List registered keys
    Ls {
        /// Everybody's; for admins and auditors
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        shape: Shape,
    },
    /// Remove a key for good, and cut what runs by it: yours, or as an admin anybody's
    Rm {
        /// Its name in the list, such as sk-…
        id: String,
        #[command(flatten)]
        shape: Shape,
    },
}

#[derive(Deserialize)]
struct Key {
    id: String,
    principal: String,
    name: String,
    kind: String,
    fingerprint: String,
    user_verified: Option<bool>,
    added_at: String,
    confirmed_at: Option<String>,
    used_at: Option<String>,
}

#[derive(Deserialize)]
struct Added {
    key: Key,
    confirm_at: Option<String>,
}

impl Keys {
    pub(super) async fn run(self) -> Result<(), Failure> {
        match self.what {
            What::Add { file, name, shape } => add(&file, name, shape).await,
            What::Ls { all, shape } => list(all, shape).await,
            What::Rm { id, shape } => {
                super::note_of(&client()?.delete(&["ssh-keys", &id]).await?);
                show(shape, &json!({ "removed": id }), || {
                    Ok(format!("{} is gone for good, and what ran by it is cut\n", plain(&id)))
                })
            }
        }
    }
}

async fn add(file: &Path, name: Option<String>, shape: Shape) -> Result<(), Failure> {
    let line = public_key(file)?;
    let name = name.unwrap_or_else(|| name_of(&line, file));
    let home = Home::find()?;
    let (client, gateway) = (Client::signed_in(&home)?, home.session()?.url);
    let offer = json!({ "public_key": line });
    let wanted = read(&client.post(&["ssh-keys", "challenge"], &offer, None).await?)?;
    let signature = sign::sign(&wanted, &gateway, file).await?;
    let body = json!({ "challenge": wanted.challenge, "signature": signature, "name": name });
    let answer = client.post(&["ssh-keys"], &body, None).await?;
    show(shape, &answer, || {
        let Added { key, confirm_at } = read(&answer)?;
        let (name, print) = (plain(&key.name), plain(&key.fingerprint));
        Ok(match confirm_at {
            None => format!("{name} ({print}) is yours from now on\n"),
            Some(page) => format!(
                "{name} ({print}) opens nothing yet: agree to it within the hour at {}\n",
                plain(&page)
            ),
        })
    })
}

async fn list(all: bool, shape: Shape) -> Result<(), Failure> {
    let scope = if all { "all" } else { "mine" };
    let answer = client()?.get(&["ssh-keys"], &[("scope", scope)]).await?;
    show(shape, &answer, || {
        let items = answer.get("items").and_then(Value::as_array).cloned().unwrap_or_default();
        let keys: Vec<Key> = read_all(&items)?;
        if keys.is_empty() {
            return Ok("no keys: `postern keys add ~/.ssh/id_ed25519.pub` registers one\n".into());
        }
        let rows: Vec<_> = keys.iter().map(Key::row).collect();
        let header = ["id", "who", "name", "kind", "fingerprint", "added", "used"];
        Ok(terminal::table(&header, &rows))
    })
}

/// The key in a file. A private one never leaves this machine.
fn public_key(file: &Path) -> Result<String, Failure> {
    let action = format!("read {}", file.display());
    let mut text = String::new();
    let opened = std::fs::File::open(file).map_err(Failure::io(action.clone()))?;
    opened.take(LONGEST).read_to_string(&mut text).map_err(Failure::io(action))?;
    if text.contains("PRIVATE KEY") {
        let message = format!(
            "{} holds a private key, which nobody else may see: name the file beside it that ends in .pub",
            file.display()
        );
        return Err(Failure::Usage(message));
    }
    Ok(text.trim().to_owned())
}

/// The comment of a key, or the name of its file.
fn name_of(line: &str, file: &Path) -> String {
    let comment = line.splitn(3, ' ').nth(2).map(str::trim).filter(|text| !text.is_empty());
    let stem = || file.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    let name = comment.map(ToOwned::to_owned).or_else(stem).unwrap_or_default();
    name.chars().take(64).collect()
}

impl Key {
    /// The kind, and what a security key checked when it was added.
    fn kind(&self) -> String {
        match self.user_verified {
            None => self.kind.clone(),
            Some(false) => format!("{}, touched", self.kind),
            Some(true) => format!("{}, touched and verified", self.kind),
        }
    }

    fn row(&self) -> Vec<String> {
        let used = match (&self.confirmed_at, &self.used_at) {
            (None, _) => "waits for you at /keys".to_owned(),
            (Some(_), None) => "never".to_owned(),
            (Some(_), Some(at)) => moment(at),
        };
        vec![
            self.id.clone(),
            self.principal.clone(),
            self.name.clone(),
            self.kind(),
            self.fingerprint.clone(),
            moment(&self.added_at),
            used,
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_called_by_its_comment_or_by_its_file() {
        let file = Path::new("/home/alice/.ssh/id_ed25519.pub");
        for (line, name) in [
            ("ssh-ed25519 AAAA alice at work", "alice at work"),
            ("ssh-ed25519 AAAA", "id_ed25519"),
            ("ssh-ed25519 AAAA  ", "id_ed25519"),
        ] {
            assert_eq!(name_of(line, file), name, "{line}");
        }
    }

    #[test]
    fn a_private_key_is_not_sent_anywhere() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("id_ed25519");
        std::fs::write(&file, "-----BEGIN OPENSSH PRIVATE KEY-----\n").unwrap();
        let refused = public_key(&file).unwrap_err();
        assert!(refused.to_string().contains("private key"), "{refused}");
    }
}
