//! What handlers share.

use std::sync::Arc;

use utoipa::openapi::OpenApi as Document;

use crate::http::Control;
use crate::http::api::guard::Bounds;
use crate::http::api::replay::Replays;

/// What handlers share.
#[derive(Clone)]
pub(crate) struct Api {
    pub(crate) control: Control,
    pub(crate) bounds: Bounds,
    pub(super) replays: Arc<Replays>,
    pub(super) document: Arc<Document>,
}

impl Api {
    pub(in crate::http) fn new(control: Control, bounds: Bounds, document: Document) -> Self {
        let replays = Arc::new(Replays::new());
        Self { control, bounds, replays, document: Arc::new(document) }
    }
}
