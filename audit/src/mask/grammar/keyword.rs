//! The words of SQL that mean something to the masker.

/// What a statement is, as far as it matters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Statement {
    /// No word was read.
    #[default]
    Begins,
    /// `CREATE` or `ALTER`, and perhaps `OR REPLACE` and the like.
    Defines,
    /// The same with `USER`, which may be followed by `MAPPING`.
    User,
    Role,
    /// Something of a foreign data wrapper.
    Foreign,
    Subscription,
    Function,
    Do,
    Copy,
    Set,
    Other,
}

impl Statement {
    /// What it is behind one more word.
    pub(super) fn follow(self, word: &[u8]) -> Statement {
        match self {
            Statement::Begins => match word {
                b"create" | b"alter" | b"import" => Statement::Defines,
                b"set" => Statement::Set,
                b"copy" => Statement::Copy,
                b"do" => Statement::Do,
                _ => Statement::Other,
            },
            Statement::Defines => match word {
                b"or" | b"replace" => Statement::Defines,
                b"role" | b"group" => Statement::Role,
                b"user" => Statement::User,
                b"server" | b"foreign" => Statement::Foreign,
                b"subscription" => Statement::Subscription,
                b"function" | b"procedure" => Statement::Function,
                _ => Statement::Other,
            },
            Statement::User if word == b"mapping" => Statement::Foreign,
            Statement::User => Statement::Role,
            Statement::Role
            | Statement::Foreign
            | Statement::Subscription
            | Statement::Function
            | Statement::Do
            | Statement::Copy
            | Statement::Set
            | Statement::Other => self,
        }
    }
}

/// A word that is no name, where it stands without quotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keyword {
    And,
    As,
    Between,
    /// Begins another statement behind itself, in a body of code.
    Begin,
    /// Begins another part of a statement.
    Boundary,
    Case,
    Distinct,
    /// `ELSE`, or `THEN`.
    Else,
    End,
    Execute,
    For,
    From,
    In,
    Insert,
    Into,
    /// `IS`, or `NOT`: what stands left of it is still compared.
    Keeps,
    Language,
    Like,
    Program,
    Select,
    Set,
    To,
    Uescape,
    Using,
    Values,
    When,
}

impl Keyword {
    /// Whether it is a name in parentheses.
    pub(super) fn is_outer(self) -> bool {
        matches!(self, Keyword::Begin | Keyword::Execute | Keyword::Language | Keyword::Program)
    }

    pub(super) fn of(word: &[u8]) -> Option<Keyword> {
        Some(match word {
            b"and" => Keyword::And,
            b"as" => Keyword::As,
            b"between" => Keyword::Between,
            b"begin" | b"declare" | b"loop" => Keyword::Begin,
            b"or" | b"where" | b"having" | b"group" | b"order" | b"limit" | b"offset"
            | b"fetch" | b"returning" | b"window" | b"union" | b"except" | b"intersect" | b"on"
            | b"join" | b"with" | b"if" | b"elsif" | b"while" | b"return" => Keyword::Boundary,
            b"case" => Keyword::Case,
            b"distinct" => Keyword::Distinct,
            b"then" | b"else" => Keyword::Else,
            b"end" => Keyword::End,
            b"execute" => Keyword::Execute,
            b"for" => Keyword::For,
            b"from" => Keyword::From,
            b"in" => Keyword::In,
            b"insert" => Keyword::Insert,
            b"into" => Keyword::Into,
            b"is" | b"not" => Keyword::Keeps,
            b"language" => Keyword::Language,
            b"like" | b"ilike" | b"similar" => Keyword::Like,
            b"program" => Keyword::Program,
            b"select" => Keyword::Select,
            b"set" => Keyword::Set,
            b"to" => Keyword::To,
            b"uescape" | b"escape" => Keyword::Uescape,
            b"using" => Keyword::Using,
            b"values" => Keyword::Values,
            b"when" => Keyword::When,
            _ => return None,
        })
    }
}
