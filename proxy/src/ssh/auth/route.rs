//! What the user name of an SSH connection asks for.
//!
//! `ssh deploy@web-1@gate` sends the user name `deploy@web-1`: a login, and a target. A name without
//! `@` names no target: such a connection leads on to targets by `-J`. The name is an unauthenticated
//! client's text: it is parsed here, to the byte, and nothing expands it.

use policies::{Login, NameError, TargetName};
use thiserror::Error;

/// The longest user name that is looked at.
const LONGEST: usize = 256;

/// Where a connection is to lead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::ssh) enum Route {
    /// To this account on this target.
    Target(Login, TargetName),
    /// To targets that are still to be named.
    Jump,
}

/// Why a user name leads nowhere.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(in crate::ssh) enum RouteError {
    #[error("the user name is too long")]
    Long,
    #[error(transparent)]
    Name(#[from] NameError),
}

impl Route {
    /// Reads a user name. A login may contain `@`; the last one separates it from the target.
    pub(in crate::ssh) fn read(user: &str) -> Result<Self, RouteError> {
        if user.len() > LONGEST {
            return Err(RouteError::Long);
        }
        match user.rsplit_once('@') {
            Some((login, target)) => Ok(Self::Target(Login::new(login)?, TargetName::new(target)?)),
            None => Ok(Self::Jump),
        }
    }

    /// Reads the user name of a connection whose target is known already: all of it is the login.
    pub(in crate::ssh) fn within(user: &str, target: &TargetName) -> Result<Self, RouteError> {
        if user.len() > LONGEST {
            return Err(RouteError::Long);
        }
        Ok(Self::Target(Login::new(user)?, target.clone()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("deploy@web-1", "deploy", "web-1")]
    #[case("alice@example.com@web-1", "alice@example.com", "web-1")]
    #[case("$(reboot)@web-1", "$(reboot)", "web-1")]
    #[case("-oProxyCommand=reboot@web-1", "-oProxyCommand=reboot", "web-1")]
    #[case("%h%u%%@web-1", "%h%u%%", "web-1")]
    #[case("${HOME}$USER@web-1", "${HOME}$USER", "web-1")]
    #[case("do\\main\\n@web-1", "do\\main\\n", "web-1")]
    fn a_login_and_a_target(#[case] user: &str, #[case] login: &str, #[case] target: &str) {
        let expected = Route::Target(login.parse().unwrap(), target.parse().unwrap());
        assert_eq!(Route::read(user), Ok(expected));
    }

    #[rstest]
    #[case::no_login("@web-1")]
    #[case::no_target("deploy@")]
    #[case::upper_case("deploy@Web-1")]
    #[case::newline("deploy\nroot@web-1")]
    #[case::escape("deploy\u{1b}[2J@web-1")]
    #[case::shell("deploy@`id`")]
    #[case::space("deploy@web 1")]
    fn what_is_no_name_leads_nowhere(#[case] user: &str) {
        assert!(Route::read(user).is_err(), "{user:?}");
    }

    #[test]
    fn a_name_without_a_target_leads_on() {
        assert_eq!(Route::read("alice"), Ok(Route::Jump));
        assert_eq!(Route::read(""), Ok(Route::Jump));
        assert_eq!(Route::read(&"x".repeat(257)), Err(RouteError::Long));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic_and_what_reads_is_what_was_written(user in ".{0,80}") {
            if let Ok(Route::Target(login, target)) = Route::read(&user) {
                prop_assert_eq!(format!("{login}@{target}"), user);
            }
        }
    }
}
