//! A folder of rules with its text, so that what is found in it is shown where it stands.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use policies::{Finding, Place, RuleBook, Source};

use crate::config::{Fault, Faults, Site, policy_fault, policy_sources};

/// The rules of a folder.
#[derive(Debug)]
pub struct Folder {
    /// Where they are.
    pub path: PathBuf,
    /// The rules.
    pub book: RuleBook,
    sources: Vec<Source>,
}

impl Folder {
    /// Reads every `*.cedar` file of the folder.
    ///
    /// # Errors
    /// Where it can't be read, and everything that is wrong with its rules.
    pub fn load(path: &Path) -> Result<Self, Faults> {
        let sources = policy_sources(path).map_err(|(blamed, error)| {
            let site = Site::file(&blamed.display().to_string());
            let remedy = "rules are the `*.cedar` files of a folder: name the folder";
            Fault::new(site, format!("cannot be read: {error}")).with_remedy(remedy)
        })?;
        let book = RuleBook::load(&sources).map_err(|refused| {
            let faults = refused.0.into_iter().map(|fault| policy_fault(&sources, fault)).collect();
            match Faults::none_in(faults) {
                Err(faults) => faults,
                Ok(()) => Fault::new(Site::file(&path.display().to_string()), "no rules").into(),
            }
        })?;
        Ok(Self { path: path.to_owned(), book, sources })
    }

    /// How many files there are.
    #[must_use]
    pub fn files(&self) -> usize {
        self.sources.len()
    }

    /// A finding as a fault, with the line at which its rule begins.
    #[must_use]
    pub fn fault(&self, finding: &Finding) -> Fault {
        Fault::new(self.site(&finding.place), &finding.message).with_remedy(&finding.remedy)
    }

    fn site(&self, place: &Place) -> Site {
        let source = self.sources.iter().find(|source| source.name == place.file);
        let line = source.and_then(|source| source.text.lines().nth(place.line.saturating_sub(1)));
        let line = line.unwrap_or_default();
        let width = line.trim().chars().count();
        let file: Arc<str> = place.file.as_str().into();
        Site::at(&file, place.line, place.column, width, line)
    }
}
