use proptest::prelude::*;

use super::*;
use crate::event::{End, Start};
use crate::frame::Writer;

fn start() -> Event<'static> {
    Event { t: 0, kind: Kind::Start(Box::new(Start { session: "s1".into(), ..Start::default() })) }
}

fn query(n: u64) -> Event<'static> {
    Event { t: n, kind: Kind::Query { n, text: "select 1".into() } }
}

fn end() -> Event<'static> {
    Event { t: 9, kind: Kind::End(End { end: "closed".into(), ..End::default() }) }
}

/// One frame for each group of events.
fn recording(frames: &[&[Event<'_>]]) -> Vec<u8> {
    let mut writer = Writer::new("s1");
    for events in frames {
        for event in *events {
            writer.push(event).unwrap();
        }
        writer.seal();
    }
    writer.take()
}

fn verify(bytes: &[u8]) -> Verified {
    Reader::new(bytes).verify().unwrap()
}

#[test]
fn a_whole_recording_reads_back_and_is_sealed() {
    let events = [start(), query(1), query(2), end()];
    let bytes = recording(&[&events[..2], &events[2..]]);
    let mut reader = Reader::for_session(&bytes[..], "s1");
    let read: Vec<_> = reader.by_ref().map(Result::unwrap).collect();
    assert_eq!(read, events);
    assert_eq!(reader.tail(), Some(Tail::Sealed));
    let verified = verify(&bytes);
    assert_eq!((verified.frames, verified.events), (2, 4));
    assert_eq!(verified.session.as_deref(), Some("s1"));
    assert_eq!(verified.head.unwrap().0, bytes[bytes.len() - 32..]);
}

#[test]
fn a_recording_cut_anywhere_is_open_between_frames_and_torn_within() {
    let events = [start(), query(1), end()];
    let bytes = recording(&[&events[..1], &events[1..2], &events[2..]]);
    let mut open = Vec::new();
    for cut in 0..bytes.len() {
        match verify(&bytes[..cut]).tail {
            Tail::Open => open.push(cut as u64),
            Tail::Torn { offset, bytes } => {
                assert_eq!(offset + bytes, cut as u64);
                assert!(offset == 0 || open.contains(&offset));
            }
            tail @ (Tail::Sealed | Tail::Broken { .. }) => panic!("{tail:?} when cut at {cut}"),
        }
    }
    assert_eq!(open.len(), 3, "after the magic and after each frame but the last");
}

#[test]
fn no_single_bit_can_change() {
    let bytes = recording(&[&[start(), query(1)], &[query(2)], &[end()]]);
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut changed = bytes.clone();
            changed[at] ^= 1 << bit;
            let tail = verify(&changed).tail;
            assert!(
                matches!(tail, Tail::Broken { .. } | Tail::Torn { .. }),
                "{tail:?}: bit {bit} of byte {at}"
            );
        }
    }
}

#[test]
fn frames_cant_be_dropped_swapped_or_taken_from_another_session() {
    let bytes = recording(&[&[start()], &[query(1)], &[query(2)], &[end()]]);
    let mut cuts = vec![8];
    while let Some(length) = bytes.get(*cuts.last().unwrap()..).and_then(|rest| rest.first_chunk())
    {
        cuts.push(cuts.last().unwrap() + 36 + u32::from_le_bytes(*length) as usize);
    }
    let of = |order: &[usize]| {
        let mut file = MAGIC.to_vec();
        order.iter().for_each(|i| file.extend(&bytes[cuts[*i]..cuts[*i + 1]]));
        verify(&file).tail
    };
    assert_eq!(of(&[0, 1, 2, 3]), Tail::Sealed);
    for order in [&[0, 2, 3][..], &[0, 2, 1, 3], &[1, 2, 3], &[0, 1, 1, 2, 3], &[0, 3]] {
        assert!(matches!(of(order), Tail::Broken { .. }), "{order:?}");
    }
    let other = Reader::for_session(&bytes[..], "s2").verify().unwrap();
    assert_eq!(other.tail, Tail::Broken { offset: 8 });
}

#[test]
fn events_out_of_place_break_a_recording_with_a_good_chain() {
    let second = Event { t: 1, ..start() };
    for frames in [
        &[query(1), end()][..],
        &[start(), second],
        &[start(), end(), query(1)],
        &[start(), end(), end()],
    ] {
        let tail = verify(&recording(&[frames])).tail;
        assert_eq!(tail, Tail::Broken { offset: 8 }, "{frames:?}");
    }
    assert_eq!(verify(&MAGIC).tail, Tail::Open);
    assert_eq!(verify(b"").tail, Tail::Torn { offset: 0, bytes: 0 });
    assert_eq!(verify(b"POSTERN2").tail, Tail::Broken { offset: 0 });
}

#[test]
fn garbage_under_a_good_digest_is_broken() {
    let mut chain = Chain::new("s1");
    let mut bytes = MAGIC.to_vec();
    let first = serde_json::to_string(&start()).unwrap() + "\n";
    chain.seal(first.as_bytes(), &mut bytes).unwrap();
    for payload in
        ["\n", "{}\n", "null\n", "{\"t\":1,\"e\":\"end\"}\n", "no line feed", &"[".repeat(100_000)]
    {
        let (mut chain, mut file) = (chain.clone(), bytes.clone());
        chain.seal(payload.as_bytes(), &mut file).unwrap();
        assert_eq!(
            verify(&file).tail,
            Tail::Broken { offset: bytes.len() as u64 },
            "{payload:.20}"
        );
    }
}

#[test]
fn a_length_is_not_believed_before_it_is_bounded() {
    let mut bytes = recording(&[&[start()]]);
    let offset = bytes.len() as u64;
    let head = bytes.len();
    bytes.extend(u32::MAX.to_le_bytes());
    assert_eq!(verify(&bytes).tail, Tail::Broken { offset });
    bytes[head..].copy_from_slice(&(MAX_PAYLOAD as u32).to_le_bytes());
    assert_eq!(verify(&bytes).tail, Tail::Torn { offset, bytes: 4 });
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(junk in proptest::collection::vec(any::<u8>(), 0..400), good in any::<bool>()) {
        let mut bytes = if good { recording(&[&[start()]]) } else { MAGIC.to_vec() };
        bytes.extend(&junk);
        let tail = verify(&bytes).tail;
        prop_assert!(tail != Tail::Sealed);
        prop_assert!(junk.is_empty() || tail != Tail::Open);
        let _ = verify(&junk);
    }

    #[test]
    fn arbitrary_payloads_never_panic(payload in proptest::collection::vec(any::<u8>(), 1..200)) {
        let mut chain = Chain::new("s1");
        let mut bytes = MAGIC.to_vec();
        chain.seal(&payload, &mut bytes).unwrap();
        let tail = verify(&bytes).tail;
        prop_assert_eq!(tail, Tail::Broken { offset: 8 });
    }
}
