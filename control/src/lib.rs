//! Postern control.
