//! What the SSH plane promises of bytes that it didn't make, for `tests/fuzz` to try to break.
//!
//! Each function takes any bytes and fails where a promise does not hold. The inputs in `tests/fuzz/seeds`
//! are tests here.

mod sftp_channel;

use policies::TargetName;

use crate::fuzz::steps::steps;
use crate::ssh::auth::route::Route;
use crate::ssh::preamble::{Preamble, Unsafe};
use crate::ssh::sftp::{Fault, Flow, Limit, Sftp};
pub use sftp_channel::sftp_channel;

/// The first packets of both sides.
const INIT: &[u8] = &[0, 0, 0, 5, 1, 0, 0, 0, 3];
const VERSION: &[u8] = &[0, 0, 0, 5, 2, 0, 0, 0, 3];
/// What a client may not send where only reading is allowed: writes, and what changes a file by its name.
const CHANGING: [u8; 8] = [6, 9, 10, 13, 14, 15, 18, 20];

/// A user name means what it says, to the byte, or leads nowhere.
pub fn route(bytes: &[u8]) {
    let Ok(user) = std::str::from_utf8(bytes) else { return };
    match Route::read(user) {
        Ok(Route::Target(login, target)) => {
            assert_eq!(format!("{login}@{target}"), user);
            assert!(!user.contains(char::is_control));
        }
        Ok(Route::Jump) => assert!(!user.contains('@')),
        Err(why) => assert!(why.to_string().len() < 4096),
    }
    let Ok(target) = TargetName::new("web-1") else { return };
    if let Ok(Route::Target(login, within)) = Route::within(user, &target) {
        assert!(login.as_str() == user && within == target);
    }
}

/// Only a client that offers the strict key exchange goes on, however the bytes come; and little is held.
pub fn preamble(bytes: &[u8]) {
    let Some((size, sent)) = bytes.split_first() else { return };
    // A client that sends enough has shown whether it follows the strict exchange.
    let sent = [sent, &[b'\n'; 20_000]].concat();
    let passed_at_once = passed(&sent, usize::MAX);
    assert_eq!(passed(&sent, usize::from(*size) + 1), passed_at_once);
    let strict = b"kex-strict-c-v00@openssh.com";
    assert!(passed_at_once.is_err() || sent.windows(strict.len()).any(|at| at == strict));
}

fn passed(sent: &[u8], size: usize) -> Result<(), Unsafe> {
    let mut preamble = Preamble::default();
    sent.chunks(size).try_for_each(|piece| {
        let passed = preamble.pass(piece);
        assert!(preamble.is_bounded());
        passed
    })
}

/// However a conversation is cut, the same comes of it; where only reading is allowed, nothing else reaches
/// the target; and little is held.
pub fn sftp(bytes: &[u8]) {
    let Some((how, rest)) = bytes.split_first() else { return };
    let read_only = how & 1 != 0;
    let under: &[&str] = if how & 2 != 0 { &["/a"] } else { &[] };
    let Some(limit) = Limit::new(read_only, under) else { return };
    let mut sent = steps(rest);
    if how & 4 == 0 {
        sent.splice(0..0, [(0, INIT), (1, VERSION)]);
    }
    let (whole, fault) = played(&limit, &sent, usize::MAX);
    let (cut, cut_fault) = played(&limit, &sent, usize::from(how >> 3) + 1);
    assert_eq!(fault, cut_fault);
    assert_eq!(whole.events, cut.events);
    if fault.is_none() {
        assert!(whole.to_target == cut.to_target && whole.to_client == cut.to_client);
    }
    assert!(!read_only || !changes(&whole.to_target), "only reading is allowed");
}

/// What came of a conversation, in which each side's bytes come in pieces of this size.
fn played(limit: &Limit, sent: &[(u8, &[u8])], size: usize) -> (Flow, Option<Fault>) {
    let (mut sftp, mut flow) = (Sftp::new(7, limit.clone()), Flow::default());
    let pieces = sent.iter().flat_map(|(who, sent)| sent.chunks(size).map(|it| (*who, it)));
    for (who, piece) in pieces {
        let went = match who % 2 {
            0 => sftp.client(piece, &mut flow),
            _ => sftp.target(piece, &mut flow),
        };
        assert!(sftp.is_bounded());
        if let Err(fault) = went {
            return (flow, Some(fault));
        }
    }
    sftp.close(&mut flow);
    (flow, None)
}

/// Whether a packet that went to the target changes anything.
fn changes(mut packets: &[u8]) -> bool {
    while let Some((length, rest)) = packets.split_first_chunk() {
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        if rest.first().is_some_and(|kind| CHANGING.contains(kind)) {
            return true;
        }
        packets = rest.get(length..).unwrap_or_default();
    }
    false
}

#[cfg(test)]
mod tests {
    use crate::fuzz::seeds;

    #[test]
    fn every_seed_holds() {
        seeds::each("route", super::route);
        seeds::each("preamble", super::preamble);
        seeds::each("sftp", super::sftp);
        seeds::each("sftp_channel", super::sftp_channel);
    }
}
