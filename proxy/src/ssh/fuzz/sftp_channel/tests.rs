use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestError, TestRng, TestRunner};

use super::{Fault, compare, sftp_channel};

/// Bytes that read as these steps.
fn input(how: u8, steps: &[(u8, Vec<u8>)]) -> Vec<u8> {
    let mut input = vec![how];
    for (what, bytes) in steps {
        input.push(what << 5 | u8::try_from(bytes.len()).unwrap());
        input.extend(bytes);
    }
    input
}

/// The kinds of requests that exist, more often than those that don't.
fn step() -> impl Strategy<Value = (u8, Vec<u8>)> {
    let bytes = || proptest::collection::vec(any::<u8>(), 0..32);
    let known =
        (prop::sample::select(vec![3_u8, 4, 5, 7, 9, 11, 13, 14, 16, 18, 20, 200]), bytes());
    let path = "/[a-c]{1,3}".prop_map(String::into_bytes);
    prop_oneof![
        3 => (0_u8..8, bytes()),
        2 => known.prop_map(|(kind, rest)| (1, [&[kind][..], &rest[..rest.len().min(30)]].concat())),
        3 => path.prop_map(|path| (2, path)),
        3 => (1_u8..4, bytes()).prop_map(|(at, rest)| (3, [&[at][..], &rest[..rest.len().min(30)]].concat())),
        1 => (1_u8..4).prop_map(|handle| (1, vec![super::CLOSE, 0, 0, 0, 1, handle])),
        2 => any::<u8>().prop_map(|most| (6, vec![most])),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn the_target_does_nothing_that_the_recording_does_not_have(
        how: u8,
        steps in proptest::collection::vec(step(), 0..24),
    ) {
        sftp_channel(&input(how, &steps));
    }
}

/// A write is open at the target when the client asks for file transfer again: what follows would be
/// packets of its own for a client that began again.
fn a_request_within_a_write() -> Vec<u8> {
    let mkdir = [&[14][..], &super::string(b"/out"), &[0; 4]].concat();
    let steps = [
        (2, b"/in".to_vec()),
        (6, vec![255]),
        (5, vec![60, b'x']),
        (6, vec![0]),
        (4, vec![0]),
        (0, super::INIT.to_vec()),
        (1, mkdir),
    ];
    input(0xf8, &steps)
}

#[test]
fn a_request_within_a_write_makes_nobody_read_anew() {
    sftp_channel(&a_request_within_a_write());
}

/// The target gives the handle of the closed file to the next one before its answers are here.
#[test]
fn a_write_by_a_closed_handle_stands_by_no_other_file() {
    let steps = [
        (2, b"/in".to_vec()),
        (6, vec![255]),
        (1, vec![super::CLOSE, 0, 0, 0, 1, 1]),
        (2, b"/out".to_vec()),
        (3, vec![1, b'x']),
        (6, vec![255]),
    ];
    sftp_channel(&input(0xf8, &steps));
}

#[test]
#[should_panic(expected = "what is done is recorded, and nothing else")]
fn the_comparison_finds_a_parser_that_begins_anew() {
    compare(&a_request_within_a_write(), Some(Fault::NewParser));
}

#[test]
fn the_comparison_finds_what_is_not_recorded_or_passes_though_refused() {
    for fault in [Fault::UnrecordedOpen, Fault::PassedRefusal] {
        let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
        let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
        let steps = (any::<u8>(), proptest::collection::vec(step(), 0..24));
        let outcome = TestRunner::new_with_rng(config, rng).run(&steps, |(how, steps)| {
            compare(&input(how, &steps), Some(fault));
            Ok(())
        });
        let Err(TestError::Fail(_, (how, steps))) = outcome else {
            panic!("{fault:?} is not found: {outcome:?}");
        };
        // It is the fault that was found: the gateway as it is does the same right.
        sftp_channel(&input(how, &steps));
    }
}
