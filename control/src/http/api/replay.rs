//! Idempotency keys: a request that is sent again with the same key gets the first answer again.
//!
//! Answers live in memory for a day, 10,000 in all and 500 a person, oldest out first. A restart
//! or an eviction forgets them, and then asking again changes nothing: control gives the pending
//! request or the live grant that is already there instead of a second one. Only a success is kept,
//! since a refusal has changed nothing.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use axum::http::HeaderMap;
use policies::{PrincipalId, Timestamp, Ttl};
use sha2::{Digest, Sha256};

use super::error::{Kind, Problem};

const ANSWERS: usize = 10_000;
const ANSWERS_EACH: usize = 500;
const KEPT: Ttl = Ttl::from_secs(24 * 3_600);
const KEY_MAX: usize = 128;

/// The answers so far.
pub(crate) struct Replays(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    entries: HashMap<Slot, Entry>,
    order: VecDeque<Slot>,
}

/// Whose key it is: nobody sees an answer that was given to somebody else.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Slot {
    principal: PrincipalId,
    key: String,
}

struct Entry {
    body: [u8; 32],
    at: Timestamp,
    answer: Option<serde_json::Value>,
}

/// What a key stands for at the moment.
pub(crate) enum Turn<'a> {
    /// It is new: do the work, then [`Claim::keep`] its answer.
    First(Claim<'a>),
    /// It was done before, with this answer.
    Again(serde_json::Value),
}

/// The right to answer for a key. Dropped without an answer, it leaves the key as it was.
pub(crate) struct Claim<'a> {
    replays: &'a Replays,
    slot: Option<Slot>,
}

impl Replays {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(Kept::default()))
    }

    /// Looks the key of these headers up; without one, each request is the first.
    ///
    /// # Errors
    /// Where the key is malformed, at work right now, or belongs to another body.
    pub(crate) fn turn(
        &self,
        principal: &PrincipalId,
        headers: &HeaderMap,
        body: &[u8],
        now: Timestamp,
    ) -> Result<Turn<'_>, Problem> {
        let Some(key) = key(headers)? else {
            return Ok(self.claim(None));
        };
        let slot = Slot { principal: principal.clone(), key };
        let body = Sha256::digest(body).into();
        let mut kept = self.kept();
        kept.forget(now);
        match kept.entries.get(&slot) {
            Some(entry) => entry.again(body),
            None => {
                kept.open(slot.clone(), body, now);
                Ok(self.claim(Some(slot)))
            }
        }
    }

    fn claim(&self, slot: Option<Slot>) -> Turn<'_> {
        let replays = self;
        Turn::First(Claim { replays, slot })
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        // A panic leaves the maps whole: each change is one insertion or one removal.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(value) = headers.get("idempotency-key") else {
        return Ok(None);
    };
    let text = value.to_str().unwrap_or_default();
    if text.is_empty() || text.len() > KEY_MAX {
        let detail = format!("an idempotency key has 1 to {KEY_MAX} printable ASCII characters");
        return Err(Problem::new(Kind::Invalid, detail));
    }
    Ok(Some(text.to_owned()))
}

impl Entry {
    fn again<'a>(&self, body: [u8; 32]) -> Result<Turn<'a>, Problem> {
        if self.body != body {
            let detail = "the key was used with another body: take a new key";
            return Err(Problem::new(Kind::KeyReused, detail));
        }
        let answer = self.answer.clone().map(Turn::Again);
        answer.ok_or_else(|| {
            let detail = "a request with this key is at work: try again in a moment";
            Problem::new(Kind::Conflict, detail)
        })
    }
}

impl Kept {
    fn forget(&mut self, now: Timestamp) {
        let old = |slot: &Slot| {
            let entry = self.entries.get(slot);
            entry.is_none_or(|entry| entry.at.after(KEPT) <= now)
        };
        let gone = self.order.iter().take_while(|slot| old(slot)).count();
        for slot in self.order.drain(..gone).collect::<Vec<_>>() {
            self.entries.remove(&slot);
        }
    }

    fn open(&mut self, slot: Slot, body: [u8; 32], now: Timestamp) {
        let theirs = |other: &Slot| other.principal == slot.principal;
        if self.order.iter().filter(|other| theirs(other)).count() >= ANSWERS_EACH {
            let oldest = self.order.iter().position(theirs);
            self.evict(oldest);
        }
        if self.order.len() >= ANSWERS {
            self.evict(Some(0));
        }
        let answer = None;
        self.entries.insert(slot.clone(), Entry { body, at: now, answer });
        self.order.push_back(slot);
    }

    fn evict(&mut self, place: Option<usize>) {
        if let Some(slot) = place.and_then(|place| self.order.remove(place)) {
            self.entries.remove(&slot);
        }
    }
}

impl Claim<'_> {
    /// Keeps the answer for those who ask again.
    pub(crate) fn keep(mut self, answer: &serde_json::Value) {
        let slot = self.slot.take();
        let mut kept = self.replays.kept();
        if let Some(entry) = slot.and_then(|slot| kept.entries.get_mut(&slot)) {
            entry.answer = Some(answer.clone());
        }
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        let Some(slot) = self.slot.take() else { return };
        let mut kept = self.replays.kept();
        kept.entries.remove(&slot);
        kept.order.retain(|other| *other != slot);
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use serde_json::json;

    use super::*;

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_millis(secs * 1_000)
    }

    fn headers(key: &str) -> HeaderMap {
        HeaderMap::from_iter([(
            axum::http::HeaderName::from_static("idempotency-key"),
            HeaderValue::from_str(key).unwrap(),
        )])
    }

    fn describe(turn: Result<Turn<'_>, Problem>) -> String {
        match turn {
            Ok(Turn::First(_)) => "first".into(),
            Ok(Turn::Again(answer)) => answer.to_string(),
            Err(problem) => problem.status().as_str().into(),
        }
    }

    fn keep(replays: &Replays, who: &PrincipalId, key: &str, now: i64) {
        match replays.turn(who, &headers(key), b"a", at(now)) {
            Ok(Turn::First(claim)) => claim.keep(&json!(1)),
            other => panic!("{}", describe(other)),
        }
    }

    #[test]
    fn a_key_gives_its_first_answer_to_its_owner_for_a_day() {
        let replays = Replays::new();
        let (alice, bob) = ("alice".parse().unwrap(), "bob".parse().unwrap());
        keep(&replays, &alice, "k", 0);
        for (who, key, body, now, expected) in [
            (&alice, "k", b"a", 1, "1"),
            (&alice, "k", b"b", 1, "422"),
            (&bob, "k", b"a", 1, "first"),
            (&alice, "l", b"a", 1, "first"),
            (&alice, "k", b"a", 86_399, "1"),
            (&alice, "k", b"a", 86_400, "first"),
        ] {
            assert_eq!(describe(replays.turn(who, &headers(key), body, at(now))), expected);
        }
    }

    #[test]
    fn a_key_at_work_is_refused_and_a_failed_one_is_free_again() {
        let replays = Replays::new();
        let alice = "alice".parse().unwrap();
        let turn = || replays.turn(&alice, &headers("k"), b"a", at(0));
        let claim = turn();
        assert_eq!(describe(turn()), "409");
        drop(claim);
        assert_eq!(describe(turn()), "first");
    }

    #[test]
    fn memory_is_bounded_and_nobody_pushes_others_out_alone() {
        let replays = Replays::new();
        let (alice, bob) = ("alice".parse().unwrap(), "bob".parse().unwrap());
        keep(&replays, &bob, "b", 0);
        for number in 0..2 * ANSWERS_EACH {
            keep(&replays, &alice, &format!("k{number}"), 1);
        }
        assert_eq!(replays.kept().order.len(), ANSWERS_EACH + 1);
        assert_eq!(replays.kept().entries.len(), ANSWERS_EACH + 1);
        assert_eq!(describe(replays.turn(&bob, &headers("b"), b"a", at(1))), "1");
    }

    #[test]
    fn a_malformed_key_is_refused() {
        let replays = Replays::new();
        let alice = "alice".parse().unwrap();
        for key in ["", &"k".repeat(KEY_MAX + 1)] {
            assert_eq!(describe(replays.turn(&alice, &headers(key), b"a", at(0))), "400");
        }
    }
}
