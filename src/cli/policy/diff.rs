//! `postern policy diff`: who gains and who loses between two sets of rules.

use std::path::PathBuf;

use clap::Args;
use policies::{PrincipalId, TargetName};
use serde_json::json;

use super::{ContextArgs, count, now};
use crate::cli::{Failure, Shape, show};
use crate::policy::Folder;
use crate::policy::differ::{Comparison, Difference, Focus, differ};
use crate::terminal::plain_lines;

/// Show who gains, who loses and whose terms change between two folders of rules
///
/// Everybody of the configuration is asked about every login of every target, in and outside working
/// hours, on call and in an emergency. Exit codes: 0 where nothing differs, 1 where something does, 2 where
/// something can't be read.
#[derive(Debug, Args)]
pub(super) struct Diff {
    /// The rules as they were
    #[arg(value_name = "OLD")]
    old: PathBuf,
    /// The rules as they are to be
    #[arg(value_name = "NEW")]
    new: PathBuf,
    /// Only these people
    #[arg(long, value_name = "PRINCIPAL")]
    who: Vec<PrincipalId>,
    /// Only these targets
    #[arg(long, value_name = "TARGET")]
    target: Vec<TargetName>,
    #[command(flatten)]
    context: ContextArgs,
    #[command(flatten)]
    shape: Shape,
}

impl Diff {
    pub(super) fn run(self) -> Result<(), Failure> {
        let (old, _) = self.context.rules(Some(&self.old))?;
        let (new, mut context) = self.context.rules(Some(&self.new))?;
        if context.file.is_none() {
            context = self.context.load(Some(&old.path))?;
        }
        if context.file.is_none() {
            let message = "there is nobody to compare for: name the configuration by `--config`";
            return Err(Failure::Usage(message.into()));
        }
        let (who, targets) = (self.who.iter().cloned(), self.target.iter().cloned());
        let focus = Focus { who: who.collect(), targets: targets.collect() };
        let found = compare(&old, &new, &context, &focus)?;
        show(self.shape, &json!(found), || Ok(plain_lines(&summary(&found))))?;
        if found.differences.is_empty() {
            return Ok(());
        }
        Err(Failure::Failed(count(found.differences.len(), "difference")))
    }
}

fn compare(
    old: &Folder,
    new: &Folder,
    context: &crate::policy::PolicyContext,
    focus: &Focus,
) -> Result<Comparison, Failure> {
    let compared = differ(&old.book, &new.book, context, focus, now());
    compared.map_err(|error| Failure::Usage(error.to_string()))
}

fn summary(found: &Comparison) -> String {
    let mut text: String = found.differences.iter().map(difference).collect();
    let asked = count(found.asked, "question");
    if text.is_empty() {
        text.push_str(&format!("nothing differs, in {asked}\n"));
    }
    text
}

fn difference(found: &Difference) -> String {
    let Difference { effect, resource, situations, before, after, people } = found;
    let people: Vec<&str> = people.iter().map(PrincipalId::as_str).collect();
    let when = match situations.join("; ") {
        all if all.is_empty() => String::new(),
        some => format!("  ({some})"),
    };
    format!(
        "{:<8}{resource}  {}{when}\n    - {before}\n    + {after}\n",
        effect.word(),
        people.join(", "),
    )
}
