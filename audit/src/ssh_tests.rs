use proptest::prelude::*;

use super::*;
use crate::chain::Digest;
use crate::event::{Event, Kind};

#[allow(clippy::too_many_lines, reason = "a table of all events")]
fn cases() -> Vec<(Ssh<'static>, String)> {
    let path = || Text::from("/srv/a");
    let hex = "ab".repeat(32);
    let moved = Transferred { bytes: 9, from: 0, sha256: Some(Digest([0xab; 32])) };
    let holes = Transferred { bytes: 9, from: 4, sha256: None };
    let direct = Channel::DirectTcpip {
        host: "db".into(),
        port: 5432,
        from: "127.0.0.1".into(),
        from_port: 4000,
    };
    let pairs = [
        (
            Ssh::Opened { ch: 0, channel: Channel::Session },
            r#""opened","ch":0,"channel":"session""#,
        ),
        (
            Ssh::Opened { ch: 3, channel: direct },
            r#""opened","ch":3,"channel":"direct_tcpip","host":"db","port":5432,"from":"127.0.0.1","from_port":4000"#,
        ),
        (
            Ssh::Terminal { ch: 0, term: "xterm".into(), columns: 80, rows: 24 },
            r#""terminal","ch":0,"term":"xterm","columns":80,"rows":24"#,
        ),
        (
            Ssh::Output { ch: 0, data: Text::from(&b"\xffa"[..]) },
            r#""output","ch":0,"data":{"base64":"/2E="}"#,
        ),
        (Ssh::Input { ch: 0, data: Value::Omitted(7) }, r#""input","ch":0,"data":{"omitted":7}"#),
        (
            Ssh::Refused { ch: None, what: "agent".into(), reason: "no".into() },
            r#""refused","what":"agent","reason":"no""#,
        ),
        (
            Ssh::File { ch: 1, n: 2, op: FileOp::Remove { path: path() } },
            r#""file","ch":1,"n":2,"op":"remove","path":"/srv/a""#,
        ),
        (
            Ssh::FileDone { ch: 1, n: 2, status: 3, path: None },
            r#""file_done","ch":1,"n":2,"status":3"#,
        ),
        (Ssh::Listen { address: "/run/s".into(), port: None }, r#""listen","address":"/run/s""#),
    ];
    let mut cases: Vec<_> = pairs.map(|(event, json)| (event, json.to_owned())).into();
    let transfer = Transfer { read: Some(moved), written: Some(holes), refused: 1, cut: true };
    cases.push((
        Ssh::FileClosed { ch: 1, n: 2, transfer },
        format!(
            r#""file_closed","ch":1,"n":2,"read":{{"bytes":9,"from":0,"sha256":"{hex}"}},"written":{{"bytes":9,"from":4}},"refused":1,"cut":true"#
        ),
    ));
    let stream = Stream::Stderr;
    cases.push((
        Ssh::StreamCut { ch: 0, stream, kept: 4 },
        r#""stream_cut","ch":0,"stream":"stderr","kept":4"#.to_owned(),
    ));
    cases.push((
        Ssh::StreamDigest { ch: 0, stream, bytes: 9, sha256: Digest([0xab; 32]), last: true },
        format!(
            r#""stream_digest","ch":0,"stream":"stderr","bytes":9,"sha256":"{hex}","last":true"#
        ),
    ));
    let attributes =
        Attributes { size: Some(u64::MAX), mode: Some(0o644), ..Attributes::default() };
    cases.push((
        Ssh::File { ch: 1, n: 2, op: FileOp::SetStat { path: path(), follow: true, attributes } },
        r#""file","ch":1,"n":2,"op":"set_stat","path":"/srv/a","follow":true,"attributes":{"size":18446744073709551615,"mode":420}"#.to_owned(),
    ));
    cases
}

#[test]
fn events_have_the_json_that_the_format_promises() {
    for (ssh, pairs) in cases() {
        let event = Event { t: 7, kind: Kind::Ssh(ssh) };
        let json = format!(r#"{{"t":7,"e":"ssh","ssh":{pairs}}}"#);
        assert_eq!(serde_json::to_string(&event).unwrap(), json);
        assert_eq!(serde_json::from_str::<Event<'static>>(&json).unwrap(), event);
    }
}

#[test]
fn what_is_unknown_is_refused_and_what_is_left_out_has_its_default() {
    let read = |json| serde_json::from_str::<Event<'static>>(json);
    assert!(read(r#"{"t":1,"e":"ssh","ssh":"later","ch":0}"#).is_err());
    assert!(read(r#"{"t":1,"e":"ssh","ssh":"opened","ch":0,"channel":"later"}"#).is_err());
    let closed = read(r#"{"t":1,"e":"ssh","ssh":"file_closed","ch":0,"n":1,"later":[1]}"#).unwrap();
    let nothing = Ssh::FileClosed { ch: 0, n: 1, transfer: Transfer::default() };
    assert_eq!(closed.kind, Kind::Ssh(nothing));
}

proptest! {
    #[test]
    fn whatever_bytes_pass_are_read_back_as_they_were(ch: u32, bytes: Vec<u8>, name: Vec<u8>) {
        let events = [
            Ssh::Output { ch, data: Text::from(&bytes[..]) },
            Ssh::Input { ch, data: Value::text(&bytes) },
            Ssh::Exec { ch, command: Text::from(&bytes[..]) },
            Ssh::File { ch, n: 1, op: FileOp::Rename {
                from: Text::from(&bytes[..]), to: Text::from(&name[..]), replace: false,
            } },
        ];
        for ssh in events {
            prop_assert_eq!(ssh.channel(), Some(ch));
            let event = Event { t: 0, kind: Kind::Ssh(ssh) };
            let json = serde_json::to_string(&event).unwrap();
            prop_assert!(!json.contains('\n'));
            prop_assert_eq!(serde_json::from_str::<Event<'_>>(&json).unwrap(), event);
        }
    }
}
