//! Messages to a channel of Slack, by an incoming webhook.
//!
//! The button is a link to the page of the request, where the passkey is asked for: nobody approves by a
//! click in a chat, and there is no endpoint that Slack, or whoever can speak for it, could tell us to
//! approve something by. Nothing is unfurled, and text is taken as it stands (`verbatim`), so that no
//! name or address in a reason becomes a call or a link.

use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use serde_json::{Value, json};

use crate::model::channel::Hook;
use crate::model::channel_template::{Part, TemplateFault, Templates, slack_text};
use crate::model::channel_webhook;
use crate::model::notice::Notice;
use crate::platform::backoff::Outcome;

/// What Slack takes in one section, in characters.
const LONGEST_SECTION: usize = 2_900;

pub(crate) async fn send(hook: &Hook, templates: &Templates, notice: &Notice) -> Outcome {
    let body = match message(templates, notice) {
        Ok(message) => message.to_string().into_bytes(),
        Err(fault) => return Outcome::Later(fault.to_string(), None),
    };
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    channel_webhook::outcome(hook.client.post(&hook.url, headers, body).await)
}

fn message(templates: &Templates, notice: &Notice) -> Result<Value, TemplateFault> {
    let title = templates.render(Part::Subject, notice)?;
    let body = templates.render(Part::Slack, notice)?;
    let body = cut(body.trim());
    let mut blocks = vec![json!({
        "type": "header",
        "text": { "type": "plain_text", "text": title, "emoji": false },
    })];
    if !body.is_empty() {
        blocks.push(json!({
            "type": "section",
            "text": { "type": "mrkdwn", "text": body, "verbatim": true },
        }));
    }
    blocks.push(json!({
        "type": "actions",
        "elements": [{
            "type": "button",
            "text": { "type": "plain_text", "text": notice.action(), "emoji": false },
            "url": notice.url,
        }],
    }));
    Ok(json!({
        "text": slack_text(&title),
        "blocks": blocks,
        "unfurl_links": false,
        "unfurl_media": false,
    }))
}

/// Cut between lines, so that no escape is cut in two.
fn cut(text: &str) -> String {
    let mut kept = String::new();
    for line in text.lines() {
        if kept.chars().count() + line.chars().count() > LONGEST_SECTION {
            break;
        }
        kept.push_str(line);
        kept.push('\n');
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::topic::Topic;

    fn hostile() -> Notice {
        let mut notice = Notice::sample(Topic::RequestAsked);
        notice.said.name = Some("<!channel>".to_owned());
        notice.said.reason = Some("<https://evil.example.com|Approve> @here".to_owned());
        notice
    }

    #[test]
    fn the_button_leads_to_the_page_and_nothing_else_acts() {
        let message = message(&Templates::default(), &hostile()).unwrap();
        let button = &message["blocks"][2]["elements"][0];
        assert_eq!(button["url"], "https://gate.example.com/r/rq-abcdefabcdef");
        assert_eq!(button["text"]["text"], "Read and decide");
        assert!(button.get("action_id").is_none() && button.get("value").is_none());
    }

    #[test]
    fn a_reason_calls_nobody_and_forges_no_link() {
        let message = message(&Templates::default(), &hostile()).unwrap();
        let section = &message["blocks"][1]["text"];
        assert_eq!(section["verbatim"], true);
        let text = section["text"].as_str().unwrap();
        assert!(text.contains("&lt;https://evil.example.com|Approve&gt;"), "{text}");
        assert!(message["text"].as_str().unwrap().starts_with("&lt;!channel&gt; asks for"));
        assert_eq!(
            (&message["unfurl_links"], &message["unfurl_media"]),
            (&json!(false), &json!(false))
        );
    }

    #[test]
    fn a_long_message_is_cut_between_lines() {
        let line = format!("{}\n", "é".repeat(1_000));
        assert_eq!(cut(&line.repeat(9)).lines().count(), 2);
    }
}
