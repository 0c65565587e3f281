//! The domain of Postern, and nothing else: no I/O, no clock, no runtime.
//!
//! A request is asked by a [`Principal`] for a [`Resource`] (a login and a database on a
//! [`Target`]); the [`RuleBook`] decides what it takes; a [`Request`] collects it; a [`Grant`] is
//! the durable yes; a [`Lease`] is the grant as a proxy holds it; [`admit`] turns a lease into an
//! [`Admission`], the only value with which a connection may reach a target.
//!
//! Everything that depends on time takes it as an argument.

mod admit;
mod anatomy;
mod annotation;
mod approvals;
mod calendar;
mod decide;
mod directory;
mod end;
mod explain;
mod facts;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzz;
mod grant;
mod grounds;
mod identity;
mod lease;
mod lint;
mod lock;
mod name;
mod obligations;
mod other_human;
mod policy;
mod quorum;
mod reads;
mod request;
mod review;
mod roster;
mod size;
mod ssh;
mod step_up;
mod target;
mod terms;
mod time;

pub use admit::{Admission, AdmissionQuery, Denial, admit};
pub use anatomy::{Mention, Place, RuleView};
pub use annotation::{ANNOTATIONS, Annotation};
pub use approvals::{Approvals, ApprovalsError, Progress};
pub use calendar::{Calendar, Day, Fineness, Holiday, HolidayError, Local, Window, WindowError};
pub use decide::Decision;
pub use directory::{Directory, Member};
pub use end::End;
pub use explain::{
    Approvers, Cited, Course, Denied, Ends, Explanation, Inquiry, InquiryError, Otherwise, TIMES,
    Verdict, summary,
};
pub use facts::{Act, Facts, Risk};
pub use grant::{Grant, GrantError, GrantEvent, GrantState};
pub use grounds::{Grounds, Named};
pub use identity::{Authn, Method, Principal, WORKLOAD_DEVICE};
pub use lease::{Lease, LeaseKey, Term};
pub use lint::{Finding, Findings, Level};
pub use lock::{Lock, Subject};
pub use name::{
    CredentialId, Database, DeviceId, Environment, GrantId, GroupName, IssuerName, LockId, Login,
    LoginId, NameError, PrincipalId, RequestId, ReviewId, SessionId, StepUpId, TargetName, Ticket,
};
pub use obligations::{Obligations, PatternError, Record, TicketPattern, UnknownRecord};
pub use other_human::{OtherHuman, SameHuman};
pub use policy::{PolicyError, PolicyFault, RuleBook, SCHEMA, Source};
pub use quorum::{Quorum, QuorumError};
pub use request::{
    Approval, Digest, Edit, Request, RequestError, RequestEvent, RequestState, Wanted,
};
pub use review::{Review, ReviewError, ReviewState, Signature};
pub use roster::{Roster, Shift};
pub use size::{Amount, AmountError, Rounded, Size, SizeError};
pub use ssh::{Channel, Ssh, StreamBound, StreamBoundError, UnknownChannel};
pub use step_up::{Bound, Need, Purpose, StepUp, StepUpError, StepUpKind};
pub use target::{
    Binds, Credential, Hold, Kind, Partition, Recording, Resource, ResourceError, Target,
    UpstreamTls, WeakAuth,
};
pub use terms::{MissingInput, Refusal, RequiredInput, Terms};
pub use time::{Timestamp, TimestampError, Ttl, TtlError};
