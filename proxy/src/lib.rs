//! Postern proxy.
