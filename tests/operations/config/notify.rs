//! Channels: a fault is reported at its place, and no secret is shown.

use control::{Reach, Topic};

use super::*;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n";

fn hook(more: &str) -> String {
    format!(
        "{LEAST}[notify.ops]\nkind = \"webhook\"\nurl = \"https://hooks.example.com/a\"\n\
         secret_file = \"hook\"\n{more}\n"
    )
}

fn set(text: &str) -> Set {
    let set = Set::new(text);
    set.write("hook", SECRET);
    set
}

#[rstest]
#[case("[notify.ops]\nkind = \"pager\"\n", "`pager` is none of `webhook`, `slack`, `email`")]
#[case("[notify.ops]\nurl = \"https://a.example.com\"\n", "`kind` is missing in [notify.ops]")]
#[case("[notify.Ops]\nkind = \"slack\"\nurl_file = \"a\"\n", "`Ops` is not the name of a channel")]
#[case("[notify.a]\nkind = \"slack\"\nurl = \"https://a.example.com/canary\"\n", "it is a secret")]
#[case(
    "[notify.a]\nkind = \"webhook\"\nurl = \"https://a.example.com\"\n",
    "`secret_file` is missing"
)]
#[case(
    "[notify.a]\nkind = \"slack\"\nurl_file = \"a\"\nevents = [\"request\"]\n",
    "`request` names no event"
)]
#[case(
    "[notify.a]\nkind = \"slack\"\nurl_file = \"a\"\ntimeout = \"2m\"\n",
    "a try may take 1m at most"
)]
#[case(
    "[notify.a]\nkind = \"slack\"\nurl_file = \"a\"\nattempts = 0\n",
    "a whole number from 1 to 50"
)]
#[case("[notify.a]\nkind = \"slack\"\nurl_file = \"a\"\nserver = \"a\"\n", "unknown key `server`")]
#[case(
    "[notify.a]\nkind = \"email\"\nserver = \"a\"\nfrom = \"a@example.com\"\nuser = \"a\"\n",
    "belong together"
)]
#[case("[people.alice]\nemail = \"alice\"\n", "`alice` is not an e-mail address")]
fn a_fault_of_a_channel_is_told_in_its_place(#[case] text: &str, #[case] message: &str) {
    let faults = parse(&format!("{LEAST}{text}")).unwrap_err();
    let text = messages(&faults).join("\n");
    assert!(text.contains(message), "{text}");
}

#[test]
fn a_channel_without_more_tells_what_people_act_on_to_public_addresses_only() {
    let config = set(&hook("")).config();
    let channel = config.channels.values().next().unwrap();
    assert!(!channel.allow_private && channel.groups.is_empty());
    assert_eq!(channel.events, Topic::usual());
    assert_eq!(Reach::default(), Reach::Public);
}

#[test]
fn two_secrets_stand_in_a_file_while_one_takes_the_place_of_the_other() {
    let set = set(&hook(""));
    for (text, fits) in [
        (SECRET.to_owned(), true),
        (format!("{SECRET}\n{SECRET}"), true),
        (String::new(), false),
        (SECRET.repeat(9), false),
        ("canary-that-is-no-secret\n".to_owned(), false),
    ] {
        set.write("hook", &text);
        let read = set.inventory(&[]);
        assert_eq!(read.is_ok(), fits, "{text}");
        if let Err(faults) = read {
            assert!(!faults.to_string().contains("canary"), "{faults}");
        }
    }
    set.write("hook", SECRET);
    set.allow("hook", 0o644);
    assert!(set.refusal().contains("hook"));
}

#[rstest]
#[case("https://169.254.169.254/latest", "`allow_private = true`")]
#[case("http://hooks.example.com/canary", "`https` is wanted")]
#[case("nonsense-canary", "this is no URL")]
fn an_address_that_cannot_be_used_is_refused_at_load(#[case] url: &str, #[case] message: &str) {
    let set = set(&format!(
        "{LEAST}[notify.ops]\nkind = \"webhook\"\nurl_file = \"url\"\nsecret_file = \"hook\"\n"
    ));
    set.write("url", url);
    let refused = set.refusal();
    assert!(refused.contains(message) && !refused.contains("canary"), "{refused}");
}

#[test]
fn a_template_that_would_fail_later_is_refused_at_load_with_its_line() {
    let set = set(&hook("templates = \"texts\""));
    fs::create_dir(set.path("texts")).unwrap();
    set.write("texts/request.asked.message.txt", "hello\n{{ nmae }}\n");
    let refused = set.refusal();
    assert!(refused.contains("`request.asked.message.txt`, line 2"), "{refused}");
    set.write("texts/request.asked.message.txt", "hello {{ name }}\n");
    set.inventory(&[]).unwrap();
}

#[test]
fn a_channel_that_reaches_nobody_is_warned_of() {
    let mail = "[notify.mail]\nkind = \"email\"\nserver = \"smtp.example.com\"\n\
                from = \"Postern <postern@example.com>\"\n";
    let set = Set::new(&format!("{LEAST}[people.alice]\n{mail}"));
    let warnings = set.config().warnings(&set.inventory(&[]).unwrap());
    assert_eq!(warnings, ["channel `mail` reaches nobody: there are no people with an `email`"]);
}
