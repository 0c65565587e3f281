//! What is refused, and what ends the session: limits, malformed packets, floods.

use super::*;

#[test]
fn reading_only_refuses_whatever_changes_something() {
    let limit = || Limit::new(true, &[]).unwrap();
    let refused = [
        (open(2, b"f", 2), "sftp open f"),
        (open(2, b"f", 0), "sftp open f"),
        (open(2, b"f", 1 | 8), "sftp open f"),
        (open(2, b"f", 1 | 16), "sftp open f"),
        (open(2, b"f", 1 | 4), "sftp open f"),
        (made(13, &[N(2), S(b"f")]), "sftp remove f"),
        (made(14, &[N(2), S(b"f"), N(0)]), "sftp mkdir f"),
        (made(15, &[N(2), S(b"f")]), "sftp rmdir f"),
        (made(18, &[N(2), S(b"f"), S(b"g")]), "sftp rename f g"),
        (made(20, &[N(2), S(b"g"), S(b"f")]), "sftp symlink f g"),
        (made(9, &[N(2), S(b"f"), N(0)]), "sftp set_stat f"),
        (made(10, &[N(2), S(b"h"), N(0)]), "sftp set_open"),
        (write(2, b"h", 0, b"data"), "sftp write"),
        (made(200, &[N(2), S(b"posix-rename@openssh.com"), S(b"f"), S(b"g")]), "sftp rename f g"),
        (made(200, &[N(2), S(b"hardlink@openssh.com"), S(b"g"), S(b"f")]), "sftp link f g"),
        (made(200, &[N(2), S(b"lsetstat@openssh.com"), S(b"f"), N(0)]), "sftp set_stat f"),
        (made(200, &[N(2), S(b"copy-data"), S(b"h"), L(0), L(0), S(b"h"), L(0)]), "sftp copy"),
    ];
    for (request, what) in refused {
        let mut talk = Talk::opened(limit(), 1);
        talk.client(&request);
        assert_eq!(talk.refused(), Some((what.into(), reply::DENIED)));
    }
    for request in [open(2, b"f", 1), made(11, &[N(2), S(b"f")]), read(2, b"h", 0)] {
        let mut talk = Talk::opened(limit(), 1);
        talk.client(&request);
        assert_eq!(talk.flow.to_target, request);
    }
}

#[test]
fn what_is_malformed_or_unknown_is_refused_and_the_session_goes_on() {
    let long = vec![b'a'; 4096];
    for (request, answer) in [
        (made(3, &[N(2), S(b"f")]), reply::BAD_MESSAGE),
        (made(13, &[N(2), S(b"f"), N(0)]), reply::BAD_MESSAGE),
        (made(3, &[N(2), S(b"f"), N(64), N(0)]), reply::BAD_MESSAGE),
        (made(9, &[N(2), S(b"f"), N(16)]), reply::BAD_MESSAGE),
        (made(9, &[N(2), S(b"f"), N(0x8000_0000), N(u32::MAX)]), reply::BAD_MESSAGE),
        (made(5, &[N(2), S(&[b'h'; 257]), L(0), N(1)]), reply::BAD_MESSAGE),
        (made(6, &[N(2), S(&[b'h'; 257]), L(0), S(b"data")]), reply::BAD_MESSAGE),
        (made(6, &[N(2), S(b"h"), L(0), S(b"data"), N(0)]), reply::BAD_MESSAGE),
        (made(6, &[N(2), S(b"h"), L(0), N(9), N(0)]), reply::BAD_MESSAGE),
        (made(6, &[N(2), S(b"h")]), reply::BAD_MESSAGE),
        (made(77, &[N(2)]), reply::UNSUPPORTED),
        (made(200, &[N(2), S(b"check-file-name"), S(b"f")]), reply::UNSUPPORTED),
        (made(13, &[N(2), S(b"f\0g")]), reply::DENIED),
        (made(18, &[N(2), S(b"f"), S(b"g\0")]), reply::DENIED),
        (made(13, &[N(2), S(&long)]), reply::DENIED),
    ] {
        let mut talk = Talk::opened(Limit::default(), 2);
        talk.client(&request);
        assert_eq!(talk.refused().map(|(_, status)| status), Some(answer), "{request:?}");
        talk.client(&write(3, b"h", 0, b"on"));
        assert_eq!(talk.flow.to_target, write(3, b"h", 0, b"on"));
    }
}

#[test]
fn a_refusal_goes_between_two_packets_of_the_target_and_never_into_one() {
    let mut talk = Talk::opened(Limit::new(true, &[]).unwrap(), 1);
    talk.client(&read(2, b"h", 0));
    let answer = data(2, b"0123456789");
    talk.target(&answer[..15]).client(&made(13, &[N(3), S(b"f")]));
    assert_eq!(talk.flow.to_client, answer[..15]);
    talk.target(&answer[15..]);
    assert!(talk.flow.to_client.starts_with(&answer));
    let refusal = talk.flow.to_client[answer.len()..].to_vec();
    assert_eq!((reply::id(&refusal), reply::status(&refusal)), (Ok(3), Ok(reply::DENIED)));

    talk.flow = Flow::default();
    talk.target(&status(9, 0)[..3]).client(&made(13, &[N(4), S(b"f")]));
    assert_eq!(reply::id(&talk.flow.to_client), Ok(4), "what is held was not sent yet");
}

/// What the target says of paths that it is asked for.
fn resolve(talk: &mut Talk, answers: &[(&[u8], &[u8])]) {
    for (asked, resolved) in answers {
        assert!(talk.sftp.is_waiting());
        let question = std::mem::take(&mut talk.flow.to_target);
        let id = request::id(&question).unwrap();
        assert_eq!(question, made(16, &[N(id), S(asked)]));
        match *resolved {
            b"" => talk.target(&status(id, 2)),
            path => talk.target(&name(id, path)),
        };
    }
    assert!(!talk.sftp.is_waiting());
}

#[test]
fn a_limit_on_paths_is_decided_by_where_the_target_says_they_lead() {
    type Answers<'a> = &'a [(&'a [u8], &'a [u8])];
    let rename = |from, to| made(18, &[N(1), S(from), S(to)]);
    let cases: Vec<(Vec<u8>, Answers<'_>, Option<u32>)> = vec![
        (open(1, b"/srv/app/f", 1), &[(b"/srv/app/f", b"/srv/app/f")], None),
        (open(1, b"/srv/app", 1), &[(b"/srv/app", b"/srv/app")], None),
        (open(1, b"f", 1), &[(b"f", b"/srv/app/f")], None),
        (
            open(1, b"/srv/app/../../etc/shadow", 1),
            &[(b"/srv/app/../../etc/shadow", b"/etc/shadow")],
            Some(3),
        ),
        (open(1, b"/srv/app/link", 2), &[(b"/srv/app/link", b"/etc/shadow")], Some(3)),
        (open(1, b"/srv/apple", 1), &[(b"/srv/apple", b"/srv/apple")], Some(3)),
        (open(1, b"/srv/app/gone/f", 1), &[(b"/srv/app/gone/f", b"")], Some(2)),
        (open(1, b"f", 1), &[(b"f", b"/srv/app/../f")], Some(3)),
        (open(1, b"f", 1), &[(b"f", b"srv/app/f")], Some(3)),
        (open(1, b"f", 1), &[(b"f", b"/srv/app/\0f")], Some(3)),
        (made(13, &[N(1), S(b"/srv/app/link")]), &[(b"/srv/app", b"/srv/app")], None),
        (made(13, &[N(1), S(b"/srv/app/d/../x")]), &[(b"/srv/app/d/..", b"/etc")], Some(3)),
        (made(13, &[N(1), S(b"/srv/app/..")]), &[(b"/srv/app/..", b"/srv")], Some(3)),
        (made(15, &[N(1), S(b"/srv/app/link//")]), &[(b"/srv/app/link", b"/etc")], Some(3)),
        (made(13, &[N(1), S(b"/app")]), &[(b"/", b"/")], Some(3)),
        (made(13, &[N(1), S(b"f")]), &[(b".", b"/srv/app")], None),
        (made(17, &[N(1), S(b"")]), &[(b"", b"/home/deploy")], Some(3)),
        (
            rename(b"/srv/app/a", b"/srv/app/b"),
            &[(b"/srv/app", b"/srv/app"), (b"/srv/app", b"/srv/app")],
            None,
        ),
        (
            rename(b"/srv/app/a", b"/tmp/b"),
            &[(b"/srv/app", b"/srv/app"), (b"/tmp", b"/tmp")],
            Some(3),
        ),
        (rename(b"/tmp/a", b"/srv/app/b"), &[(b"/tmp", b"/tmp")], Some(3)),
        (made(20, &[N(1), S(b"/etc"), S(b"/srv/app/l")]), &[], Some(3)),
        (
            made(200, &[N(1), S(b"hardlink@openssh.com"), S(b"/etc/x"), S(b"/srv/app/l")]),
            &[],
            Some(3),
        ),
        (made(16, &[N(1), S(b".")]), &[], None),
    ];
    for (request, answers, refused) in cases {
        let mut talk = Talk::begin(Limit::new(false, &["/srv/app/"]).unwrap());
        talk.client(&request);
        resolve(&mut talk, answers);
        match refused {
            None => {
                assert_eq!(talk.flow.to_target, request);
                assert!(
                    talk.flow.to_client.is_empty(),
                    "the client sees no answer that isn't its own"
                );
                assert!(matches!(talk.flow.events[..], [Ssh::File { n: 1, .. }]));
            }
            Some(want) => assert_eq!(talk.refused().map(|(_, status)| status), Some(want)),
        }
    }
}

#[test]
fn nothing_passes_while_the_target_resolves_a_path() {
    let mut talk = Talk::begin(Limit::new(false, &["/srv/app"]).unwrap());
    let after = [made(16, &[N(2), S(b"x")]), open(3, b"/srv/app/g", 1)].concat();
    talk.client(&open(1, b"/srv/app/f", 1)).client(&after);
    let asked = talk.flow.to_target.len();
    assert_eq!(asked, made(16, &[N(0), S(b"/srv/app/f")]).len());
    resolve(&mut Talk { sftp: Sftp::new(0, Limit::default()), flow: Flow::default() }, &[]);
    let id = request::id(&talk.flow.to_target).unwrap();
    talk.flow = Flow::default();
    talk.target(&name(id, b"/srv/app/f"));
    let went = [open(1, b"/srv/app/f", 1), made(16, &[N(2), S(b"x")])].concat();
    assert!(talk.flow.to_target.starts_with(&went));
    assert!(talk.sftp.is_waiting(), "the next one is asked for in turn");

    let mut talk = Talk::begin(Limit::new(false, &["/srv/app"]).unwrap());
    talk.client(&open(1, b"/srv/app/f", 1));
    let mebibyte = vec![0; 1024 * 1024];
    let flood = (0..9).find_map(|_| talk.sftp.client(&mebibyte, &mut talk.flow).err());
    assert_eq!(flood, Some(Fault::Flood));
}

#[test]
fn what_waits_is_not_copied_for_each_request_in_it() {
    let mut talk = Talk::begin(Limit::new(false, &["/srv"]).unwrap());
    let stat = |id| made(17, &[N(id), S(b"/srv/f")]);
    let all: Vec<u8> = (1..=1_000).flat_map(stat).collect();
    talk.client(&all);
    let end = |talk: &Talk| talk.sftp.backlog.as_ptr_range().end;
    let (first, length) = (end(&talk), stat(1).len());
    for n in 1..1_000 {
        assert_eq!(talk.sftp.backlog.len(), all.len() - n * length);
        assert_eq!(end(&talk), first, "it stays where it is");
        let question = talk.flow.to_target.split_off(talk.flow.to_target.len() - 19);
        talk.target(&name(request::id(&question).unwrap(), b"/srv/f"));
    }
    assert!(talk.sftp.is_waiting() && talk.sftp.backlog.capacity() == 0);
}

#[test]
fn a_limit_takes_absolute_folders_only() {
    for folder in ["srv", "", "/srv/../etc", "/./srv", "/srv//app", "/srv\0"] {
        assert_eq!(Limit::new(false, &[folder]), None, "{folder:?}");
    }
    let all = Limit::new(false, &["/"]).unwrap();
    let mut talk = Talk::begin(all);
    talk.client(&open(1, b"/etc/f", 1));
    resolve(&mut talk, &[(b"/etc/f", b"/etc/f")]);
    assert_eq!(talk.flow.to_target, open(1, b"/etc/f", 1));
}

#[test]
fn a_stream_that_can_not_be_followed_is_a_fault() {
    let client = |bytes: &[u8]| {
        let mut talk = Talk::opened(Limit::default(), 1);
        talk.sftp.client(bytes, &mut talk.flow).unwrap_err()
    };
    let target = |bytes: &[u8]| {
        let mut talk = Talk::opened(Limit::default(), 1);
        talk.client(&read(2, b"h", 0)).client(&made(16, &[N(3), S(b".")]));
        talk.sftp.target(bytes, &mut talk.flow).unwrap_err()
    };
    assert_eq!(client(&[0, 0, 0, 0]), Fault::Length(0));
    assert_eq!(client(&[0xff; 4]), Fault::Length(size(u32::MAX)));
    let held = u32::try_from(HELD_MAX).unwrap();
    let too_long = [&held.to_be_bytes()[..], &[13]].concat();
    assert_eq!(client(&too_long), Fault::Length(HELD_MAX + LENGTH));
    assert_eq!(client(&init()), Fault::Start);
    assert_eq!(client(&made(13, &[])), Fault::Start);
    assert_eq!(client(&[read(2, b"h", 0), read(2, b"h", 0)].concat()), Fault::Number(2));
    let flood: Vec<u8> = (2..5000).flat_map(|id| read(id, b"h", 0)).collect();
    assert_eq!(client(&flood), Fault::Flood);

    assert_eq!(target(&status(9, 0)), Fault::Answer(9));
    assert_eq!(target(&handle(2, b"x")), Fault::Answer(2));
    assert_eq!(target(&data(3, b"x")), Fault::Answer(3));
    assert_eq!(target(&made(105, &[N(3), N(0)])), Fault::Answer(3));
    assert_eq!(target(&made(104, &[N(3), N(2), S(b"a"), S(b"a")])), Fault::Malformed);
    assert_eq!(target(&made(103, &[N(2), N(9), N(0)])), Fault::Malformed);
    assert_eq!(target(&made(99, &[N(2)])), Fault::Answer(2));
    assert_eq!(target(&version()), Fault::Start);
    let longest = u32::try_from(PACKET_MAX + 1).unwrap().to_be_bytes();
    assert_eq!(target(&longest), Fault::Length(PACKET_MAX + 1));
}

#[test]
fn the_protocol_begins_once_and_in_version_3() {
    let mut sftp = Sftp::new(0, Limit::default());
    let mut flow = Flow::default();
    assert_eq!(sftp.target(&version(), &mut flow), Err(Fault::Start));
    let mut sftp = Sftp::new(0, Limit::default());
    assert_eq!(sftp.client(&open(1, b"f", 1), &mut flow), Err(Fault::Start));
    let mut sftp = Sftp::new(0, Limit::default());
    sftp.client(&made(1, &[N(6), S(b"some"), S(b"thing")]), &mut flow).unwrap();
    assert_eq!(flow.to_target, init());
    assert_eq!(sftp.target(&made(2, &[N(6)]), &mut flow), Err(Fault::Version(6)));
}

#[test]
fn too_many_open_files_are_refused() {
    let mut talk = Talk::begin(Limit::default());
    for id in 0..u32::try_from(files::OPEN_MAX).unwrap() {
        talk.client(&open(id, b"f", 1)).target(&handle(id, &id.to_be_bytes()));
    }
    talk.flow = Flow::default();
    talk.client(&open(5000, b"f", 1));
    assert_eq!(talk.refused(), Some(("sftp open f".into(), reply::FAILURE)));
}
