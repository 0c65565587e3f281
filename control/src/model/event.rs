//! What goes into the audit log.

use std::fmt;
use std::str::FromStr;

use policies::{NameError, PrincipalId};
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use crate::model::actor::Actor;
use crate::model::audit_kind::AuditKind;

/// One event.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    pub(crate) by: By,
    pub(crate) kind: AuditKind,
    /// The id of what it happened to.
    pub(crate) subject: String,
    /// The rest; never a secret.
    pub(crate) detail: Value,
}

/// Who did it. The prefixes keep a person who is called `control` apart from control.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum By {
    Principal(PrincipalId),
    /// Somebody at the console of the machine.
    Operator,
    /// Control itself: time passed, or the inventory changed.
    Control,
    Proxy(String),
    /// Another system, by a signed message.
    Hook(&'static str),
}

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Principal(id) => write!(f, "principal:{id}"),
            Self::Operator => f.write_str("operator"),
            Self::Control => f.write_str("control"),
            Self::Proxy(name) => write!(f, "proxy:{name}"),
            Self::Hook(name) => write!(f, "webhook:{name}"),
        }
    }
}

impl Serialize for By {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for By {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

impl FromStr for By {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            None if text == "operator" => Ok(Self::Operator),
            None if text == "control" => Ok(Self::Control),
            Some(("principal", id)) => {
                id.parse().map(Self::Principal).map_err(|error: NameError| error.to_string())
            }
            Some(("proxy", name)) => Ok(Self::Proxy(name.to_owned())),
            _ => Err(format!("`{text}` names no actor")),
        }
    }
}

impl From<&Actor> for By {
    fn from(actor: &Actor) -> Self {
        Self::Principal(actor.principal.id.clone())
    }
}

impl Event {
    pub(crate) fn new(
        by: impl Into<By>,
        kind: AuditKind,
        subject: impl ToString,
        detail: Value,
    ) -> Self {
        let (by, subject) = (by.into(), subject.to_string());
        Self { by, kind, subject, detail }
    }
}

#[cfg(test)]
impl Event {
    /// Fails where the detail has a field that the schema of its kind doesn't list.
    pub(crate) fn keeps_to_its_schema(&self) {
        let listed = self.kind.schema().fields;
        let fields = self.detail.as_object().expect("the detail is an object");
        let strays: Vec<_> =
            fields.keys().filter(|field| !listed.contains(&field.as_str())).collect();
        assert!(
            strays.is_empty(),
            "{} has fields that its schema doesn't list: {strays:?}",
            self.kind
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_can_be_mistaken_for_control() {
        let person = By::Principal(PrincipalId::new("control").unwrap());
        assert_eq!(
            (person.to_string().as_str(), By::Control.to_string().as_str()),
            ("principal:control", "control")
        );
    }
}
