//! Setting up and running a gateway: `up`, `demo`, `config check`, `doctor`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use policies::PrincipalId;
use serde_json::json;

use super::{Failure, Shape, show};
use crate::config::{self, DEFAULT_PATH, Fault, LogFormat};
use crate::demo;
use crate::doctor::{self, Level};
use crate::hardening::keep_memory_private;
use crate::terminal::{self, Paint, plain_lines};
use crate::up;

/// Run a gateway: control and proxy in one process
///
/// SIGHUP reloads the configuration and the rules as a whole, or not at all. SIGTERM or Ctrl-C drains;
/// a second one ends the process at once.
#[derive(Debug, Args)]
pub(super) struct Up {
    #[command(flatten)]
    place: ConfigFile,
    /// How log lines look; without, as the configuration says
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<Format>,
    /// Print a one-time sign-in link for this person at the start
    #[arg(long, value_name = "PRINCIPAL")]
    invite: Vec<PrincipalId>,
    /// Remove this person's passkeys and sign-ins at the start, and print a link to register again:
    /// for who has lost every key, where nobody is left to agree to it at /recovery
    #[arg(long, value_name = "PRINCIPAL")]
    recover: Vec<PrincipalId>,
    /// Start although the store is older than what was here before, as after the restore of a backup:
    /// every grant, request and sign-in ends, and known locks hold
    #[arg(long)]
    accept_rollback: bool,
}

#[derive(Debug, Args)]
pub(super) struct ConfigFile {
    /// The configuration
    #[arg(long, value_name = "FILE", env = "POSTERN_CONFIG", default_value = DEFAULT_PATH)]
    pub(super) config: PathBuf,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    Text,
    Json,
}

/// Run a whole gateway here, with a real Postgres behind it and lines to paste
#[derive(Debug, Args)]
pub(super) struct Demo {
    /// Run each step with the real psql and ssh, check it, and end
    #[arg(long)]
    script: bool,
}

/// Look at a configuration
#[derive(Debug, Args)]
pub(super) struct ConfigArgs {
    #[command(subcommand)]
    command: ConfigCommand,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Check the configuration and everything that it names, and report all faults at once
    Check(Check),
}

#[derive(Debug, Args)]
struct Check {
    #[command(flatten)]
    place: ConfigFile,
    #[command(flatten)]
    shape: Shape,
}

/// Look for what is wrong with a set-up, down to a sign-in at each target
#[derive(Debug, Args)]
pub(super) struct Doctor {
    #[command(flatten)]
    place: ConfigFile,
    #[command(flatten)]
    shape: Shape,
}

impl From<Format> for LogFormat {
    fn from(format: Format) -> Self {
        match format {
            Format::Text => Self::Text,
            Format::Json => Self::Json,
        }
    }
}

impl Up {
    pub(super) async fn run(self) -> Result<(), Failure> {
        keep_memory_private();
        let config = up::read(&self.place.config, self.log_format.map(LogFormat::from))?;
        let (file, invite, recover) = (self.place.config, self.invite, self.recover);
        let start = up::Start { file, invite, recover, accept_rollback: self.accept_rollback };
        Ok(up::run(start, config).await?)
    }
}

impl Demo {
    pub(super) async fn run(self) -> Result<(), Failure> {
        keep_memory_private();
        if self.script { Ok(demo::script().await?) } else { Ok(demo::interactive().await?) }
    }
}

impl ConfigArgs {
    pub(super) fn run(self) -> Result<(), Failure> {
        let ConfigCommand::Check(check) = self.command;
        check.run()
    }
}

impl Check {
    fn run(self) -> Result<(), Failure> {
        match config::check(&self.place.config) {
            Ok(checked) => {
                let warnings = checked.config.warnings(&checked.inventory);
                self.report(&[], &warnings)
            }
            Err(faults) => {
                self.report(faults.all(), &[])?;
                let count = faults.all().len();
                let many = if count == 1 { "1 fault" } else { &format!("{count} faults") };
                let file = self.place.config.display();
                Err(Failure::Usage(format!("`{file}` can't be used: {many}")))
            }
        }
    }

    fn report(&self, faults: &[Fault], warnings: &[String]) -> Result<(), Failure> {
        let all = json!({ "faults": faults, "warnings": warnings });
        show(self.shape, &all, || {
            let faults = faults.iter().map(|fault| format!("{fault}\n\n"));
            let warnings = warnings.iter().map(|warning| format!("warning: {warning}\n"));
            let text: String = faults.chain(warnings).collect();
            let fine = format!("`{}` is fine\n", self.place.config.display());
            Ok(plain_lines(&if text.is_empty() { fine } else { text }))
        })
    }
}

impl Doctor {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let findings = doctor::examine(&self.place.config).await;
        let text = if self.shape.json {
            terminal::json(&json!(findings))
        } else {
            doctor::render(&findings, Paint::for_stdout().is_on())
        };
        terminal::print(&text)?;
        match doctor::worst(&findings) {
            Level::Ok | Level::Warning => Ok(()),
            Level::Fault => Err(Failure::Failed("something has to be mended".into())),
        }
    }
}
