//! The texts of messages, as templates: ours, and those of an operator's folder that replace them.
//!
//! A folder holds `subject.txt`, `message.txt`, `message.html` and `message.slack`, each for all events, or
//! for one by its name before it, as `request.asked.message.txt`. Every template is tried with every
//! event when it is loaded. What goes into `.html` is escaped for HTML, and what goes into `.slack` for
//! Slack's markup, so that nobody's reason becomes markup, a link or a call to everybody.

use std::collections::BTreeMap;
use std::fmt;
use std::fmt::Write;
use std::sync::Arc;

use minijinja::value::Value;
use minijinja::{AutoEscape, Environment, Error, UndefinedBehavior, context};
use thiserror::Error as ThisError;

use crate::model::notice::Notice;
use crate::model::topic::Topic;
use crate::platform::sanitize::clip;

const OURS: [(Part, &str); 4] = [
    (Part::Subject, include_str!("templates/subject.txt")),
    (Part::Text, include_str!("templates/message.txt")),
    (Part::Html, include_str!("templates/message.html")),
    (Part::Slack, include_str!("templates/message.slack")),
];

/// How many steps a template may take: a loop without end is an error, not a hang.
const FUEL: u64 = 50_000;
/// The longest text that a template may make.
const LONGEST: usize = 16 << 10;
/// The longest subject, in characters.
const LONGEST_SUBJECT: usize = 150;

/// What a template makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Part {
    /// One line.
    Subject,
    /// A mail for those who read plain text.
    Text,
    /// The same with markup.
    Html,
    /// The body of a Slack message, in its `mrkdwn`.
    Slack,
}

/// The texts of one channel.
#[derive(Clone)]
pub struct Templates {
    engine: Arc<Environment<'static>>,
    /// Which templates are there, by event and part.
    special: Arc<BTreeMap<(Topic, Part), String>>,
}

/// Why templates can't be used.
#[derive(Debug, Clone, PartialEq, Eq, ThisError)]
pub enum TemplateFault {
    /// The name of a file says nothing.
    #[error(
        "`{0}` is no name of a template: write `message.txt` for all events or \
         `request.asked.message.txt` for one; the others are `subject.txt`, `message.html` and `message.slack`"
    )]
    Name(String),
    /// It can't be read as a template.
    #[error("template `{name}`{}: {why}", At(.line))]
    Unreadable {
        /// The file.
        name: String,
        /// Its line, where one is known.
        line: Option<usize>,
        /// What is wrong.
        why: String,
    },
    /// It fails for an event.
    #[error("template `{name}`{} fails for `{topic}`: {why}", At(.line))]
    Fails {
        /// The file.
        name: String,
        /// The event.
        topic: Topic,
        /// Its line, where one is known.
        line: Option<usize>,
        /// What is wrong.
        why: String,
    },
}

struct At<'a>(&'a Option<usize>);

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|line| write!(f, ", line {line}"))
    }
}

impl Part {
    const fn name(self) -> &'static str {
        match self {
            Self::Subject => "subject.txt",
            Self::Text => "message.txt",
            Self::Html => "message.html",
            Self::Slack => "message.slack",
        }
    }
}

impl Templates {
    /// Ours, and these files of an operator instead of them: names and texts.
    ///
    /// # Errors
    /// The first that can't be read, or fails for an event.
    pub fn load(files: &[(String, String)]) -> Result<Self, TemplateFault> {
        let mut engine = engine();
        for (part, text) in OURS {
            add(&mut engine, part.name(), text)?;
        }
        let mut special = BTreeMap::new();
        for (name, text) in files {
            let (topic, part) = read_name(name)?;
            add(&mut engine, name, text)?;
            special.extend(topic.map(|topic| ((topic, part), name.clone())));
        }
        let templates = Self { engine: Arc::new(engine), special: Arc::new(special) };
        templates.try_all()?;
        Ok(templates)
    }

    fn try_all(&self) -> Result<(), TemplateFault> {
        for topic in Topic::all() {
            let full = Notice::sample(topic);
            // Most events lack most of what there can be.
            let bare = Notice { said: crate::model::notice::Said::default(), ..full.clone() };
            for notice in [full, bare] {
                for (part, _) in OURS {
                    self.render(part, &notice)?;
                }
            }
        }
        Ok(())
    }

    /// The text for one event.
    pub(crate) fn render(&self, part: Part, notice: &Notice) -> Result<String, TemplateFault> {
        let special = self.special.get(&(notice.topic, part));
        let name = special.map_or(part.name(), String::as_str);
        let rendered = self.engine.get_template(name);
        let rendered = rendered.and_then(|template| template.render(given(notice)));
        let text = rendered.map_err(|error| {
            let (line, why) = describe(&error);
            TemplateFault::Fails { name: name.to_owned(), topic: notice.topic, line, why }
        })?;
        Ok(match part {
            Part::Subject => clip(text.trim(), LONGEST_SUBJECT),
            Part::Text | Part::Html | Part::Slack => cut(text),
        })
    }
}

impl Default for Templates {
    /// Ours alone. They are tried by our tests; where they failed, every message would say so.
    fn default() -> Self {
        Self::load(&[])
            .unwrap_or_else(|_| Self { engine: Arc::new(engine()), special: Arc::default() })
    }
}

impl fmt::Debug for Templates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Templates").field("special", &self.special).finish_non_exhaustive()
    }
}

fn engine() -> Environment<'static> {
    let mut engine = Environment::new();
    engine.set_undefined_behavior(UndefinedBehavior::Strict);
    engine.set_fuel(Some(FUEL));
    engine.set_auto_escape_callback(|name| match name.rsplit('.').next() {
        Some("html") => AutoEscape::Html,
        Some("slack") => AutoEscape::Custom("slack".into()),
        Some(_) | None => AutoEscape::None,
    });
    // What an event doesn't have is nothing, and not the word for it.
    engine.set_formatter(|out, state, value| {
        if value.is_none() {
            Ok(())
        } else if !matches!(state.auto_escape(), AutoEscape::Custom(_)) {
            minijinja::escape_formatter(out, state, value)
        } else if value.is_safe() {
            Ok(out.write_str(&value.to_string())?)
        } else {
            Ok(out.write_str(&slack_text(&value.to_string()))?)
        }
    });
    engine
}

/// A text as it may stand in Slack's markup, by Slack's own rule: these three letters, and nothing
/// else, make links and calls there.
pub(crate) fn slack_text(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            letter => escaped.push(letter),
        }
    }
    escaped
}

fn add(engine: &mut Environment<'static>, name: &str, text: &str) -> Result<(), TemplateFault> {
    engine.add_template_owned(name.to_owned(), text.to_owned()).map_err(|error| {
        let (line, why) = describe(&error);
        TemplateFault::Unreadable { name: name.to_owned(), line, why }
    })
}

fn read_name(name: &str) -> Result<(Option<Topic>, Part), TemplateFault> {
    let wrong = || TemplateFault::Name(clip(name, 80));
    for (part, _) in OURS {
        if name == part.name() {
            return Ok((None, part));
        }
        let before = name.strip_suffix(part.name()).and_then(|rest| rest.strip_suffix('.'));
        if let Some(topic) = before {
            return Ok((Some(topic.parse().map_err(|_| wrong())?), part));
        }
    }
    Err(wrong())
}

fn given(notice: &Notice) -> Value {
    let said = notice.said.clone();
    let facts = notice.facts().into_iter();
    let facts = facts.map(|fact| context! { label => fact.label, value => fact.value });
    context! {
        type => notice.topic.word(),
        title => notice.title(),
        facts => facts.collect::<Value>(),
        action => notice.action(),
        url => notice.url.clone(),
        about => notice.about.clone(),
        at => notice.at.to_string(),
        person => said.person.as_ref().map(ToString::to_string),
        name => said.name,
        by => said.by,
        resource => said.resource,
        ttl => said.ttl.map(|ttl| ttl.to_string()),
        ends => said.ends.map(|at| at.to_string()),
        reason => said.reason,
        ticket => said.ticket,
        needs => said.needs,
        why => said.why,
    }
}

/// What is wrong, and at which line.
fn describe(error: &Error) -> (Option<usize>, String) {
    let mut why = error.kind().to_string();
    if let Some(detail) = error.detail() {
        // Writing to a string never fails.
        let _ = write!(why, ": {detail}");
    }
    (error.line(), why)
}

fn cut(mut text: String) -> String {
    if text.len() > LONGEST {
        let end = text.floor_char_boundary(LONGEST);
        text.truncate(end);
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hostile(reason: &str) -> Notice {
        let mut notice = Notice::sample(Topic::RequestAsked);
        notice.said.reason = Some(reason.to_owned());
        notice
    }

    fn file(name: &str, text: &str) -> Vec<(String, String)> {
        vec![(name.to_owned(), text.to_owned())]
    }

    #[test]
    fn our_own_templates_fit_every_event() {
        let templates = Templates::load(&[]).unwrap();
        let text = templates.render(Part::Text, &Notice::sample(Topic::RequestAsked)).unwrap();
        assert_eq!(
            text,
            "Alice asks for app_rw@orders/shop for 1h\n\n\
             who: alice\nwhat: app_rw@orders/shop\nfor: 1h\nreason: a stuck order\n\
             ticket: OPS-12\nneeds: 2 of dba\nlapses: 2027-01-15T09:00:00.000Z\nbecause: the ticket is closed\n\
             by: Bob\nid: rq-abcdefabcdef\n\n\
             Read and decide: https://gate.example.com/r/rq-abcdefabcdef\n"
        );
    }

    #[test]
    fn nobodys_reason_becomes_markup_a_link_or_a_call_to_everybody() {
        let templates = Templates::default();
        let notice = hostile("<!channel> <https://evil.example.com|approve> <b>&amp;</b>");
        let slack = templates.render(Part::Slack, &notice).unwrap();
        assert!(
            slack.contains("&lt;!channel&gt; &lt;https://evil.example.com|approve&gt;"),
            "{slack}"
        );
        assert!(slack.contains("&amp;amp;"), "{slack}");
        let html = templates.render(Part::Html, &notice).unwrap();
        assert!(html.contains("&lt;b&gt;") && !html.contains("<b>&"), "{html}");
        let subject = templates.render(Part::Subject, &hostile("x")).unwrap();
        assert!(!subject.contains('\n'));
    }

    #[test]
    fn an_operators_file_replaces_ours_for_all_events_or_for_one() {
        let one = file("request.asked.subject.txt", "[gate] {{ name }}: {{ resource }}");
        let templates = Templates::load(&one).unwrap();
        let subject = |topic| templates.render(Part::Subject, &Notice::sample(topic)).unwrap();
        // A bare notice has no name, and renders all the same.
        assert_eq!(subject(Topic::RequestAsked), "[gate] Alice: app_rw@orders/shop");
        assert_eq!(
            subject(Topic::RequestDenied),
            "Bob denied Alice's request for app_rw@orders/shop"
        );
        let all = Templates::load(&file("subject.txt", "news of {{ about }}")).unwrap();
        let subject = all.render(Part::Subject, &Notice::sample(Topic::LockSet)).unwrap();
        assert_eq!(subject, "news of rq-abcdefabcdef");
    }

    #[test]
    fn what_would_fail_later_is_refused_when_it_is_loaded() {
        for (name, text, wanted) in [
            (
                "message.txt",
                "a\n{{ nmae }}",
                "template `message.txt`, line 2 fails for `request.asked`",
            ),
            ("message.txt", "{% if %}", "template `message.txt`, line 1: "),
            (
                "message.txt",
                "{% for a in range(9999) %}{% for b in range(9999) %}x{% endfor %}{% endfor %}",
                "fuel",
            ),
            ("mesage.txt", "", "`mesage.txt` is no name of a template"),
            ("request.asket.message.txt", "", "is no name of a template"),
        ] {
            let refused = Templates::load(&file(name, text)).unwrap_err().to_string();
            assert!(refused.contains(wanted), "{refused}");
        }
    }

    #[test]
    fn no_template_makes_a_text_without_end() {
        let long = file("message.txt", "{% for a in range(9000) %}xxxxxxxxxx{% endfor %}");
        let templates = Templates::load(&long).unwrap();
        let text = templates.render(Part::Text, &Notice::sample(Topic::LockSet)).unwrap();
        assert_eq!(text.len(), LONGEST);
    }

    proptest! {
        #[test]
        fn no_reason_breaks_out_of_slacks_markup(reason in ".{0,200}") {
            let slack = Templates::default().render(Part::Slack, &hostile(&reason)).unwrap();
            prop_assert!(!slack.contains(['<', '>']));
        }
    }
}
