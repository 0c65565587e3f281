//! For people who write rules: `policy check`, `test`, `explain`, `simulate`, `diff`.
//!
//! None of them needs a gateway, but for `simulate` without a file of events.

mod check;
mod diff;
mod explain;
mod simulate;
mod test;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use policies::Timestamp;

use super::Failure;
use crate::policy::{Folder, PolicyContext};

/// Write rules: check them, test them, and see what they mean
#[derive(Debug, Args)]
pub(super) struct Policy {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Check(check::Check),
    Test(test::Test),
    Explain(explain::Explain),
    Simulate(simulate::Simulate),
    Diff(diff::Diff),
}

/// Which configuration rules are read with.
#[derive(Debug, Args)]
struct ContextArgs {
    /// The configuration; without, `postern.toml` beside the rules or above them
    #[arg(long, value_name = "FILE", env = "POSTERN_CONFIG")]
    config: Option<PathBuf>,
}

impl Policy {
    pub(super) async fn run(self) -> Result<(), Failure> {
        match self.command {
            Command::Check(command) => command.run(),
            Command::Test(command) => command.run(),
            Command::Explain(command) => command.run().await,
            Command::Simulate(command) => command.run().await,
            Command::Diff(command) => command.run(),
        }
    }
}

impl ContextArgs {
    fn load(&self, beside: Option<&Path>) -> Result<PolicyContext, Failure> {
        Ok(PolicyContext::find(self.config.as_deref(), beside)?)
    }

    /// A folder of rules and their context: the one that is named, or the one of the configuration.
    fn rules(&self, folder: Option<&Path>) -> Result<(Folder, PolicyContext), Failure> {
        let context = self.load(folder)?;
        let place = folder.map(Path::to_owned).or_else(|| context.policies.clone());
        let place = place.ok_or_else(|| Failure::Usage("name the folder of the rules".into()))?;
        Ok((Folder::load(&place)?, context))
    }
}

/// Now, read once at the edge.
fn now() -> Timestamp {
    Timestamp::from_millis(jiff::Timestamp::now().as_millisecond())
}

/// `1 rule`, `2 rules`.
fn count(many: usize, what: &str) -> String {
    if many == 1 { format!("1 {what}") } else { format!("{many} {what}s") }
}
