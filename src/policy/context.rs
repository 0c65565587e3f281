//! A configuration as far as rules see it: people, targets and the organisation's clock, no secret.

use std::path::{Path, PathBuf};

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use policies::{Calendar, Directory, Local, Timestamp};

use crate::config::{Config, DEFAULT_PATH, Faults};

/// The name that a configuration has where nobody says.
const NAME: &str = "postern.toml";

/// What rules are evaluated with: who and what there is, and the organisation's clock.
#[derive(Debug)]
pub struct PolicyContext {
    /// People and targets.
    pub directory: Directory,
    /// The organisation's clock.
    pub calendar: Calendar,
    /// The folder of the rules, as the configuration names it.
    pub policies: Option<PathBuf>,
    /// The configuration that it was read from, where there is one.
    pub file: Option<PathBuf>,
}

impl PolicyContext {
    /// What a configuration says. Nothing that it names is read.
    #[must_use]
    pub fn of(config: &Config) -> Self {
        let directory = config.directory();
        let (policies, file) = (Some(config.policies.value.clone()), Some(config.file.clone()));
        let calendar = config.organisation.calendar.clone();
        Self { directory, calendar, policies, file }
    }

    /// Nobody and nothing, where there is no configuration.
    #[must_use]
    pub fn empty() -> Self {
        let directory = Directory { any_group: true, ..Directory::default() };
        Self { directory, calendar: Calendar::default(), policies: None, file: None }
    }

    /// Reads the configuration that is named or, where none is, the one that stands beside a folder
    /// of rules or above it; beside nothing, the one in the present folder, or the installed one.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn find(named: Option<&Path>, beside: Option<&Path>) -> Result<Self, Faults> {
        let file = match (named, beside) {
            (Some(file), _) => file.to_owned(),
            (None, Some(folder)) => {
                let Some(file) = near(folder) else { return Ok(Self::empty()) };
                file
            }
            (None, None) => near(Path::new("")).unwrap_or_else(|| PathBuf::from(DEFAULT_PATH)),
        };
        Ok(Self::of(&Config::load(&file)?))
    }

    /// Reads a moment, by the organisation's clock where it has no offset.
    ///
    /// # Errors
    /// How it is written.
    pub fn moment(&self, text: &str) -> Result<Timestamp, String> {
        moment(text, self.calendar.zone())
    }

    /// A moment by the organisation's clock.
    #[must_use]
    pub fn local(&self, now: Timestamp) -> Local {
        self.calendar.local(now)
    }
}

/// Reads a moment: with an offset, or by the clock of a zone.
///
/// # Errors
/// How it is written.
pub fn moment(text: &str, zone: &TimeZone) -> Result<Timestamp, String> {
    let with_offset = text.parse::<jiff::Timestamp>().ok();
    let by_clock = || text.parse::<DateTime>().ok()?.to_zoned(zone.clone()).ok();
    let instant = with_offset.or_else(|| Some(by_clock()?.timestamp()));
    let instant = instant.ok_or_else(|| {
        format!(
            "`{text}` is no moment: write it as `2026-11-20T19:00`, by the organisation's clock, or \
             with an offset, as `2026-11-20T19:00Z`"
        )
    })?;
    Ok(Timestamp::from_millis(instant.as_millisecond()))
}

fn near(folder: &Path) -> Option<PathBuf> {
    let here = folder.join(NAME);
    let above = folder.join("..").join(NAME);
    [here, above].into_iter().find(|file| file.is_file())
}
