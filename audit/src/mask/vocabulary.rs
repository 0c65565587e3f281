//! The names of secrets, and the functions that are known to the masker.

/// The value of a name that ends like this is a secret.
const SECRET_ENDS: [&[u8]; 17] = [
    b"password",
    b"passwd",
    b"passphrase",
    b"passcode",
    b"pwd",
    b"password_hash",
    b"passwordhash",
    b"secret",
    b"token",
    b"apikey",
    b"api_key",
    b"access_key",
    b"accesskey",
    b"private_key",
    b"encryption_key",
    b"signing_key",
    b"secret_key",
];

/// The value of exactly this name is a secret.
const SECRETS: [&[u8]; 10] = [
    b"pass",
    b"pw",
    b"jwt",
    b"authorization",
    b"credential",
    b"credentials",
    b"privatekey",
    b"secretkey",
    b"scram_client_key",
    b"scram_server_key",
];

/// The prefixes of well-known tokens. What follows one is a secret.
const TOKENS: [&[u8]; 16] = [
    b"ghp_",
    b"gho_",
    b"ghu_",
    b"ghs_",
    b"ghr_",
    b"github_pat_",
    b"glpat-",
    b"xoxa-",
    b"xoxb-",
    b"xoxp-",
    b"xoxr-",
    b"xoxs-",
    b"sk_live_",
    b"rk_live_",
    b"sk_test_",
    b"eyj",
];

/// Whether this is the name of a secret. Takes lower case; a dash counts as an underscore.
pub(super) fn is_secret(name: &[u8]) -> bool {
    let last = name.rsplit(|byte| *byte == b'.').next().unwrap_or_default();
    let same = |a: &[u8], b: &[u8]| {
        a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a == b || (*a == b'-' && *b == b'_'))
    };
    let ends = |end: &&[u8]| {
        last.len()
            .checked_sub(end.len())
            .and_then(|at| last.get(at..))
            .is_some_and(|at| same(at, end))
    };
    SECRET_ENDS.iter().any(ends) || SECRETS.iter().any(|secret| same(last, secret))
}

/// Whether a well-known token begins with this word. Takes lower case.
pub(super) fn begins_token(word: &[u8]) -> bool {
    TOKENS.contains(&word)
}

/// What a function does with its arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Function {
    /// It isn't known: it may run what it is given.
    Unknown,
    /// It makes a value of these arguments, one bit each; what becomes a secret is one before.
    Through(u16),
    /// These arguments are secrets, one bit each.
    Secrets(u16),
    /// A name, then its value, and so on.
    Pairs,
    /// A document, a path to a name, then its value.
    Path,
    /// The first argument is SQL that it runs.
    Query,
    /// Each argument is a connection string, a name, or SQL that runs elsewhere.
    Remote,
    /// Each argument is a name or a connection string.
    Connect,
    /// A template of SQL, then what goes into it.
    Template,
    /// It spells a value as a literal of SQL.
    QuoteValue,
    /// It spells a name of SQL.
    QuoteName,
    /// It is no function: brackets follow, and elements.
    Array,
    /// It is no function: the options of something foreign follow.
    Options,
}

impl Function {
    /// The function of this name, in lower case.
    pub(super) fn of(name: &[u8]) -> Function {
        match name {
            b"md5" | b"sha224" | b"sha256" | b"sha384" | b"sha512" | b"lower" | b"upper"
            | b"trim" | b"btrim" | b"ltrim" | b"rtrim" | b"concat" | b"coalesce" | b"nullif"
            | b"row" | b"any" | b"some" | b"all" | b"cast" | b"to_json" | b"to_jsonb" => {
                Function::Through(u16::MAX)
            }
            b"digest" | b"encode" | b"decode" | b"convert_to" | b"convert_from" => {
                Function::Through(1)
            }
            b"crypt" => Function::Secrets(0b11),
            b"create_aws_credentials" => Function::Secrets(0b110),
            b"create_secret" => Function::Secrets(0b1),
            b"update_secret"
            | b"hmac"
            | b"encrypt"
            | b"decrypt"
            | b"encrypt_iv"
            | b"decrypt_iv"
            | b"pgp_sym_encrypt"
            | b"pgp_sym_encrypt_bytea"
            | b"pgp_sym_decrypt"
            | b"pgp_sym_decrypt_bytea" => Function::Secrets(0b10),
            b"pgp_pub_decrypt" | b"pgp_pub_decrypt_bytea" => Function::Secrets(0b110),
            b"set_config"
            | b"json_build_object"
            | b"jsonb_build_object"
            | b"hstore"
            | b"http_header" => Function::Pairs,
            b"jsonb_set" | b"jsonb_set_lax" | b"jsonb_insert" => Function::Path,
            b"query_to_xml"
            | b"query_to_xmlschema"
            | b"query_to_xml_and_xmlschema"
            | b"ts_stat"
            | b"crosstab" => Function::Query,
            b"dblink" | b"dblink_exec" | b"dblink_open" | b"dblink_send_query" => Function::Remote,
            b"dblink_connect" | b"dblink_connect_u" => Function::Connect,
            b"format" => Function::Template,
            b"quote_literal" | b"quote_nullable" => Function::QuoteValue,
            b"quote_ident" => Function::QuoteName,
            b"array" => Function::Array,
            b"options" => Function::Options,
            _ => Function::Unknown,
        }
    }
}

impl Function {
    /// What it is where its name has a schema, in which anybody may have made it.
    pub(super) fn in_any_schema(self) -> Function {
        match self {
            Function::Through(_)
            | Function::Template
            | Function::QuoteValue
            | Function::QuoteName
            | Function::Array
            | Function::Options
            | Function::Unknown => Function::Unknown,
            Function::Secrets(_)
            | Function::Pairs
            | Function::Path
            | Function::Query
            | Function::Remote
            | Function::Connect => self,
        }
    }
}

/// What the name of any secret, a function with secrets, a token or a URI contains; lower case. With
/// each, where in it the two bytes are that are rarest elsewhere.
const SUSPICIOUS: [(&[u8], usize); 29] = [
    (b"pass", 0),
    (b"pw", 0),
    (b"secret", 2),
    (b"token", 1),
    (b"identified", 6),
    (b"_key", 0),
    (b"-key", 0),
    (b"apikey", 2),
    (b"accesskey", 5),
    (b"privatekey", 6),
    (b"crypt", 0),
    (b"credential", 0),
    (b"hmac", 0),
    (b"jwt", 0),
    (b"authorization", 1),
    (b"bearer", 0),
    (b"://", 0),
    (b"ghp_", 0),
    (b"gho_", 0),
    (b"ghu_", 0),
    (b"ghs_", 0),
    (b"ghr_", 0),
    (b"github_pat_", 0),
    (b"glpat-", 1),
    (b"xox", 0),
    (b"sk_live_", 1),
    (b"rk_live_", 1),
    (b"sk_test_", 1),
    (b"eyj", 1),
];

/// Which words have this byte as the first of those two, and as the second: one bit each.
static RARE: [[u32; 256]; 2] = rare();

#[expect(clippy::indexing_slicing, reason = "evaluated when this is compiled")]
const fn rare() -> [[u32; 256]; 2] {
    let mut rare = [[0; 256]; 2];
    let mut word = 0;
    while word < SUSPICIOUS.len() {
        let (bytes, at) = SUSPICIOUS[word];
        let mut side = 0;
        while side < 2 {
            let byte = bytes[at + side];
            rare[side][byte as usize] |= 1 << word;
            rare[side][byte.to_ascii_uppercase() as usize] |= 1 << word;
            side += 1;
        }
        word += 1;
    }
    rare
}

/// Whether there may be a secret: a quick look for what every rule needs.
pub(super) fn is_suspicious(text: &[u8]) -> bool {
    let [firsts, seconds] = &RARE;
    let of = |table: &[u32; 256], byte: u8| table.get(usize::from(byte)).copied().unwrap_or(0);
    let pairs = text.iter().zip(text.iter().skip(1)).enumerate();
    for (at, (first, second)) in pairs {
        let words = of(firsts, *first) & of(seconds, *second);
        if words != 0 && has_any(text, at, words) {
            return true;
        }
    }
    false
}

/// Whether one of these words stands here, with its rarest bytes at this place.
#[cold]
fn has_any(text: &[u8], at: usize, words: u32) -> bool {
    let here = |(word, rare): &(&[u8], usize)| {
        let start = at.checked_sub(*rare).and_then(|start| text.get(start..start + word.len()));
        start.is_some_and(|start| start.eq_ignore_ascii_case(word))
    };
    SUSPICIOUS.iter().enumerate().any(|(bit, word)| words & (1 << bit) != 0 && here(word))
}
