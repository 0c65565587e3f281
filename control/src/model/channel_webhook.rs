//! Messages to a program, as signed JSON by the Standard Webhooks scheme.

use policies::Timestamp;
use reqwest::StatusCode;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};

use crate::model::channel::Hook;
use crate::model::channel_bounds::chain;
use crate::model::notice::{Notice, WebhookMessage};
use crate::platform::backoff::Outcome;
use crate::platform::outbound::{Answer, PostFault};
use crate::platform::webhook_signature::{sign_webhook, webhook_timestamp};

/// Sends a message. `id` is the same in every try, and the time of signing is now.
pub(crate) async fn send(hook: &Hook, id: &str, notice: &Notice, now: Timestamp) -> Outcome {
    let unfit = || Outcome::Never("the message can't be written or signed".to_owned());
    let Ok(body) = serde_json::to_vec(&WebhookMessage::from(notice)) else { return unfit() };
    let Some(headers) = headers(hook, id, now, &body) else { return unfit() };
    outcome(hook.client.post(&hook.url, headers, body).await)
}

fn headers(hook: &Hook, id: &str, now: Timestamp, body: &[u8]) -> Option<HeaderMap> {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert("webhook-id", HeaderValue::from_str(id).ok()?);
    headers.insert("webhook-timestamp", HeaderValue::from_str(&webhook_timestamp(now)).ok()?);
    let signature = sign_webhook(&hook.secrets, id, now, body);
    headers.insert("webhook-signature", HeaderValue::from_str(&signature).ok()?);
    Some(headers)
}

/// What a receiver's answer means.
pub(crate) fn outcome(answered: Result<Answer, PostFault>) -> Outcome {
    match answered {
        Ok(answer) if answer.status.is_success() => Outcome::Sent,
        Ok(Answer { status: StatusCode::GONE, .. }) => Outcome::Gone,
        Ok(answer) if answer.status.is_redirection() => {
            let message = format!("it answered {}: redirects are not followed", answer.status);
            Outcome::Later(message, None)
        }
        Ok(answer) if is_for_good(answer.status) => {
            let message =
                format!("it answered {}, which another try would not change", answer.status);
            Outcome::Never(message)
        }
        Ok(answer) => Outcome::Later(format!("it answered {}", answer.status), answer.retry_after),
        Err(fault) => Outcome::Later(chain(&fault), None),
    }
}

/// Whether the receiver says that this very message is not for it, now or later. Of the errors that
/// it holds against us, some are about the moment: slow, early, or too many.
fn is_for_good(status: StatusCode) -> bool {
    let of_the_moment =
        [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_EARLY, StatusCode::TOO_MANY_REQUESTS];
    status.is_client_error() && !of_the_moment.contains(&status)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::topic::Topic;

    #[test]
    fn a_payload_has_the_recommended_form_and_all_its_fields() {
        let payload = WebhookMessage::from(&Notice::sample(Topic::RequestAsked));
        let payload = serde_json::to_value(payload).unwrap();
        assert_eq!(payload["type"], "request.asked");
        assert_eq!(payload["timestamp"], "2027-01-15T08:00:00.000Z");
        let data = payload["data"].as_object().unwrap();
        assert_eq!(data["to"], json!(["bob"]));
        assert_eq!((&data["ttl"], &data["needs"]), (&json!("1h"), &json!("2 of dba")));
        assert_eq!(data.len(), 14);
    }

    #[test]
    fn only_a_2xx_is_done_and_what_the_receiver_refuses_is_not_tried_again() {
        let answered = |status: u16| {
            let status = StatusCode::from_u16(status).unwrap();
            outcome(Ok(Answer { status, retry_after: None }))
        };
        for status in [200, 201, 204] {
            assert_eq!(answered(status), Outcome::Sent);
        }
        assert_eq!(answered(410), Outcome::Gone);
        for status in [301, 302, 307, 408, 425, 429, 500, 502, 503] {
            assert!(matches!(answered(status), Outcome::Later(..)), "{status}");
        }
        for status in [400, 401, 403, 404, 405, 413, 415, 422, 451] {
            let Outcome::Never(why) = answered(status) else { panic!("{status}") };
            assert!(why.contains(&status.to_string()), "{why}");
        }
    }
}
