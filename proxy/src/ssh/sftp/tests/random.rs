//! Conversations that no real client and target have, cut anywhere.

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
struct Chunk {
    from_client: bool,
    bytes: Vec<u8>,
}

/// What came of a conversation, cut into pieces of these sizes, over and over.
fn played(limit: &Limit, chunks: &[Chunk], sizes: &[usize]) -> (Sftp, Flow, Option<Fault>) {
    let (mut sftp, mut flow) = (Sftp::new(7, limit.clone()), Flow::default());
    let mut sizes = sizes.iter().cycle();
    for chunk in chunks {
        let mut rest = &chunk.bytes[..];
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(rest.len().min(*sizes.next().unwrap()));
            let went = match chunk.from_client {
                true => sftp.client(piece, &mut flow),
                false => sftp.target(piece, &mut flow),
            };
            if let Err(fault) = went {
                return (sftp, flow, Some(fault));
            }
            rest = after;
        }
    }
    sftp.close(&mut flow);
    (sftp, flow, None)
}

/// Packets that look like the protocol, with few numbers and handles, so that many of them fit together.
fn packets() -> impl Strategy<Value = Vec<Chunk>> {
    let field = prop_oneof![
        (0u32..6).prop_map(|n| n.to_be_bytes().to_vec()),
        (0u64..9).prop_map(|n| n.to_be_bytes().to_vec()),
        prop_oneof![Just(&b"h"[..]), Just(&b"/a/b"[..]), Just(&b"../x"[..]), Just(&b"f\0"[..])]
            .prop_map(|s| [&length(s)[..], s].concat()),
        any::<u32>().prop_map(|n| n.to_be_bytes().to_vec()),
    ];
    let body = (0u32..6, proptest::collection::vec(field, 0..5))
        .prop_map(|(id, fields)| [id.to_be_bytes().to_vec(), fields.concat()].concat());
    let client = (prop_oneof![3u8..21, Just(200)], body.clone()).prop_map(|it| (true, it));
    let target = (prop_oneof![101u8..106, Just(201)], body).prop_map(|it| (false, it));
    let any = prop_oneof![client, target].prop_map(|(from_client, (kind, body))| {
        let bytes = [&length(&[&[kind], &body[..]].concat())[..], &[kind], &body].concat();
        Chunk { from_client, bytes }
    });
    let likely = prop_oneof![
        Just((true, open(1, b"/a/b", 1))),
        Just((false, handle(1, b"h"))),
        Just((true, read(2, b"h", 0))),
        Just((true, write(3, b"h", 0, b"some"))),
        Just((true, close(4, b"h"))),
        Just((false, name(u32::MAX, b"/a/b"))),
        (1u32..5).prop_map(|id| (false, status(id, 0))),
        (1u32..5).prop_map(|id| (false, data(id, b"some"))),
    ];
    let likely = likely.prop_map(|(from_client, bytes)| Chunk { from_client, bytes });
    proptest::collection::vec(prop_oneof![1 => any, 3 => likely], 0..40).prop_map(|rest| {
        let begin = [(true, init()), (false, version())];
        let begin = begin.map(|(from_client, bytes)| Chunk { from_client, bytes });
        begin.into_iter().chain(rest).collect()
    })
}

fn limits() -> impl Strategy<Value = Limit> {
    prop_oneof![
        Just(Limit::default()),
        Just(Limit::new(true, &[]).unwrap()),
        Just(Limit::new(false, &["/a"]).unwrap()),
    ]
}

proptest! {
    #[test]
    fn however_a_conversation_is_cut_the_same_comes_of_it(
        limit in limits(), chunks in packets(), sizes in proptest::collection::vec(1usize..40, 1..8),
    ) {
        let (_, whole, fault) = played(&limit, &chunks, &[usize::MAX]);
        let (sftp, cut, cut_fault) = played(&limit, &chunks, &sizes);
        prop_assert_eq!(&fault, &cut_fault);
        prop_assert_eq!(whole.events, cut.events);
        if fault.is_none() {
            prop_assert_eq!(whole.to_target, cut.to_target);
            prop_assert_eq!(whole.to_client, cut.to_client);
        }
        prop_assert!(sftp.is_bounded());
    }

    #[test]
    fn any_bytes_in_any_pieces_are_survived(
        client: Vec<u8>, target: Vec<u8>, begun: bool,
        sizes in proptest::collection::vec(1usize..40, 1..8),
    ) {
        let mut chunks = vec![];
        if begun {
            chunks.push(Chunk { from_client: true, bytes: init() });
            chunks.push(Chunk { from_client: false, bytes: version() });
        }
        chunks.push(Chunk { from_client: true, bytes: client });
        chunks.push(Chunk { from_client: false, bytes: target });
        let (_, whole, fault) = played(&Limit::default(), &chunks, &[usize::MAX]);
        let (_, cut, cut_fault) = played(&Limit::default(), &chunks, &sizes);
        prop_assert_eq!(fault, cut_fault);
        prop_assert_eq!(whole.events, cut.events);
    }

    #[test]
    fn with_a_limit_to_reading_nothing_that_writes_reaches_the_target(chunks in packets()) {
        let (_, flow, _) = played(&Limit::new(true, &[]).unwrap(), &chunks, &[usize::MAX]);
        let mut rest = &flow.to_target[..];
        while let Ok(Some((whole, kind))) = frame::whole(rest) {
            prop_assert!(![6u8, 9, 10, 13, 14, 15, 18, 20].contains(&kind), "type {}", kind);
            rest = &rest[whole..];
        }
    }
}
