//! `postern doctor`: what is wrong with a set-up, and how to fix it.
//!
//! It looks at everything that `postern up` will need, from the configuration to a sign-in at each
//! target, and goes on after a fault. It changes nothing: folders that are missing are not made,
//! and a gateway that runs is left alone. `machine` looks at this machine, `issuer` at whom people
//! sign in with, `channel` at how messages reach them, `target` at what stands behind the gateway, over the few messages of the protocol in `sign_in`.

mod channel;
mod issuer;
mod machine;
mod recordings;
mod sign_in;
mod target;

use std::fmt::{self, Write};
use std::path::Path;
use std::sync::Arc;

use certs::Authority;
use control::{Clock, Inventory};
use policies::Timestamp;
use serde::Serialize;
use tokio::task::JoinSet;

use crate::config::{Config, Faults};

/// How bad something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Ok,
    /// It works, but perhaps not as meant.
    Warning,
    /// It doesn't work.
    Fault,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Fault => "fault",
        })
    }
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub level: Level,
    /// What was looked at.
    pub title: String,
    /// What was seen.
    pub detail: String,
    /// What to do, where something is to be done.
    pub remedy: Option<String>,
}

impl Finding {
    fn ok(title: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(Level::Ok, title, detail, None)
    }

    fn warning(
        title: impl Into<String>,
        detail: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::new(Level::Warning, title, detail, Some(remedy.into()))
    }

    fn fault(
        title: impl Into<String>,
        detail: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::new(Level::Fault, title, detail, Some(remedy.into()))
    }

    fn new(
        level: Level,
        title: impl Into<String>,
        detail: impl Into<String>,
        remedy: Option<String>,
    ) -> Self {
        Self { level, title: title.into(), detail: detail.into(), remedy }
    }
}

/// The worst of all findings.
#[must_use]
pub fn worst(findings: &[Finding]) -> Level {
    let levels = findings.iter().map(|finding| finding.level);
    levels.max().unwrap_or(Level::Ok)
}

/// Looks at everything, in the order in which it would be needed.
pub async fn examine(config_path: &Path) -> Vec<Finding> {
    let config = match Config::load(config_path) {
        Ok(config) => config,
        Err(faults) => return faulty(faults, "configuration"),
    };
    let now = Clock::system().now();
    let mut findings =
        vec![Finding::ok("configuration", format!("{} can be read", config_path.display()))];
    let (inventory, more) = inventory(&config);
    findings.extend(more);
    findings.extend(machine::folders(&config.gateway));
    findings.extend(recordings(&config).await);
    let (authority, more) = machine::authority(&config.gateway, now);
    findings.extend(more);
    findings.extend(identities(&config, now));
    findings.push(machine::descriptors(&config.limits));
    let authority = authority.map(Arc::new);
    findings.extend(machine::listeners(&config, authority.as_deref()).await);
    if let Some(inventory) = inventory {
        let base = config.gateway.public_url.as_str().trim_end_matches('/');
        findings.extend(issuer::issuers(&inventory, base).await);
        let our_host = config.gateway.public_url.host_str().unwrap_or(&config.gateway.host);
        findings.extend(channel::channels(&inventory, our_host).await);
        findings.extend(targets(inventory, authority, now).await);
    }
    findings
}

fn faulty(faults: Faults, title: &str) -> Vec<Finding> {
    let findings = faults.into_iter().map(|mut fault| {
        let remedy = fault.remedy.take();
        Finding::new(Level::Fault, title, fault.to_string(), remedy)
    });
    findings.collect()
}

/// Reads the first frame of every recording, which may take a while.
async fn recordings(config: &Config) -> Vec<Finding> {
    let (folder, settings) = (config.gateway.recordings.clone(), config.recording);
    let looking = tokio::task::spawn_blocking(move || recordings::recordings(&folder, &settings));
    looking.await.unwrap_or_else(|error| {
        let detail = format!("it can't be looked at: {error}");
        vec![Finding::fault("room for recordings", detail, "report this, with the log")]
    })
}

/// Policies, people, secrets and roots.
fn inventory(config: &Config) -> (Option<Inventory>, Vec<Finding>) {
    let inventory = match config.inventory() {
        Ok(inventory) => inventory,
        Err(faults) => return (None, faulty(faults, "policies and secrets")),
    };
    let title = "policies";
    let mut findings = vec![if inventory.rules.is_empty() {
        Finding::warning(
            title,
            "there is no rule, so that everything is denied",
            format!("write a permit into {}", config.policies.value.display()),
        )
    } else {
        Finding::ok(title, format!("{} rules", inventory.rules.len()))
    }];
    let warnings = config.warnings(&inventory).into_iter();
    findings.extend(warnings.map(|warning| {
        Finding::warning(title, warning, "add people to the group in [people], or change the rule")
    }));
    findings.push(people(config));
    (Some(inventory), findings)
}

fn people(config: &Config) -> Finding {
    let title = "people";
    let mut able = config.people.values().filter(|person| !person.disabled);
    let by_issuers = !config.issuers.is_empty();
    let admins = config.issuers.values().any(|issuer| !issuer.admins.is_empty());
    if able.clone().next().is_none() && !by_issuers {
        let remedy = "write [people.alice], with her groups";
        return Finding::warning(title, "nobody can sign in", remedy);
    }
    if able.any(|person| person.admin) || admins {
        Finding::ok(title, format!("{} are known", config.people.len()))
    } else {
        let detail = "nobody is an admin: locks and invitations are the console's alone";
        Finding::warning(title, detail, "write `admin = true` for somebody")
    }
}

fn identities(config: &Config, now: Timestamp) -> Vec<Finding> {
    let identities = match config.identities() {
        Ok(identities) => identities,
        Err(faults) => return faulty(faults, "certificates"),
    };
    let named = [
        ("certificate of [postgres]", identities.postgres),
        ("certificate of [api]", identities.api),
    ];
    let ends =
        named.into_iter().filter_map(|(title, identity)| Some((title, identity?.not_after()?)));
    ends.map(|(title, end)| machine::lasts(title, end, now, "renew it")).collect()
}

/// All targets at once: one that is silent doesn't keep the others waiting.
async fn targets(
    inventory: Inventory,
    authority: Option<Arc<Authority>>,
    now: Timestamp,
) -> Vec<Finding> {
    if inventory.targets.is_empty() {
        let remedy = "write [targets.orders], with an address, databases and logins";
        return vec![Finding::warning("targets", "there are none", remedy)];
    }
    let mut visits = JoinSet::new();
    for (nth, target) in inventory.targets.values().cloned().enumerate() {
        let authority = authority.clone();
        let secrets = inventory.secrets.clone();
        visits.spawn(async move {
            let visit = target::Visit::new(&target, &secrets, authority.as_deref(), now);
            (nth, visit.findings().await)
        });
    }
    let mut found = visits.join_all().await;
    found.sort_by_key(|(nth, _)| *nth);
    found.into_iter().flat_map(|(_, findings)| findings).collect()
}

/// The findings for a terminal, the last line counting them.
#[must_use]
pub fn render(findings: &[Finding], colour: bool) -> String {
    let mut text = String::new();
    for finding in findings {
        let level = coloured(finding.level, colour);
        let detail = finding.detail.replace('\n', "\n           ");
        // Writing to a string never fails.
        let _ = writeln!(text, "  {level} {}: {detail}", finding.title);
        if let Some(remedy) = &finding.remedy {
            let remedy = remedy.replace('\n', "\n           ");
            let _ = writeln!(text, "           to fix it: {remedy}");
        }
    }
    let count = |level| findings.iter().filter(|finding| finding.level == level).count();
    let (faults, warnings) = (count(Level::Fault), count(Level::Warning));
    let count = |many: usize, what: &str| match many {
        1 => format!("1 {what}"),
        many => format!("{many} {what}s"),
    };
    let _ = writeln!(text, "{}, {}", count(faults, "fault"), count(warnings, "warning"));
    text
}

fn coloured(level: Level, colour: bool) -> String {
    let code = match level {
        Level::Ok => "32",
        Level::Warning => "33",
        Level::Fault => "31",
    };
    if colour { format!("\u{1b}[{code}m{level:<8}\u{1b}[0m") } else { format!("{level:<8}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_are_rendered_with_what_to_do() {
        let findings = [
            Finding::ok("policies", "3 rules"),
            Finding::warning("people", "nobody is an admin", "write `admin = true`"),
            Finding::fault("state", "it is not writable\nby us", "run `chown`"),
        ];
        let expected = "  ok       policies: 3 rules\n\
                    \x20 warning  people: nobody is an admin\n\
                    \x20          to fix it: write `admin = true`\n\
                    \x20 fault    state: it is not writable\n\
                    \x20          by us\n\
                    \x20          to fix it: run `chown`\n\
                    1 fault, 1 warning\n";
        assert_eq!(render(&findings, false), expected);
        assert!(render(&findings, true).contains("\u{1b}[31mfault"));
        assert_eq!(worst(&findings), Level::Fault);
        assert_eq!(worst(&[]), Level::Ok);
    }

    #[test]
    fn findings_can_be_written_as_json() {
        let finding = Finding::warning("people", "nobody", "add somebody");
        let json = serde_json::to_value(finding).unwrap();
        assert_eq!(json["level"], "warning");
        assert_eq!(json["remedy"], "add somebody");
    }
}
