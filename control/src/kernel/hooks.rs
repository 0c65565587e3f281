//! What layers above do inside a change of the kernel, which doesn't know them.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use policies::PrincipalId;

use crate::kernel::Kernel;
use crate::kernel::cuts::Deed;
use crate::kernel::transaction::Transaction;
use crate::model::error::ControlError;
use crate::model::event::Event;
use crate::model::inventory::Inventory;

/// Work of a layer above, on its way.
pub(crate) type Work<'a> = Pin<Box<dyn Future<Output = Result<(), ControlError>> + Send + 'a>>;

/// The composition root implements it once, by the layers that it composes.
pub(crate) trait Hooks: Send + Sync {
    /// An event was recorded: puts the messages about it into the outbox.
    fn recorded<'a>(&'a self, tx: &'a mut Transaction, event: &'a Event) -> Work<'a>;

    /// Writes one deed of a cut that was made while the store could not be written.
    fn redo<'a>(&'a self, tx: &'a mut Transaction, deed: Deed) -> Work<'a>;

    /// Decides again about everybody's live access, or one person's.
    fn reconsider<'a>(
        &'a self,
        tx: &'a mut Transaction,
        whose: Option<&'a PrincipalId>,
    ) -> Work<'a>;

    /// Puts the configuration in force that waited until the store could be written.
    fn resume<'a>(&'a self, kernel: &'a Kernel, next: Arc<Inventory>) -> Work<'a>;
}

impl Transaction {
    /// Decides again about everybody's live access, or one person's.
    pub(crate) async fn reconsider(
        &mut self,
        whose: Option<&PrincipalId>,
    ) -> Result<(), ControlError> {
        let kernel = self.kernel().clone();
        kernel.0.hooks.reconsider(self, whose).await
    }
}
