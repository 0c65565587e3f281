//! `postern policy check`: what is wrong with rules, and what is probably a mistake.

use std::path::{Path, PathBuf};

use clap::Args;
use policies::Level;
use serde_json::{Value, json};

use super::{ContextArgs, count};
use crate::cli::{Failure, Shape, show};
use crate::config::{Fault, Faults};
use crate::policy::{Folder, PolicyContext};
use crate::terminal::plain_lines;

/// Report all that is wrong with rules, with file, line and column
///
/// Errors are rules that the gateway refuses, and obligations that nobody can meet. Warnings are rules
/// that never apply and names that the configuration doesn't have. Exit codes: 0 without errors, 1 with
/// warnings and `--strict`, 2 with errors.
#[derive(Debug, Args)]
pub(super) struct Check {
    /// The folder of the rules; without, the configuration's
    #[arg(value_name = "DIR")]
    folder: Option<PathBuf>,
    /// Exit with 1 where there are warnings
    #[arg(long)]
    strict: bool,
    #[command(flatten)]
    context: ContextArgs,
    #[command(flatten)]
    shape: Shape,
}

/// What a check finds.
struct Found {
    errors: Vec<Fault>,
    warnings: Vec<Fault>,
    notes: Vec<String>,
    /// `2 files with 5 rules`, where they can be read.
    size: String,
}

impl Check {
    pub(super) fn run(self) -> Result<(), Failure> {
        let context = self.context.load(self.folder.as_deref())?;
        let place = self.folder.clone().or_else(|| context.policies.clone());
        let place = place.ok_or_else(|| Failure::Usage("name the folder of the rules".into()))?;
        let found = match Folder::load(&place) {
            Ok(folder) => looked(&folder, &context),
            Err(faults) => Found::broken(faults),
        };
        show(self.shape, &found.json(), || Ok(plain_lines(&found.text(&place))))?;
        found.verdict(&place, self.strict)
    }
}

fn looked(folder: &Folder, context: &PolicyContext) -> Found {
    let findings = folder.book.lint(&context.directory);
    let of = |level| {
        let found = findings.found.iter().filter(move |finding| finding.level == level);
        found.map(|finding| folder.fault(finding)).collect()
    };
    let mut notes = Vec::new();
    if context.file.is_none() {
        notes.push(
            "no configuration was read, so that nothing was compared with people and targets: name \
             one by `--config`, or put `postern.toml` beside the rules"
                .to_owned(),
        );
    }
    if folder.book.is_empty() {
        notes.push("there is no rule, and what no rule permits is denied".to_owned());
    }
    if findings.partial {
        notes.push(
            "there are too many people and targets to look for rules that never apply".into(),
        );
    }
    let size =
        format!("{} with {}", count(folder.files(), "file"), count(folder.book.len(), "rule"));
    Found { errors: of(Level::Error), warnings: of(Level::Warning), notes, size }
}

impl Found {
    fn broken(faults: Faults) -> Self {
        let errors = faults.into_iter().collect();
        Self { errors, warnings: Vec::new(), notes: Vec::new(), size: String::new() }
    }

    fn json(&self) -> Value {
        json!({ "errors": self.errors, "warnings": self.warnings, "notes": self.notes })
    }

    fn text(&self, place: &Path) -> String {
        let errors = self.errors.iter().map(|fault| format!("error: {fault}\n\n"));
        let warnings = self.warnings.iter().map(|fault| format!("warning: {fault}\n\n"));
        let notes = self.notes.iter().map(|note| format!("note: {note}\n"));
        let mut text: String = errors.chain(warnings).chain(notes).collect();
        if self.errors.is_empty() && self.warnings.is_empty() {
            text.push_str(&format!("`{}` is fine: {}\n", place.display(), self.size));
        }
        text
    }

    fn verdict(&self, place: &Path, strict: bool) -> Result<(), Failure> {
        let place = place.display();
        let message = format!(
            "`{place}` has {} and {}",
            count(self.errors.len(), "error"),
            count(self.warnings.len(), "warning"),
        );
        if !self.errors.is_empty() {
            return Err(Failure::Usage(message));
        }
        if strict && !self.warnings.is_empty() { Err(Failure::Failed(message)) } else { Ok(()) }
    }
}
