//! Other rules under live sessions, by the real program and SIGHUP: bad ones change nothing and are reported
//! with line and column; good ones cut exactly what they no longer give.

use std::time::Duration;

use crate::support::gateway_process::{GatewayProcess, Killed};
use crate::support::raw::{Tls, query, read_error, read_until, send};
use crate::support::{Setup, until};
use postern::config::Config;
use postern::up::Gateway;
use serde_json::Value;

const READERS: &str = r#"
@id("readers")
permit (principal in Group::"engineering", action == Action::"connect", resource is Database)
when { context.login == "app_ro" };
"#;

const RULES: &str = r#"
@id("readers")
permit (principal in Group::"engineering", action == Action::"connect", resource is Database)
when { context.login == "app_ro" };

@id("writers")
permit (principal in Group::"engineering", action == Action::"connect", resource is Database)
when { context.login == "app_rw" };
"#;

const KEPT: &str = "nothing was reloaded: what was in force stays in force";

/// A gateway that runs, and the file of its rules.
struct Desk {
    process: GatewayProcess,
    running: Killed,
}

impl Desk {
    fn write(&self, rules: &str) {
        std::fs::write(self.process.folder.path().join("policies/access.cedar"), rules).unwrap();
    }

    /// Has it read these rules, which it refuses: what it says.
    async fn refuses(&self, rules: &str) -> String {
        let before = self.process.log().len();
        self.write(rules);
        self.running.signal("HUP");
        let log = || self.process.log()[before..].to_owned();
        until("the rules are refused", || log().contains(KEPT)).await;
        log()
    }
}

/// Whether this session still runs statements.
async fn works(stream: &mut Tls) {
    send(stream, &query("select 'still here'")).await;
    read_until(stream, b'Z').await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_rules_change_nothing_and_good_ones_cut_exactly_what_they_no_longer_give() {
    let setup = Setup { rules: RULES, ..Setup::default() };
    let process = GatewayProcess::new(setup, &["app_rw@orders", "app_ro@orders"]).await;
    let running = process.start().await;
    let desk = Desk { process, running };
    let (mut writer, mut reader) =
        (desk.process.session("app_rw").await, desk.process.session("app_ro").await);

    let misspelt = format!(
        "{READERS}\npermit (principal, action, resource)\n  when {{ context.logn == \"app_rw\" }};\n"
    );
    let nobody = format!(
        "{RULES}\n@id(\"owners\") @approvals(\"1 of owners\")\nforbid (principal, action, resource);\n"
    );
    let many = nobody.replace("1 of owners", "3 of dba");
    let half_written = RULES.strip_suffix(" == \"app_rw\" };\n").unwrap();
    for (rules, place, why) in [
        ("permit (principal, action", "access.cedar:1:26", "unexpected end of input"),
        (half_written, "access.cedar:8:", "unexpected end of input"),
        (misspelt.as_str(), "access.cedar:7:", "logn"),
        (nobody.as_str(), "access.cedar:10:1", "nobody who could approve is in group `owners`"),
        (many.as_str(), "access.cedar:10:1", "only 2 who could approve are in group `dba`"),
    ] {
        let log = desk.refuses(rules).await;
        assert!(log.contains(place) && log.contains(why), "{place} {why}\n{log}");
        works(&mut writer).await;
        works(&mut reader).await;
    }

    desk.write(READERS);
    desk.running.signal("HUP");
    let error = read_error(&mut writer).await;
    assert_eq!(error.field(b'C'), "57P01", "{error:?}");
    let why = "the rules no longer give this access: no rule permits it";
    assert!(error.field(b'M').contains(why), "{error:?}");
    until("the target has one session left", || desk.process.upstream_sessions() == "1").await;
    works(&mut reader).await;
    let line = "people, targets and rules were reloaded revoked=1 withdrawn=0";
    until("the log has the line", || desk.process.log().contains(line)).await;

    drop((writer, reader));
    let Desk { process, running } = desk;
    drop(running);
    let events = events(&process).await;
    let of = |kind: &str| events.iter().filter(|(of, _)| of == kind).collect::<Vec<_>>();
    let ended = of("grant.ended");
    assert_eq!(ended.len(), 1, "{ended:?}");
    assert_eq!(ended[0].1["end"], "policy");
    assert_eq!(ended[0].1["detail"], "no rule permits it");
    let revoked = of("inventory.taken")
        .iter()
        .filter(|(_, detail)| detail["revoked"] != serde_json::json!([]))
        .count();
    assert_eq!(revoked, 1, "{events:?}");
}

/// The audit log of a gateway that has ended, as one that comes up again shows it.
async fn events(process: &GatewayProcess) -> Vec<(String, Value)> {
    let config = Config::load(&process.config).unwrap();
    let again = Gateway::start(&config).await.unwrap();
    let control = again.control();
    let bob = policies::PrincipalId::new("bob").unwrap();
    let invite = control.identity.invite(None, &bob).await.unwrap();
    let bob =
        control.identity.sign_in(&invite.code, control::Origin::default()).await.unwrap().actor;
    let paging = control::Paging { cursor: None, limit: Some(200) };
    let page = control.kernel.audit(&bob, paging).await.unwrap();
    again.shutdown(Duration::from_secs(10)).await;
    page.items.into_iter().map(|event| (event.kind.to_string(), event.detail)).collect()
}
