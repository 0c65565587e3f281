//! Statements with known secrets in known places, and with text that has to stay.

/// A statement that was made.
#[derive(Debug, Default)]
pub(crate) struct Sample {
    pub(crate) text: String,
    /// What must not be seen of it.
    pub(crate) secrets: Vec<String>,
    /// What must be seen.
    pub(crate) shown: Vec<String>,
}

/// Makes a statement; each byte chooses something.
pub(crate) fn sample(choices: &[u8]) -> Sample {
    let mut maker = Maker { choices, made: Sample::default(), names: 0, depth: 0 };
    let mut text = maker.statement();
    while maker.choose(4) == 3 {
        text = format!("{text};{}{}", maker.gap(), maker.statement());
    }
    Sample { text, ..maker.made }
}

const SECRETS: [&str; 8] =
    ["password", "token", "api_key", "\"password\"", "client_secret", "pw", "Passwd", "u.secret"];
const NAMES: [&str; 8] =
    ["name", "email", "\"key\"", "language", "passed", "u.id", "tokens", "secretary"];

struct Maker<'a> {
    choices: &'a [u8],
    made: Sample,
    names: usize,
    depth: usize,
}

impl Maker<'_> {
    fn choose(&mut self, among: usize) -> usize {
        let Some((first, rest)) = self.choices.split_first() else { return 0 };
        self.choices = rest;
        usize::from(*first) % among
    }

    fn pick<'a>(&mut self, among: &[&'a str]) -> &'a str {
        let at = self.choose(among.len());
        among.get(at).copied().unwrap_or_default()
    }

    fn gap(&mut self) -> &'static str {
        self.pick(&[" ", " ", "\n", "\t", " /* it's */ ", " -- it's\n"])
    }

    fn name(&mut self, secret: bool) -> &'static str {
        self.pick(if secret { &SECRETS } else { &NAMES })
    }

    /// A word of its own, with something that lexers stumble over.
    fn word(&mut self, kind: &str) -> String {
        self.names += 1;
        let more = self.pick(&["", " b", "''", "\"", "$x$", "/*", "--", ";", "é", "(", ", "]);
        format!("{kind}{}q{}", self.names, more.replace("''", "'"))
    }

    fn mark(&self, kind: &str) -> String {
        format!("{kind}{}q", self.names)
    }

    /// A literal, in any spelling.
    fn spell(&mut self, content: &str) -> String {
        let doubled = content.replace('\'', "''");
        match self.choose(6) {
            1 => format!("E'{}'", content.replace('\'', "\\'")),
            2 if !content.contains('$') => format!("$${content}$$"),
            3 if !content.contains("$t") => format!("$t${content}$t$"),
            4 => format!("N'{doubled}'"),
            _ => format!("'{doubled}'"),
        }
    }

    fn secret(&mut self) -> String {
        let word = self.word("hush");
        self.made.secrets.push(self.mark("hush"));
        self.spell(&word)
    }

    fn shown(&mut self) -> String {
        let word = self.word("show");
        self.made.shown.push(self.mark("show"));
        self.spell(&word)
    }

    /// An expression whose value is a secret, or none.
    fn value(&mut self, secret: bool) -> String {
        if !secret {
            return self.plain_value();
        }
        match self.choose(9) {
            1 => format!("crypt({}, gen_salt({}))", self.secret(), self.shown()),
            2 => format!("({})", self.secret()),
            3 => format!("{}::text", self.secret()),
            4 => format!("{}{}||{}{}", self.secret(), self.gap(), self.gap(), self.secret()),
            5 => format!("md5({})", self.secret()),
            6 => format!("encode(sha256({}), {})", self.secret(), self.shown()),
            7 => format!("coalesce(f({}), {})", self.shown(), self.secret()),
            8 => {
                let (when, then) = (self.shown(), self.secret());
                format!("CASE WHEN name = {when} THEN {then} ELSE {} END", self.secret())
            }
            _ => self.secret(),
        }
    }

    fn plain_value(&mut self) -> String {
        match self.choose(6) {
            1 => format!("f({})", self.shown()),
            2 => "7".to_owned(),
            3 => format!("lower({})", self.shown()),
            4 => format!("{}::text", self.shown()),
            5 => "$1".to_owned(),
            _ => self.shown(),
        }
    }

    /// A condition.
    fn compares(&mut self) -> String {
        let secret = self.choose(2) == 1;
        let (name, gap) = (self.name(secret), self.gap());
        let value = self.value(secret);
        match self.choose(5) {
            1 => format!("{name} IN ({value}, {})", self.value(secret)),
            2 => format!("{name} IS DISTINCT FROM {value}"),
            3 => format!("{name} BETWEEN {value} AND {}", self.value(secret)),
            4 => format!("lower({name}) <> {value}"),
            _ => format!("{name}{gap}={gap}{value}"),
        }
    }

    fn condition(&mut self) -> String {
        let mut text = self.compares();
        while self.choose(3) == 2 {
            text = format!("{text} {} {}", self.pick(&["AND", "OR"]), self.compares());
        }
        text
    }

    /// A list of columns, and which of them are secrets.
    fn columns(&mut self) -> (String, Vec<bool>) {
        let count = 1 + self.choose(4);
        let secrets: Vec<bool> = (0..count).map(|_| self.choose(2) == 1).collect();
        let names: Vec<&str> = secrets.iter().map(|secret| self.column(*secret)).collect();
        (names.join(", "), secrets)
    }

    /// A name without a table.
    fn column(&mut self, secret: bool) -> &'static str {
        self.name(secret).trim_start_matches("u.")
    }

    fn values(&mut self, secrets: &[bool]) -> String {
        let values: Vec<String> = secrets.iter().map(|secret| self.value(*secret)).collect();
        values.join(",")
    }

    fn statement(&mut self) -> String {
        match self.choose(14) {
            1 => self.role(),
            2 => self.insert(),
            3 => self.update(),
            4 => format!("SELECT {} FROM t WHERE {}", self.value(false), self.condition()),
            5 => format!("SET app.{} = {}", self.column(true).replace('"', ""), self.secret()),
            6 => format!("SELECT set_config('app.token',{}{}, false)", self.gap(), self.secret()),
            7 => self.foreign(),
            8 => format!("COPY (SELECT {}) TO PROGRAM {}", self.compares(), self.shown()),
            9 => self.body(),
            10 => format!("SELECT f({} => {}, x => {})", "token", self.secret(), self.shown()),
            11 => self.runs("SELECT query_to_xml(", ", false, true, '')"),
            12 => self.subscription(),
            13 => format!("SELECT pgp_sym_encrypt({}, {})", self.value(false), self.secret()),
            _ => format!("SELECT {}", self.compares()),
        }
    }

    fn role(&mut self) -> String {
        let verb = self.pick(&["ALTER ROLE", "CREATE USER", "alter user", "CREATE ROLE"]);
        let with = self.pick(&[" WITH LOGIN", "", " NOSUPERUSER"]);
        let (gap, secret, until) = (self.gap(), self.secret(), self.shown());
        format!("{verb} bob{with} PASSWORD{gap}{secret} VALID UNTIL {until}")
    }

    fn insert(&mut self) -> String {
        let (names, secrets) = self.columns();
        let mut text = format!("INSERT INTO s.users ({names})");
        if self.choose(3) == 2 {
            return format!("{text} SELECT {} FROM t", self.values(&secrets));
        }
        text = format!("{text}{}VALUES ({})", self.gap(), self.values(&secrets));
        while self.choose(3) == 1 {
            text = format!("{text}, ({})", self.values(&secrets));
        }
        if self.choose(3) == 1 {
            text = format!("{text} ON CONFLICT (name) DO UPDATE SET token = {}", self.value(true));
        }
        if self.choose(2) == 1 { format!("{text} RETURNING {}", self.value(false)) } else { text }
    }

    fn update(&mut self) -> String {
        let (names, secrets) = self.columns();
        let values = self.values(&secrets);
        let row = if secrets.len() > 1 { "" } else { "ROW" };
        let (secret, condition) = (self.value(true), self.condition());
        format!("UPDATE u SET ({names}) = {row}({values}), pw = {secret} WHERE {condition}")
    }

    fn foreign(&mut self) -> String {
        let (host, secret, user) = (self.shown(), self.secret(), self.shown());
        let options = format!("host {host}, password {secret}, program {user}");
        format!("CREATE USER MAPPING FOR bob SERVER s OPTIONS ({options})")
    }

    fn subscription(&mut self) -> String {
        self.names += 1;
        let (hush, show) = (self.mark("hush"), self.mark("show"));
        let text = format!("'host={show} password={hush} port=1' PUBLICATION p");
        self.made.secrets.push(hush);
        self.made.shown.push(show);
        format!("CREATE SUBSCRIPTION s CONNECTION {text}")
    }

    /// A body of code.
    fn body(&mut self) -> String {
        if self.depth > 0 {
            return self.role();
        }
        self.depth += 1;
        let first = self.statement();
        let variable = self.shown();
        let execute = self.runs("EXECUTE ", "");
        self.depth -= 1;
        let text = format!("BEGIN {first}; password := {variable}; {execute}; END");
        let language = self.pick(&["", " LANGUAGE plpgsql"]);
        match self.choose(3) {
            1 => format!("CREATE FUNCTION f() RETURNS void AS $b${text}$b$ LANGUAGE plpgsql"),
            2 if !text.contains('\\') => format!("DO '{}'{language}", text.replace('\'', "''")),
            _ => format!("DO $b${text}$b${language}"),
        }
    }

    /// Something that runs a statement.
    fn runs(&mut self, before: &str, after: &str) -> String {
        if self.depth > 1 {
            return format!("{before}{}{after}", self.shown());
        }
        self.depth += 2;
        let inner = self.statement();
        self.depth -= 2;
        let doubled = inner.replace('\'', "''");
        if inner.contains('\\') || self.choose(2) == 1 && !inner.contains("$r$") {
            return format!("{before}$r${inner}$r${after}");
        }
        format!("{before}'{doubled}'{after}")
    }
}
