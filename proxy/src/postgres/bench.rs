//! The scanners of the relay, for a bench to drive over bytes of its own.

use audit::Kind;
use policies::Binds;
use tokio::time::Instant;

use super::backend::Backend;
use super::flight::Flight;
use super::frontend::Frontend;
use super::wire::WireError;

/// Both scanners of one session, and what is under way between them.
#[derive(Debug)]
pub struct Scanners {
    frontend: Frontend,
    backend: Backend,
    flight: Flight,
}

impl Default for Scanners {
    fn default() -> Self {
        Self {
            frontend: Frontend::new(Binds::Keep.into()),
            backend: Backend::default(),
            flight: Flight::default(),
        }
    }
}

impl Scanners {
    /// Looks at bytes of a client's, and returns how many of them may go on; none where they aren't
    /// Postgres.
    pub fn up(
        &mut self,
        bytes: &[u8],
        now: Instant,
        mut emit: impl FnMut(Kind<'_>),
    ) -> Option<usize> {
        let mut emit = |kind: Kind<'_>| -> Result<(), WireError> {
            emit(kind);
            Ok(())
        };
        let scanned = self.frontend.scan(bytes, &mut self.flight, now, &mut emit);
        scanned.ok().map(|scanned| scanned.clear)
    }

    /// The same for bytes of a target's.
    pub fn down(
        &mut self,
        bytes: &[u8],
        now: Instant,
        mut emit: impl FnMut(Kind<'_>),
    ) -> Option<usize> {
        let mut emit = |kind: Kind<'_>| -> Result<(), WireError> {
            emit(kind);
            Ok(())
        };
        let scanned = self.backend.scan(bytes, &mut self.flight, now, &mut emit);
        scanned.ok().map(|scanned| scanned.clear)
    }
}
