//! Loads the rules of the folder that a configuration names.
//!
//! A rule that asks for more people than can ever be in a group would refuse everybody, and is a fault
//! like a misspelt one. Whom an issuer or a roster brings can't be known here: of these groups a warning
//! tells.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use policies::{Directory, Finding, Level, RuleBook, Source};

use super::fault::{Fault, Site};
use super::read::Located;

/// Loads every `*.cedar` of the folder, in the order of their names.
pub(super) fn rules(
    folder: &Located<PathBuf>,
    directory: &Directory,
    faults: &mut Vec<Fault>,
) -> Option<RuleBook> {
    let sources = match policy_sources(&folder.value) {
        Ok(sources) => sources,
        Err((path, error)) => {
            let message = format!("cannot read `{}`: {error}", path.display());
            let remedy = "policies are the `*.cedar` files of the folder that `[policies]` names";
            faults.push(Fault::new(folder.site.clone(), message).with_remedy(remedy));
            return None;
        }
    };
    match RuleBook::load(&sources) {
        Ok(rules) => {
            let found = rules.unmet(directory).into_iter();
            let never = found.filter(|finding| finding.level == Level::Error);
            faults.extend(never.map(|finding| unmet(&sources, finding)));
            Some(rules)
        }
        Err(refused) => {
            faults.extend(refused.0.into_iter().map(|fault| policy_fault(&sources, fault)));
            None
        }
    }
}

/// Approvals that nobody there can give.
fn unmet(sources: &[Source], finding: Finding) -> Fault {
    let Finding { place, message, remedy, .. } = finding;
    let (file, line, column) = (place.file, place.line, place.column);
    policy_fault(sources, policies::PolicyFault { file, line, column, message })
        .with_remedy(&remedy)
}

/// A fault of a rule, with the line that it is in.
pub(crate) fn policy_fault(sources: &[Source], fault: policies::PolicyFault) -> Fault {
    let source = sources.iter().find(|source| source.name == fault.file);
    let line = source.and_then(|source| source.text.lines().nth(fault.line.saturating_sub(1)));
    let file: Arc<str> = fault.file.as_str().into();
    let site = Site::at(&file, fault.line, fault.column, 1, line.unwrap_or_default());
    Fault::new(site, fault.message)
}

/// The rules of a folder, file by file, or the path that can't be read.
pub(crate) fn policy_sources(folder: &Path) -> Result<Vec<Source>, (PathBuf, std::io::Error)> {
    let blame = |path: &Path| {
        let path = path.to_owned();
        move |error| (path.clone(), error)
    };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(blame(folder))? {
        let path = entry.map_err(blame(folder))?.path();
        if path.extension().is_some_and(|extension| extension == "cedar") {
            files.push(path);
        }
    }
    files.sort();
    files
        .into_iter()
        .map(|path| {
            let text = std::fs::read_to_string(&path).map_err(blame(&path))?;
            let name = path.display().to_string();
            Ok(Source { name, text })
        })
        .collect()
}
