//! The workloads of a `postern.toml`: what is safe by default, and every fault in its place.

use super::*;

const GITHUB: &str = "issuer = \"https://token.actions.githubusercontent.com\"\n\
                      audience = \"postern\"\nclaims = { sub = \"repo:example/shop:*\" }\n";

#[test]
fn a_workload_is_a_principal_with_a_certificate_of_minutes() {
    let set = Set::new(&format!("{LEAST}[workloads.ci]\n{GITHUB}groups = [\"deployments\"]\n"));
    let inventory = set.inventory(&[]).unwrap();
    let id = PrincipalId::new("ci").unwrap();
    assert_eq!(inventory.workloads[&id].certificate_ttl.to_string(), "15m");
    let principal = &inventory.people.get(&id).unwrap().principal;
    assert!(principal.groups.contains(&GroupName::new("deployments").unwrap()));
}

#[rstest]
#[case::nothing("[workloads.ci]\n", &[
    "3:12: `issuer` is missing in [workloads.ci]",
    "3:12: `audience` is missing in [workloads.ci]",
    "3:12: there are no claims, so that every token of the issuer would do in [workloads.ci]",
])]
#[case::everything_wrong(
    "[workloads.ci]\nissuer = \"http://login.example.com\"\naudience = \"\"\nclaim = 1\n\
     claims = { sub = \"repo:*:main\", repository = \"example*\", environment = \"*\", run = 1 }\n\
     certificate_ttl = \"2h\"\nadmin = true\n",
    &[
        "4:10: `http://login.example.com` is no issuer's address: it has to be `https`, or `http` \
         on loopback",
        "5:12: a text that is neither empty nor of several lines is wanted",
        "6:1: unknown key `claim` in [workloads.ci]",
        "7:18: `repo:*:main` can't be used: a `*` stands only at the end, behind a `:` or a `/`",
        "7:46: `example*` can't be used: a `*` stands only at the end, behind a `:` or a `/`",
        "7:72: `*` can't be used: a `*` stands only at the end, behind a `:` or a `/`",
        "7:83: this is an integer, but a text in quotes is wanted",
        "8:19: a workload's certificate lasts from 1m to 1h",
        "9:1: unknown key `admin` in [workloads.ci]",
    ]
)]
fn every_fault_of_a_workload_is_told(#[case] text: &str, #[case] expected: &[&str]) {
    let lines = messages(&parse(&format!("{LEAST}{text}")).unwrap_err());
    let mut lines: Vec<&str> =
        lines.iter().filter_map(|line| line.strip_prefix("postern.toml:")).collect();
    let mut expected = expected.to_vec();
    lines.sort_unstable();
    expected.sort_unstable();
    assert_eq!(lines, expected);
}

#[test]
fn a_workload_is_never_called_like_a_person_or_like_somebody_of_an_issuer() {
    for (name, why) in [
        ("alice", "`alice` is a person already"),
        ("\"corp:alice\"", "the name of a workload is at most 63 of a-z, 0-9 and -"),
        ("Ci", "the name of a workload is at most 63 of a-z, 0-9 and -"),
    ] {
        let text = format!("{LEAST}[people.alice]\n[workloads.{name}]\n{GITHUB}");
        let faults = parse(&text).unwrap_err();
        assert!(messages(&faults)[0].contains(why), "{faults}");
    }
}
