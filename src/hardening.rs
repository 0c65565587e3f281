//! What a process that runs for long does about itself before it reads a secret.
//!
//! Its memory holds credentials of targets and keys of authorities. So it leaves no core dump, and no other
//! process of its user may attach to it or read its memory.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Set to `1`, it lets debuggers and profilers in, and core dumps be written as the limits allow.
const ALLOW: &str = "POSTERN_ALLOW_DUMPS";

/// Keeps this process's memory to itself, unless the environment allows dumps. What can't be done is
/// printed: the gateway starts all the same.
pub fn keep_memory_private() {
    if std::env::var_os(ALLOW).is_some_and(|value| value == "1") {
        crate::terminal::note(&format!(
            "{ALLOW}=1: core dumps and debuggers may read the credentials that this process holds"
        ));
        return;
    }
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    if let Err(error) = setrlimit(Resource::Core, none) {
        crate::terminal::note(&format!("core dumps can't be turned off: {error}"));
    }
    if let Err(error) = forbid_attaching() {
        crate::terminal::note(&format!("other processes can't be kept from attaching: {error}"));
    }
}

#[cfg(target_os = "linux")]
fn forbid_attaching() -> rustix::io::Result<()> {
    use rustix::process::{DumpableBehavior, set_dumpable_behavior};
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
}

#[cfg(not(target_os = "linux"))]
fn forbid_attaching() -> rustix::io::Result<()> {
    Ok(())
}

/// Takes as many file descriptors as this process may have: a session needs three, and the limit that
/// a shell sets by default is a thousand.
pub(crate) fn raise_descriptor_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "the limit of file descriptors can't be raised");
    }
}
