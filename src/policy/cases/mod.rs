//! Tables of cases: who asks for what, when and from where, and what has to come of it.
//!
//! A file names its rules and its configuration, or they stand beside it. Each case is asked as the
//! gateway would ask; where the answer isn't what the case says, the report shows both.

mod ask;
mod form;
mod report;

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::{Folder, PolicyContext};
use crate::config::{Fault, Faults, Site};

pub use ask::step_up;
pub use form::Case;
pub use report::{Line, Outcome};

/// Names of files that hold cases: this one, and those that end like it after a dash or a dot.
const NAME: &str = "cases.toml";

/// A table of cases, with the rules and the configuration that it is about.
#[derive(Debug)]
pub struct Table {
    /// The file.
    pub file: PathBuf,
    folder: Folder,
    context: PolicyContext,
    cases: Vec<(usize, Case)>,
}

/// What came of a table.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The file.
    pub file: PathBuf,
    /// What came of each case.
    pub outcomes: Vec<Outcome>,
}

impl Table {
    /// Reads a file of cases, with its rules and its configuration.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub fn load(file: &Path, config: Option<&Path>) -> Result<Self, Faults> {
        let text = std::fs::read_to_string(file).map_err(|error| {
            let site = Site::file(&file.display().to_string());
            let remedy = "name a file of cases, such as `policies/cases.toml`";
            Fault::new(site, format!("cannot be read: {error}")).with_remedy(remedy)
        })?;
        let form = form::read(file, &text)?;
        let base = file.parent().unwrap_or(Path::new(""));
        let folder = Folder::load(&base.join(form.policies.as_deref().unwrap_or(Path::new(""))))?;
        let named = form.config.as_ref().map(|config| base.join(config));
        let context = PolicyContext::find(config.or(named.as_deref()), Some(&folder.path))?;
        Ok(Self { file: file.to_owned(), folder, context, cases: form.cases })
    }

    /// Asks every case.
    #[must_use]
    pub fn run(&self) -> Report {
        let asked = self.cases.iter().map(|(line, case)| {
            let answer = ask::ask(&self.folder.book, &self.context, case);
            report::compare(*line, case, answer)
        });
        Report { file: self.file.clone(), outcomes: asked.collect() }
    }
}

impl Report {
    /// How many cases came out otherwise than they say.
    #[must_use]
    pub fn failed(&self) -> usize {
        self.outcomes.iter().filter(|outcome| !outcome.passed()).count()
    }
}

/// The files of cases in a folder, in the order of their names.
///
/// # Errors
/// Where the folder can't be read.
pub fn files_of(folder: &Path) -> Result<Vec<PathBuf>, Faults> {
    let fault = |error: std::io::Error| {
        let site = Site::file(&folder.display().to_string());
        Fault::new(site, format!("cannot be read: {error}"))
    };
    let entries = std::fs::read_dir(folder).map_err(fault)?;
    let paths: Result<Vec<PathBuf>, _> = entries.map(|entry| Ok(entry?.path())).collect();
    let mut files: Vec<PathBuf> =
        paths.map_err(fault)?.into_iter().filter(|path| holds_cases(path)).collect();
    files.sort();
    Ok(files)
}

fn holds_cases(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    let rest = name.and_then(|name| name.strip_suffix(NAME));
    rest.is_some_and(|rest| rest.is_empty() || rest.ends_with(['-', '.']))
}
