//! Both sides are played by hand here, byte by byte; real ones are in the journeys.

use audit::ssh::{Attributes, FileOp, OpenMode, Ssh, Transfer, Transferred};
use audit::{Digest, Text};

use super::frame::{HELD_MAX, PACKET_MAX};
use super::*;

mod random;
mod real;
mod refused;

/// One field of a packet.
#[derive(Clone)]
enum F<'a> {
    N(u32),
    L(u64),
    S(&'a [u8]),
}
use F::{L, N, S};

fn made(kind: u8, fields: &[F<'_>]) -> Vec<u8> {
    let mut body = vec![kind];
    for field in fields {
        match field {
            N(number) => body.extend(number.to_be_bytes()),
            L(number) => body.extend(number.to_be_bytes()),
            S(string) => {
                body.extend(length(string));
                body.extend_from_slice(string);
            }
        }
    }
    let mut all = u32::try_from(body.len()).unwrap().to_be_bytes().to_vec();
    all.extend(body);
    all
}

fn init() -> Vec<u8> {
    made(1, &[N(3)])
}

fn version() -> Vec<u8> {
    made(2, &[N(3), S(b"posix-rename@openssh.com"), S(b"1")])
}

fn open(id: u32, path: &[u8], flags: u32) -> Vec<u8> {
    made(3, &[N(id), S(path), N(flags), N(4), N(0o644)])
}

fn read(id: u32, handle: &[u8], offset: u64) -> Vec<u8> {
    made(5, &[N(id), S(handle), L(offset), N(32768)])
}

fn write(id: u32, handle: &[u8], offset: u64, data: &[u8]) -> Vec<u8> {
    made(6, &[N(id), S(handle), L(offset), S(data)])
}

fn close(id: u32, handle: &[u8]) -> Vec<u8> {
    made(4, &[N(id), S(handle)])
}

fn handle(id: u32, handle: &[u8]) -> Vec<u8> {
    made(102, &[N(id), S(handle)])
}

fn status(id: u32, status: u32) -> Vec<u8> {
    made(101, &[N(id), N(status), S(b"message"), S(b"")])
}

fn data(id: u32, bytes: &[u8]) -> Vec<u8> {
    made(103, &[N(id), S(bytes)])
}

fn name(id: u32, path: &[u8]) -> Vec<u8> {
    made(104, &[N(id), N(1), S(path), S(path), N(0)])
}

/// A conversation up to here.
struct Talk {
    sftp: Sftp,
    flow: Flow,
}

impl Talk {
    fn begin(limit: Limit) -> Self {
        let mut talk = Self { sftp: Sftp::new(7, limit), flow: Flow::default() };
        talk.client(&init());
        talk.target(&version());
        assert_eq!(talk.flow.to_client, version());
        talk.flow = Flow::default();
        talk
    }

    fn client(&mut self, bytes: &[u8]) -> &mut Self {
        self.sftp.client(bytes, &mut self.flow).unwrap();
        self
    }

    fn target(&mut self, bytes: &[u8]) -> &mut Self {
        self.sftp.target(bytes, &mut self.flow).unwrap();
        self
    }

    /// A file opened under number 1 with handle `h`.
    fn opened(limit: Limit, flags: u32) -> Self {
        let mut talk = Self::begin(limit);
        talk.client(&open(1, b"f", flags)).target(&handle(1, b"h"));
        talk.flow = Flow::default();
        talk
    }

    /// What was refused last, with the status that the client got.
    fn refused(&mut self) -> Option<(String, u32)> {
        let flow = std::mem::take(&mut self.flow);
        assert!(flow.to_target.is_empty(), "what is refused does not go on");
        let Some(Ssh::Refused { ch: Some(7), what, .. }) = flow.events.last() else { return None };
        let status = reply::status(&flow.to_client).unwrap();
        Some((String::from_utf8_lossy(what.as_bytes()).into_owned(), status))
    }

    /// What passed through the one file that was closed.
    fn closed(&mut self) -> Transfer {
        let events = std::mem::take(&mut self.flow).events;
        let [Ssh::FileClosed { ch: 7, n: 1, transfer }] = events[..] else {
            panic!("{events:?}");
        };
        transfer
    }
}

fn passed(bytes: &[u8]) -> Option<Transferred> {
    let size = u64::try_from(bytes.len()).unwrap();
    Some(Transferred { bytes: size, from: 0, sha256: Some(Digest::of(bytes)) })
}

fn scattered(bytes: u64, from: u64) -> Option<Transferred> {
    Some(Transferred { bytes, from, sha256: None })
}

#[test]
fn an_upload_is_recorded_before_it_goes_on_and_digested_as_it_passes() {
    let mut talk = Talk::begin(Limit::default());
    talk.client(&open(1, b"/srv/a", 0b11010));
    let mode = OpenMode { write: true, create: true, truncate: true, ..OpenMode::default() };
    let op = FileOp::Open { path: "/srv/a".into(), mode };
    assert_eq!(talk.flow.events, [Ssh::File { ch: 7, n: 1, op }]);
    assert_eq!(talk.flow.to_target, open(1, b"/srv/a", 0b11010));

    talk.flow = Flow::default();
    talk.target(&handle(1, b"\0\0\0\0"));
    assert_eq!(talk.flow.events, [Ssh::FileDone { ch: 7, n: 1, status: 0, path: None }]);
    assert_eq!(talk.flow.to_client, handle(1, b"\0\0\0\0"));

    talk.flow = Flow::default();
    let sent = [write(2, b"\0\0\0\0", 0, b"hello "), write(3, b"\0\0\0\0", 6, b"world")].concat();
    talk.client(&sent).target(&status(2, 0)).target(&status(3, 0));
    assert!(talk.flow.events.is_empty());
    assert_eq!(talk.flow.to_target, sent);

    talk.client(&close(4, b"\0\0\0\0"));
    assert!(talk.flow.events.is_empty(), "reads and writes may still be answered");
    talk.target(&status(4, 0));
    let written = passed(b"hello world");
    assert_eq!(talk.closed(), Transfer { written, ..Transfer::default() });
}

#[test]
fn a_download_is_digested_as_the_target_answers() {
    let mut talk = Talk::opened(Limit::default(), 1);
    talk.client(&[read(2, b"h", 0), read(3, b"h", 3), read(4, b"h", 6)].concat());
    let answers = [data(2, b"abc"), data(3, b"def"), status(4, 1)].concat();
    talk.target(&answers);
    assert_eq!(talk.flow.to_client, answers);
    talk.client(&close(5, b"h")).target(&status(5, 0));
    assert_eq!(talk.closed(), Transfer { read: passed(b"abcdef"), ..Transfer::default() });
}

#[test]
fn holes_overlaps_other_orders_and_refusals_leave_no_digest() {
    type Writes<'a> = &'a [(u64, u32)];
    let cases: [(Writes<'_>, Option<Transferred>, u64); 6] = [
        (&[(0, 0), (4, 0)], scattered(4, 0), 0),
        (&[(0, 0), (1, 0)], scattered(4, 0), 0),
        (&[(2, 0), (0, 0)], scattered(4, 2), 0),
        (&[(0, 0), (2, 4)], scattered(4, 0), 1),
        (&[(u64::MAX, 0), (0, 0)], scattered(4, u64::MAX), 0),
        (&[], None, 0),
    ];
    for (writes, written, refused) in cases {
        let mut talk = Talk::opened(Limit::default(), 2);
        for (id, (offset, answer)) in (10..).zip(writes) {
            talk.client(&write(id, b"h", *offset, b"ab")).target(&status(id, *answer));
        }
        talk.client(&close(2, b"h")).target(&status(2, 0));
        assert_eq!(talk.closed(), Transfer { written, refused, ..Transfer::default() });
    }
    let mut talk = Talk::opened(Limit::default(), 2);
    talk.client(&write(2, b"h", 5, b"ab")).client(&close(3, b"h")).target(&status(3, 0));
    let from_five = Transferred { bytes: 2, from: 5, sha256: Some(Digest::of(b"ab")) };
    assert_eq!(talk.closed(), Transfer { written: Some(from_five), ..Transfer::default() });
}

#[test]
fn what_is_open_when_the_channel_ends_is_recorded_as_cut() {
    let mut talk = Talk::opened(Limit::default(), 2);
    talk.client(&write(2, b"h", 0, b"ab"));
    talk.flow = Flow::default();
    talk.sftp.close(&mut talk.flow);
    assert_eq!(
        talk.closed(),
        Transfer { written: passed(b"ab"), cut: true, ..Transfer::default() }
    );
}

#[test]
fn a_closed_handle_is_no_files_until_the_target_gives_it_again() {
    let mut talk = Talk::opened(Limit::default(), 2);
    // A target gives the lowest free handle: it would take this write for one to the second file.
    let sent = [close(2, b"h"), open(3, b"g", 2)].concat();
    talk.client(&sent);
    assert_eq!(talk.flow.to_target, sent);
    talk.flow = Flow::default();
    talk.client(&write(4, b"h", 0, b"ab")).client(&close(5, b"h"));
    assert!(talk.flow.to_target.is_empty());
    talk.target(&status(2, 0)).target(&handle(3, b"h"));
    talk.flow = Flow::default();
    talk.client(&write(6, b"h", 0, b"cd")).client(&close(7, b"h"));
    talk.target(&status(6, 0)).target(&status(7, 0));
    let [Ssh::FileClosed { n: 2, transfer, .. }] = talk.flow.events[..] else {
        panic!("{:?}", talk.flow.events);
    };
    assert_eq!(transfer, Transfer { written: passed(b"cd"), ..Transfer::default() });
}

#[test]
fn a_write_whose_end_never_came_is_none() {
    let half = write(3, b"h", 2, b"cdef");
    for (whole, written) in [(&write(2, b"h", 0, b"ab")[..], passed(b"ab")), (b"", None)] {
        for left in 1..=4 {
            let mut talk = Talk::opened(Limit::default(), 2);
            talk.client(&[whole, &half[..half.len() - left]].concat());
            talk.flow = Flow::default();
            talk.sftp.close(&mut talk.flow);
            assert_eq!(talk.closed(), Transfer { written, cut: true, ..Transfer::default() });
        }
    }
}

#[test]
fn every_operation_on_a_path_is_recorded_as_it_was_asked() {
    let attributes = Attributes { size: Some(9), mode: Some(0o600), ..Attributes::default() };
    let set = [N(5), L(9), N(0o600)];
    let path = || "p".into();
    let ext =
        |name: &'static [u8], rest: &[F<'static>]| made(200, &[&[N(1), S(name)], rest].concat());
    let cases: Vec<(Vec<u8>, FileOp<'static>)> = vec![
        (made(11, &[N(1), S(b"p")]), FileOp::List { path: path() }),
        (made(7, &[N(1), S(b"p")]), FileOp::Stat { path: path(), follow: false }),
        (made(17, &[N(1), S(b"p")]), FileOp::Stat { path: path(), follow: true }),
        (made(13, &[N(1), S(b"p")]), FileOp::Remove { path: path() }),
        (made(14, &[N(1), S(b"p"), N(0)]), FileOp::Mkdir { path: path() }),
        (made(15, &[N(1), S(b"p")]), FileOp::Rmdir { path: path() }),
        (made(16, &[N(1), S(b"p")]), FileOp::RealPath { path: path() }),
        (made(19, &[N(1), S(b"p")]), FileOp::ReadLink { path: path() }),
        (
            made(18, &[N(1), S(b"p"), S(b"q")]),
            FileOp::Rename { from: path(), to: "q".into(), replace: false },
        ),
        (
            made(20, &[N(1), S(b"there"), S(b"p")]),
            FileOp::Symlink { path: path(), target: "there".into() },
        ),
        (
            made(9, &[&[N(1), S(b"p")], &set[..]].concat()),
            FileOp::SetStat { path: path(), follow: true, attributes },
        ),
        (
            ext(b"lsetstat@openssh.com", &[&[S(b"p")], &set[..]].concat()),
            FileOp::SetStat { path: path(), follow: false, attributes },
        ),
        (
            ext(b"posix-rename@openssh.com", &[S(b"p"), S(b"q")]),
            FileOp::Rename { from: path(), to: "q".into(), replace: true },
        ),
        (
            ext(b"hardlink@openssh.com", &[S(b"old"), S(b"p")]),
            FileOp::Link { path: path(), target: "old".into() },
        ),
        (ext(b"expand-path@openssh.com", &[S(b"p")]), FileOp::RealPath { path: path() }),
        (
            ext(b"statvfs@openssh.com", &[S(b"p")]),
            FileOp::Extended { name: "statvfs@openssh.com".into(), path: path() },
        ),
        (
            made(3, &[N(1), S(b"\xff\n"), N(1), N(0x8000_0000), N(1), S(b"a"), S(b"b")]),
            FileOp::Open {
                path: Text::from(&b"\xff\n"[..]),
                mode: OpenMode { read: true, ..OpenMode::default() },
            },
        ),
    ];
    for (request, op) in cases {
        let mut talk = Talk::begin(Limit::default());
        talk.client(&request);
        assert_eq!(talk.flow.to_target, request);
        assert_eq!(talk.flow.events, [Ssh::File { ch: 7, n: 1, op }]);
        talk.flow = Flow::default();
        talk.target(&status(1, 2));
        assert_eq!(talk.flow.events, [Ssh::FileDone { ch: 7, n: 1, status: 2, path: None }]);
    }
}

#[test]
fn where_a_path_leads_is_recorded_as_the_target_says_it() {
    let mut talk = Talk::begin(Limit::default());
    talk.client(&made(16, &[N(1), S(b".")])).target(&name(1, b"/home/deploy"));
    let done = Ssh::FileDone { ch: 7, n: 1, status: 0, path: Some("/home/deploy".into()) };
    assert_eq!(talk.flow.events.last(), Some(&done));
    assert_eq!(talk.flow.to_client, name(1, b"/home/deploy"));
}

#[test]
fn open_files_are_known_by_their_handles() {
    let mut talk = Talk::opened(Limit::default(), 3);
    talk.client(&made(10, &[N(2), S(b"h"), N(4), N(0o600)])).target(&status(2, 0));
    let attributes = Attributes { mode: Some(0o600), ..Attributes::default() };
    let op = FileOp::SetOpen { opened: 1, attributes };
    assert_eq!(talk.flow.events.first(), Some(&Ssh::File { ch: 7, n: 2, op }));

    talk.client(&open(3, b"g", 2)).target(&handle(3, b"i"));
    talk.flow = Flow::default();
    let copy = made(200, &[N(4), S(b"copy-data"), S(b"h"), L(1), L(2), S(b"i"), L(3)]);
    talk.client(&copy);
    let op = FileOp::Copy { opened: 1, offset: 1, bytes: 2, into: 3 };
    assert_eq!(talk.flow.events, [Ssh::File { ch: 7, n: 4, op }]);

    talk.flow = Flow::default();
    talk.client(&open(5, b"again", 1)).target(&handle(5, b"h"));
    let was = Ssh::FileClosed { ch: 7, n: 1, transfer: Transfer { cut: true, ..<_>::default() } };
    assert_eq!(talk.flow.events.last(), Some(&was), "a handle stands for one file at a time");
}

#[test]
fn a_handle_that_the_target_did_not_give_leads_nowhere() {
    for request in [
        read(2, b"x", 0),
        write(2, b"x", 0, b"data"),
        close(2, b"x"),
        made(8, &[N(2), S(b"x")]),
        made(10, &[N(2), S(b"x"), N(0)]),
        made(200, &[N(2), S(b"copy-data"), S(b"h"), L(0), L(0), S(b"x"), L(0)]),
    ] {
        let mut talk = Talk::opened(Limit::default(), 3);
        talk.client(&request);
        assert_eq!(talk.refused(), Some(("sftp request".into(), reply::FAILURE)));
        let mut talk = Talk::opened(Limit::default(), 3);
        talk.client(&close(9, b"h")).target(&status(9, 0)).client(&close(2, b"h"));
        assert!(matches!(talk.flow.events.last(), Some(Ssh::Refused { .. })));
    }
}
