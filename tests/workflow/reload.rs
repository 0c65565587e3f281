//! Other rules under live sessions, by the real program and SIGHUP: bad ones change nothing and are told
//! with line and column; good ones cut exactly what they no longer give.

use std::time::Duration;

use crate::support::apart::{Apart, Killed};
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
    apart: Apart,
    running: Killed,
}

impl Desk {
    fn write(&self, rules: &str) {
        std::fs::write(self.apart.folder.path().join("policies/access.cedar"), rules).unwrap();
    }

    /// Has it read these rules, which it refuses: what it says.
    async fn refuses(&self, rules: &str) -> String {
        let before = self.apart.log().len();
        self.write(rules);
        self.running.signal("HUP");
        let told = || self.apart.log()[before..].to_owned();
        until("the rules are refused", || told().contains(KEPT)).await;
        told()
    }
}

/// Whether this session still does what it is told.
async fn works(stream: &mut Tls) {
    send(stream, &query("select 'still here'")).await;
    read_until(stream, b'Z').await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_rules_change_nothing_and_good_ones_cut_exactly_what_they_no_longer_give() {
    let setup = Setup { rules: RULES, ..Setup::default() };
    let apart = Apart::new(setup, &["app_rw@orders", "app_ro@orders"]).await;
    let running = apart.start().await;
    let desk = Desk { apart, running };
    let (mut writer, mut reader) =
        (desk.apart.session("app_rw").await, desk.apart.session("app_ro").await);

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
        let told = desk.refuses(rules).await;
        assert!(told.contains(place) && told.contains(why), "{place} {why}\n{told}");
        works(&mut writer).await;
        works(&mut reader).await;
    }

    desk.write(READERS);
    desk.running.signal("HUP");
    let error = read_error(&mut writer).await;
    assert_eq!(error.field(b'C'), "57P01", "{error:?}");
    let why = "the rules no longer give this access: no rule permits it";
    assert!(error.field(b'M').contains(why), "{error:?}");
    until("the target has one session left", || desk.apart.upstream_sessions() == "1").await;
    works(&mut reader).await;
    let told = "people, targets and rules were reloaded revoked=1 withdrawn=0";
    until("the log tells of it", || desk.apart.log().contains(told)).await;

    drop((writer, reader));
    let Desk { apart, running } = desk;
    drop(running);
    let events = events(&apart).await;
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
async fn events(apart: &Apart) -> Vec<(String, Value)> {
    let config = Config::load(&apart.config).unwrap();
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
