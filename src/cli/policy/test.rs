//! `postern policy test`: runs tables of cases.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::{ContextArgs, count};
use crate::cli::{Failure, Shape, show};
use crate::policy::cases::{Report, Table, files_of};
use crate::terminal::plain_lines;

/// Ask the rules what tables of cases ask, and compare the answers
///
/// A table is a TOML file beside the rules, `cases.toml` or `….cases.toml`; its form is shown by
/// deploy/policies/cases.toml. Exit codes: 0 where all is as it should be, 1 where a case fails, 2 where a
/// file can't be read.
#[derive(Debug, Args)]
pub(super) struct Test {
    /// Tables, or folders that hold them; without, the configuration's folder of rules
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Only cases whose sentence has this in it
    #[arg(long, value_name = "TEXT", default_value = "")]
    only: String,
    #[command(flatten)]
    context: ContextArgs,
    #[command(flatten)]
    shape: Shape,
}

impl Test {
    pub(super) fn run(self) -> Result<(), Failure> {
        let config = self.context.config.as_deref();
        let mut reports = Vec::new();
        for file in self.tables()? {
            let mut report = Table::load(&file, config)?.run();
            report.outcomes.retain(|outcome| outcome.says.contains(&self.only));
            reports.push(report);
        }
        let (ran, failed) = sums(&reports);
        let all = json!({ "cases": ran, "failed": failed, "tables": reports });
        show(self.shape, &all, || Ok(plain_lines(&summary(&reports))))?;
        if ran == 0 {
            return Err(Failure::Usage("there is no such case".into()));
        }
        if failed == 0 {
            return Ok(());
        }
        Err(Failure::Failed(format!("{failed} of {} failed", count(ran, "case"))))
    }

    fn tables(&self) -> Result<Vec<PathBuf>, Failure> {
        let mut places = self.files.clone();
        if places.is_empty() {
            places.extend(self.context.load(None)?.policies);
        }
        let mut tables = Vec::new();
        for place in places {
            if place.is_dir() {
                tables.extend(in_folder(&place)?);
            } else {
                tables.push(place);
            }
        }
        Ok(tables)
    }
}

fn in_folder(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let files = files_of(folder)?;
    if files.is_empty() {
        let message = format!("`{}` holds no cases: write `cases.toml` there", folder.display());
        return Err(Failure::Usage(message));
    }
    Ok(files)
}

fn sums(reports: &[Report]) -> (usize, usize) {
    let ran = reports.iter().map(|report| report.outcomes.len()).sum();
    (ran, reports.iter().map(Report::failed).sum())
}

fn summary(reports: &[Report]) -> String {
    let mut text = String::new();
    for report in reports {
        let file = report.file.display();
        for outcome in report.outcomes.iter().filter(|outcome| !outcome.passed()) {
            text.push_str(&format!("{file}:{}: {}\n{outcome}\n", outcome.line, outcome.says));
        }
        let passed = report.outcomes.len() - report.failed();
        text.push_str(&format!("{file}: {passed} of {}\n", count(report.outcomes.len(), "case")));
    }
    text
}
