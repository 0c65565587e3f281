//! Tools for people who write rules, without a gateway: what a folder of rules and a configuration
//! say about each other.
//!
//! A [`PolicyContext`] is the configuration as far as rules see it, without any secret. [`Folder`] is a set
//! of rules with its text, so that what is found can be shown where it stands. [`cases`] runs tables
//! of cases, [`differ`] compares two sets of rules, [`replay`] asks them about what was asked for in
//! the past.

pub mod cases;
pub mod context;
pub mod differ;
pub mod folder;
pub mod replay;

pub use context::PolicyContext;
pub use folder::Folder;
