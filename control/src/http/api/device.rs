//! Signing a terminal in by a browser, in the words of RFC 8628.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use policies::DeviceId;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::error::{Kind, Problem, Problems};
use super::extract::Body;
use super::front::Front;
use super::guard::Source;
use super::login::{LoggedIn, logged_in, origin};
use crate::identity::devices::table::Polled;
use crate::model::login::LoginKind;

/// A terminal that wants to be signed in.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Terminal {
    /// The name of the device, which its person will be shown.
    #[schema(value_type = String, example = "laptop-7")]
    device: DeviceId,
    /// A certificate signing request in PEM.
    csr: String,
}

/// The codes of a terminal (RFC 8628, 3.2).
#[derive(Serialize, ToSchema)]
pub(crate) struct Codes {
    /// For `POST /api/v1/device/token`; a secret.
    device_code: String,
    /// For its person to type.
    #[schema(example = "KXQT-7M4P")]
    user_code: String,
    /// Where to type it.
    verification_uri: String,
    /// For how many seconds both are good.
    expires_in: u64,
    /// How many seconds to leave between two questions.
    interval: u64,
}

/// Begins to sign a terminal in: its person types the code in a browser where they are signed in.
#[utoipa::path(post, path = "/device", tag = "login", security(()), request_body = Terminal,
    responses((status = 200, body = Codes), Problems))]
pub(crate) async fn ask(
    State(front): State<Front>,
    source: Source,
    headers: HeaderMap,
    Body(requested): Body<Terminal>,
) -> Result<Json<Codes>, Problem> {
    front.bounds.sign_in(source)?;
    let origin = origin(LoginKind::Terminal, None, source, &headers);
    let offered = front.ask_device(&requested.csr, requested.device, &origin)?;
    let left = front.now().until(offered.expires_at);
    let secs = |millis: i64| u64::try_from(millis / 1_000).unwrap_or_default();
    Ok(Json(Codes {
        device_code: offered.device_code.expose_secret().to_owned(),
        user_code: offered.user_code,
        verification_uri: format!("{}/device", front.settings().base_url()),
        expires_in: secs(left.millis()),
        interval: secs(offered.interval.millis()),
    }))
}

/// The code of a terminal that asks whether it is in.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DeviceCode {
    #[schema(value_type = String)]
    device_code: SecretString,
}

/// Tells a terminal whether it is in. Until then it answers 400, with the error codes of RFC 8628,
/// 3.5 as `error`: `authorization_pending`, `slow_down`, `access_denied` and `expired_token`.
#[utoipa::path(post, path = "/device/token", tag = "login", security(()), request_body = DeviceCode,
    responses((status = 200, body = LoggedIn), Problems))]
pub(crate) async fn token(
    State(front): State<Front>,
    Body(requested): Body<DeviceCode>,
) -> Result<Json<LoggedIn>, Problem> {
    let not_yet = |error, detail| Problem::new(Kind::Invalid, detail).coded(error);
    match front.poll_device(&requested.device_code).await? {
        Polled::SignedIn(both) => {
            let (session, issued) = *both;
            Ok(Json(logged_in(&front, &session, Some(issued.into()))))
        }
        Polled::Pending => Err(not_yet("authorization_pending", "nobody has answered yet")),
        Polled::SlowDown => {
            Err(not_yet("slow_down", "leave five seconds more between two questions"))
        }
        Polled::Denied => Err(not_yet("access_denied", "the person said that it isn't theirs")),
        Polled::Expired => Err(not_yet("expired_token", "the code is no longer good: begin again")),
    }
}
