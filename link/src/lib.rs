//! The contract between control and proxies: one gRPC service, and its conversions to the domain.
//!
//! In one process the same service runs over an in-memory pipe, so there is one code path for all
//! shapes. What comes off the wire becomes a domain type here or is refused here.

mod convert;
mod pipe;

pub use convert::Malformed;
pub use pipe::pipe;

/// Generated from `proto/postern/link/v1/link.proto`.
pub mod v1 {
    #![allow(
        missing_docs,
        unreachable_pub,
        clippy::all,
        clippy::too_many_lines,
        reason = "generated code"
    )]
    tonic::include_proto!("postern.link.v1");
}
