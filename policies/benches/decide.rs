//! What one decision of the rules costs, by how many rules there are, and what reading them costs.
//!
//! The rules are of the kinds that people write: permits by group and login, obligations by environment,
//! label, hour and roster, and a few that forbid. Most of them are about other groups and environments
//! than those of the one who asks; Cedar looks at each all the same.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a bench measures time, and one that can't go on has failed"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use policies::{
    Binds, Credential, Decision, Facts, Hold, Kind, Partition, Principal, Recording, Resource,
    RuleBook, Source, Target, Timestamp, Ttl, UpstreamTls,
};

/// One rule of each kind about team and environment `number`.
const KINDS: [&str; 5] = [
    r#"permit (principal in Group::"team-{}", action == Action::"connect", resource is Database)
       when { ["app_ro", "app_rw"].contains(context.login) };"#,
    r#"@approvals("2 of dba-{}") @limit("1h")
       forbid (principal, action == Action::"connect", resource in Env::"env-{}")
       when { context.login == "app_rw" };"#,
    r#"@approvals("1 of leads-{}")
       forbid (principal, action == Action::"connect", resource in Label::"team=team-{}")
       unless { context.working_hours || principal in Group::"on-call-{}" };"#,
    r#"@step_up("5m") @ticket("OPS-[0-9]+")
       forbid (principal in Group::"contractors-{}", action, resource)
       when { context.hour < 8 || context.ttl > duration("4h") };"#,
    r#"forbid (principal in Group::"team-{}", action, resource is Host)
       when { context has source && !context.source.isInRange(ip("10.0.0.0/8")) };"#,
];

fn sources(rules: usize) -> Vec<Source> {
    let rule = |number: usize| {
        let kind = KINDS.get(number % KINDS.len()).unwrap();
        kind.replace("{}", &(number / KINDS.len()).to_string())
    };
    let text: Vec<String> = (0..rules).map(rule).collect();
    vec![Source { name: "access.cedar".into(), text: text.join("\n") }]
}

/// Somebody of a few teams.
fn principal() -> Principal {
    let groups = ["team-0", "team-1", "on-call-0", "everybody", "dba-1"];
    let groups: BTreeSet<_> = groups.iter().map(|name| name.parse().unwrap()).collect();
    Principal { id: "alice".parse().unwrap(), name: "Alice".into(), groups }
}

fn target() -> Target {
    Target {
        name: "orders".parse().unwrap(),
        kind: Kind::Postgres,
        host: "db.internal".into(),
        port: 5432,
        tls: UpstreamTls::Off,
        environment: Some("env-0".parse().unwrap()),
        labels: BTreeMap::from([("team".into(), "team-0".into())]),
        databases: vec!["shop".parse().unwrap()],
        logins: BTreeMap::from([("app_rw".parse().unwrap(), Credential::Password)]),
        hold: Hold::Interactive,
        partition: Partition::Cut,
        recording: Recording { binds: Binds::Keep },
        default_ttl: Ttl::from_secs(3_600),
        replication: false,
        weak_auth: Default::default(),
        ssh: None,
    }
}

fn decide(c: &mut Criterion) {
    let (principal, target) = (principal(), target());
    let resource: Resource = "app_rw@orders/shop".parse().unwrap();
    let source = "10.1.2.3".parse().ok();
    let facts = Facts::new(Timestamp::from_millis(1_790_000_000_000), source);
    let mut group = c.benchmark_group("policy");
    for rules in [10, 100, 1_000] {
        let book = RuleBook::load(&sources(rules)).unwrap_or_else(|fault| panic!("{fault}"));
        assert_eq!(book.len(), rules);
        let ask = || book.decide(&principal, &target, &resource, &facts);
        let Decision::Allow(terms) = ask() else { panic!("denied") };
        assert_eq!(terms.approvals.to_string(), "2 of dba-0");
        group.bench_function(BenchmarkId::new("decide", rules), |b| b.iter(|| black_box(ask())));
        group.bench_function(BenchmarkId::new("grounds", rules), |b| {
            b.iter(|| black_box(book.grounds(&principal, &target, &resource, &facts)));
        });
        group.bench_function(BenchmarkId::new("load", rules), |b| {
            b.iter(|| black_box(RuleBook::load(&sources(rules))));
        });
    }
    group.finish();
}

fn briefly() -> Criterion {
    Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
}

criterion_group! { name = benches; config = briefly(); targets = decide }
criterion_main!(benches);
