//! The evidence a session leaves: how it is written, how anyone can check it, how secrets are kept
//! out of it.
//!
//! # The recording format, version 1
//!
//! A recording is one file per session. Integers are little-endian, text is UTF-8.
//!
//! ```text
//! file    = magic frame*
//! magic   = "POSTERN1"                                        8 bytes
//! frame   = length payload head
//! length  = size of payload in bytes, 1 ..= 4,194,304         4 bytes, u32
//! payload = event+                                            `length` bytes
//! event   = one JSON object and a line feed (no line feed within)
//! head    = SHA-256(previous head || length || payload)       32 bytes
//! ```
//!
//! The head before the first frame is `SHA-256("postern recording v1" || 0x00 || session id)`,
//! where the session id is the value of `session` in the first event. That event is a `start`,
//! there is no other, and nothing follows an `end`. The last head of a file thus stands for every
//! byte of it: published elsewhere, it proves the file whole. By itself the chain shows damage and
//! truncation; it has no key, so that only a head kept elsewhere shows a file rewritten from some
//! frame on.
//!
//! A file read to its end is in one of four states ([`Tail`]): *sealed* (whole, its last event is
//! `end`), *open* (whole, no `end` yet), *torn* (the last frame is incomplete: the writer died) and
//! *broken* (a digest or the grammar above is violated). A torn file is good up to the tear.
//!
//! # Events
//!
//! Every event has `t`, microseconds since the session started, and `e`, its kind. [`Kind`] lists
//! the kinds and their fields, spelled in JSON as they are there, in snake case. A reader ignores
//! fields it doesn't know.
//!
//! - `n` numbers what the client asked to be executed in this session (`query`, `execute`, `call`),
//!   from 1, rising. Answers (`done`, `failed`) carry the `n` they answer; one `query` of several
//!   statements has several.
//! - A failure makes the target skip what was sent until it is ready again, which `recovered` says.
//!   So a `parse` or `bind` since the `failed` before it, or in flight then, may not have been taken:
//!   its name may stand for what it stood for before. SQL changes names too (`PREPARE`, `DECLARE`).
//! - Where it isn't certain which execution an answer belongs to, `unknown` names all that it may belong
//!   to, and the answer follows with `n` 0. So a client that sends Sync while the target fails a COPY
//!   leaves it open for a while what the target skips. An answer may be recorded later than it came, once
//!   others have shown to which execution it belongs.
//! - Data of COPY comes as `data` as far as it is kept, and its length and SHA-256 as `copy_in` or
//!   `copy_out`. In a piece of `data` secrets are masked like those of values, and a digest begins behind
//!   the last masked piece (`from`), so that nobody can try passwords against it.
//! - Text is a JSON string, or `{"base64": "…"}` (standard alphabet, padded) where the bytes are
//!   not UTF-8.
//! - A bind value is `null`, a string, `{"base64": "…"}`, `{"sha256": "…", "len": n}` (lower-case
//!   hex; kept as a digest), `{"first": text, "sha256": "…", "from": n, "len": n}` (a long one: its first
//!   bytes, and the digest of what stands from `from`, or 0, on) or `{"omitted": n}` (left out; its length).
//! - What is too large for one frame comes in parts (`query_part`, `parse_part`, `bind_part`), in
//!   order, the last one with `"last": true`. A part may end within a character and then comes as
//!   base64.
//! - What happens in an SSH session is one kind, `ssh`, and [`ssh::Ssh`] lists what may have happened,
//!   spelled the same way under `ssh`. `ch` numbers the channels of the connection, from 0.
//! - A channel with an event `terminal` has what the terminal showed as `output`. One without has its streams
//!   as `input`, `output` and `stderr`, in order and without a gap, up to a bound. Where a stream passes the
//!   bound, `stream_cut` says how much of it is kept; then `stream_digest` has the number of its bytes and
//!   their SHA-256 from its first byte on, whenever that number has doubled, and with `"last": true` at its end.
//!
//! # Modules
//!
//! [`frame`] writes, [`reader`] reads and verifies, [`statements`] folds events into what a person
//! wants to see, [`mod@ssh`] has what SSH leaves, [`mod@mask`] takes secrets out of SQL before it is recorded. Nothing here knows a
//! clock, a file or a socket.

pub mod chain;
pub mod event;
mod fold;
pub mod frame;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzz;
pub mod mask;
mod names;
mod prepared;
pub mod reader;
mod renamings;
pub mod ssh;
pub mod statements;
mod summary;

pub use chain::{Chain, Digest, Head, MAGIC, MAX_PAYLOAD};
pub use event::{End, Event, Kind, PART_BYTES, Source, Start, Text, Value};
pub use frame::{WriteError, Writer};
pub use mask::{IndexSet, MAX_SECRET, Masked, Masker, mask, mask_secret, mask_value};
pub use reader::{Reader, Tail, Verified};
pub use renamings::Mentions;
pub use ssh::Ssh;
pub use statements::{Alternative, Copied, Fold, Outcome, Statement, Statements};
pub use summary::Summary;
