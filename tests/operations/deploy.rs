//! What stands in `deploy/`, and every shell script, is accepted by the tool that will read it, and the
//! dashboard and the alerts ask only for metrics that there are.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Every metric, and whether it is a histogram (which is asked for by its buckets, sum and count).
pub const METRICS: [(&str, bool); 35] = [
    ("postern_connections_total", false),
    ("postern_denials_total", false),
    ("postern_admission_seconds", true),
    ("postern_hold_seconds", true),
    ("postern_sessions_live", false),
    ("postern_grants_live", false),
    ("postern_revoke_to_cut_seconds", true),
    ("postern_bytes_total", false),
    ("postern_recorder_lag_bytes", false),
    ("postern_recorder_failures_total", false),
    ("postern_recorder_unsettled_total", false),
    ("postern_spool_bytes", false),
    ("postern_spool_quota_bytes", false),
    ("postern_spool_free_bytes", false),
    ("postern_spool_reserve_bytes", false),
    ("postern_spool_largest_principal_bytes", false),
    ("postern_spool_principal_quota_bytes", false),
    ("postern_spool_refused_total", false),
    ("postern_spool_ended_total", false),
    ("postern_reports_dropped_total", false),
    ("postern_upstream_connect_seconds", true),
    ("postern_upstream_failures_total", false),
    ("postern_feed_revision", false),
    ("postern_feed_lease_seconds", false),
    ("postern_accept_refused_total", false),
    ("postern_requests_pending", false),
    ("postern_requests_total", false),
    ("postern_holds_waiting", false),
    ("postern_source_failures_total", false),
    ("postern_store_writable", false),
    ("postern_cuts_pending", false),
    ("postern_notifications_total", false),
    ("postern_notifications_waiting", false),
    ("postern_notifications_dead", false),
    ("postern_notifications_oldest_seconds", false),
];

#[test]
fn the_systemd_unit_is_valid_and_hardened() {
    let folder = tempfile::tempdir().unwrap();
    let unit = folder.path().join("postern.service");
    // The check wants the programs to exist, and these are not installed here.
    let text =
        read("deploy/postern.service").replace("/usr/bin/postern", env!("CARGO_BIN_EXE_postern"));
    fs::write(&unit, text).unwrap();

    let output = accepted(Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&unit));
    assert!(!output.contains("postern.service"), "{output}");
    // In tenths, of 100 for a unit without any protection.
    accepted(
        Command::new("systemd-analyze")
            .args(["security", "--offline=true", "--threshold=15"])
            .arg(&unit),
    );
}

#[test]
fn prometheus_takes_the_scrape_configuration_and_the_rules() {
    accepted(promtool().args(["check", "config", "prometheus.yml"]));
}

#[test]
fn alerts_fire_when_they_should_and_only_then() {
    accepted(promtool().args(["test", "rules", "alerts.test.yml"]));
}

#[test]
fn every_query_of_the_dashboard_is_one_that_prometheus_reads() {
    let rules: Vec<Value> = dashboard_queries()
        .iter()
        .map(|query| {
            query
                .replace("$__rate_interval", "5m")
                .replace("$__range", "6h")
                .replace("$instance", ".*")
        })
        .enumerate()
        .map(|(nth, expr)| serde_json::json!({ "record": format!("query:{nth}"), "expr": expr }))
        .collect();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rules.yml");
    // JSON is YAML.
    let groups = serde_json::json!({ "groups": [{ "name": "dashboard", "rules": rules }] });
    fs::write(&file, groups.to_string()).unwrap();
    accepted(promtool().args(["check", "rules"]).arg(&file));
}

#[test]
fn dashboard_and_alerts_ask_only_for_metrics_that_there_are() {
    let known = series();
    let asked = metrics_in(&(dashboard_queries().join("\n") + &read("deploy/alerts.yml")));
    let unknown: Vec<_> = asked.difference(&known).collect();
    assert!(unknown.is_empty(), "no such metric: {unknown:?}");
}

#[test]
fn the_dashboard_shows_every_metric() {
    let shown = metrics_in(&dashboard_queries().join("\n"));
    let missing: Vec<_> = METRICS
        .iter()
        .filter(|(name, _)| !shown.iter().any(|shown| shown.starts_with(name)))
        .collect();
    assert!(missing.is_empty(), "on no panel: {missing:?}");
}

#[test]
fn every_metric_that_the_code_has_is_listed_and_no_other() {
    let code = ["proxy/src/core/metrics.rs", "control/src/kernel/metrics.rs"].map(read).concat();
    let unknown: Vec<_> =
        METRICS.iter().filter(|(name, _)| !code.contains(&format!("\"{name}\""))).collect();
    assert!(unknown.is_empty(), "no such metrics: {unknown:?}");
    let listed = |name: &str| METRICS.iter().any(|(listed, _)| *listed == name);
    let quoted = code.split('"').filter(|text| text.starts_with("postern_"));
    let left_out: Vec<&str> = quoted.filter(|name| !listed(name)).collect();
    assert!(left_out.is_empty(), "the code has more: {left_out:?}");
}

#[test]
fn panels_of_the_dashboard_have_titles_and_do_not_overlap() {
    let dashboard = dashboard();
    let mut taken = BTreeSet::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        assert!(panel["title"].as_str().is_some_and(|title| !title.is_empty()), "{panel}");
        let [x, y, w, h] =
            ["x", "y", "w", "h"].map(|side| panel["gridPos"][side].as_u64().unwrap());
        assert!(x + w <= 24, "{panel}");
        for cell in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
            assert!(taken.insert(cell), "`{}` overlaps at {cell:?}", panel["title"]);
        }
    }
}

#[test]
fn every_shell_script_parses() {
    let scripts: Vec<_> = ["src", "tests", "benches", "deploy", ".ci"]
        .iter()
        .flat_map(|folder| files(&path(folder)))
        .filter_map(shell)
        .collect();
    assert!(scripts.len() >= 3, "{scripts:?}");
    for (shell, script) in scripts {
        accepted(Command::new(shell).arg("-n").arg(script));
    }
}

#[test]
fn every_make_target_can_be_planned() {
    let targets = ["help", "demo", "demo-script", "test", "lint", "bench"];
    accepted(Command::new("make").args(["--dry-run", "--directory", ROOT]).args(targets));
}

fn path(inside: &str) -> PathBuf {
    Path::new(ROOT).join(inside)
}

fn read(inside: &str) -> String {
    fs::read_to_string(path(inside)).unwrap()
}

fn promtool() -> Command {
    let mut command = Command::new("promtool");
    command.current_dir(path("deploy"));
    command
}

/// Runs a tool that must approve, and returns all that it said.
fn accepted(command: &mut Command) -> String {
    let output = command.output();
    let output = output
        .unwrap_or_else(|error| panic!("{command:?}: {error}; `make test` installs what it needs"));
    let printed = [output.stdout, output.stderr]
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .concat();
    assert!(output.status.success(), "{command:?} said:\n{printed}");
    printed
}

fn dashboard() -> Value {
    serde_json::from_str(&read("deploy/grafana/postern.json")).unwrap()
}

fn dashboard_queries() -> Vec<String> {
    let dashboard = dashboard();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let targets = panels.flat_map(|panel| panel["targets"].as_array().unwrap());
    targets.map(|target| target["expr"].as_str().unwrap().to_owned()).collect()
}

/// The names under which the metrics can be asked for.
fn series() -> BTreeSet<String> {
    let names = |&(name, is_histogram): &(&str, bool)| match is_histogram {
        true => ["_bucket", "_sum", "_count"].map(|suffix| format!("{name}{suffix}")).to_vec(),
        false => vec![name.to_owned()],
    };
    METRICS.iter().flat_map(names).collect()
}

fn metrics_in(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words.filter(|word| word.starts_with("postern_")).map(str::to_owned).collect()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// The shell that a script is for, by its first line or its name.
fn shell(file: PathBuf) -> Option<(&'static str, PathBuf)> {
    let text = fs::read_to_string(&file).ok()?;
    match text.lines().next()? {
        first if first.starts_with("#!") && first.ends_with("bash") => Some(("bash", file)),
        first if first.starts_with("#!") && first.ends_with("sh") => Some(("sh", file)),
        _ if file.extension().is_some_and(|extension| extension == "sh") => Some(("sh", file)),
        _ => None,
    }
}
