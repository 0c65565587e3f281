//! Whether there is room for recordings: the reserve of their disk, and their quotas.

use std::path::Path;

use policies::Rounded;
use proxy::{RecordingSettings, SpoolUse};
use rustix::fs::statvfs;

use super::Finding;
use super::machine::existing;

const ROOM: &str = "room for recordings";
const QUOTA: &str = "quota of recordings";
/// From this part of a quota on, in per cent, it is time to make room.
const NEARLY: u64 = 80;
/// The most people who are named.
const NAMED: usize = 5;

/// The findings on a folder of recordings.
pub(super) fn recordings(folder: &Path, settings: &RecordingSettings) -> Vec<Finding> {
    let disk = match statvfs(existing(folder)) {
        Ok(disk) => disk,
        Err(error) => {
            let detail =
                format!("the free space can't be measured, so that no session begins: {error}");
            let remedy = format!("mount the disk of `{}`", folder.display());
            return vec![Finding::fault(ROOM, detail, remedy)];
        }
    };
    let bytes = |blocks: u64| blocks.saturating_mul(disk.f_frsize);
    let whole = bytes(disk.f_blocks);
    let mut findings = vec![reserve(bytes(disk.f_bavail), settings.reserve_of(whole))];
    if folder.is_dir() {
        findings.extend(match proxy::spool_use(folder) {
            Ok(found) => quotas(&found, folder, settings, whole),
            Err(error) => {
                let remedy = "let the user that runs the gateway read the folder and its files";
                vec![Finding::fault(QUOTA, format!("they can't be counted: {error}"), remedy)]
            }
        });
    }
    findings
}

fn reserve(free: u64, reserve: u64) -> Finding {
    let detail = format!("{} are free, and the reserve is {}", Rounded(free), Rounded(reserve));
    let remedy = "free space on that disk, or lower `reserve` in [recording]: below the reserve no \
                  session begins, below half of it live ones end";
    match free {
        free if free < reserve => Finding::fault(ROOM, detail, remedy),
        free if free < reserve.saturating_mul(2) => Finding::warning(ROOM, detail, remedy),
        _ => Finding::ok(ROOM, detail),
    }
}

fn quotas(
    found: &SpoolUse,
    folder: &Path,
    settings: &RecordingSettings,
    whole: u64,
) -> Vec<Finding> {
    let (total, quota) = (found.total(), settings.spool_quota.of(whole));
    let all = format!("all take {} of {}", Rounded(total), Rounded(quota));
    let mut findings = vec![quota_finding(total, quota, all, folder, "nobody opens a new session")];
    let quota = settings.principal_quota.of(whole);
    let mut largest: Vec<_> = found.by_principal.iter().collect();
    largest.sort_by_key(|(principal, used)| (std::cmp::Reverse(**used), *principal));
    let near = largest.into_iter().filter(|(_, used)| is_near(**used, quota));
    findings.extend(near.take(NAMED).map(|(principal, used)| {
        let detail = format!("those of {principal} take {} of {}", Rounded(*used), Rounded(quota));
        quota_finding(*used, quota, detail, folder, &format!("{principal} opens no new session"))
    }));
    findings
}

fn quota_finding(used: u64, quota: u64, detail: String, folder: &Path, effect: &str) -> Finding {
    let remedy = format!(
        "move files of ended sessions from `{}` elsewhere (`postern sessions` lists them), or raise \
         the quota in [recording]",
        folder.display()
    );
    match used {
        used if used >= quota => Finding::fault(QUOTA, format!("{detail}: {effect}"), remedy),
        used if is_near(used, quota) => Finding::warning(QUOTA, detail, remedy),
        _ => Finding::ok(QUOTA, detail),
    }
}

fn is_near(used: u64, quota: u64) -> bool {
    used >= quota / 100 * NEARLY
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    #[test]
    fn space_below_the_reserve_is_a_fault_and_near_it_a_warning() {
        assert_eq!(reserve(99, 100).level, Level::Fault);
        assert_eq!(reserve(199, 100).level, Level::Warning);
        assert_eq!(reserve(200, 100).level, Level::Ok);
    }

    #[test]
    fn who_is_near_or_over_a_quota_is_named_with_what_to_do() {
        let by_principal = [("alice", 2_000), ("bob", 1_700), ("carol", 10)];
        let by_principal = by_principal.map(|(who, used)| (who.parse().unwrap(), used)).into();
        let settings = RecordingSettings {
            principal_quota: "2000B".parse().unwrap(),
            spool_quota: "1MiB".parse().unwrap(),
            ..RecordingSettings::default()
        };
        let found = SpoolUse { by_principal, unowned: 0 };
        let findings = quotas(&found, Path::new("/srv/recordings"), &settings, 1 << 40);
        let messages: Vec<_> =
            findings.iter().map(|finding| (finding.level, finding.detail.as_str())).collect();
        let expected = [
            (Level::Ok, "all take 3.6KiB of 1MiB"),
            (Level::Fault, "those of alice take 1.9KiB of 1.9KiB: alice opens no new session"),
            (Level::Warning, "those of bob take 1.6KiB of 1.9KiB"),
        ];
        assert_eq!(messages, expected);
        assert!(findings[1].remedy.as_ref().unwrap().contains("`/srv/recordings`"));
    }
}
