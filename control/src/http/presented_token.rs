//! The token that a request presents, in a header of the API or in a cookie of the pages.

use axum::http::{HeaderMap, header};
use secrecy::SecretString;
use url::Url;

/// The token of the one `Authorization` header.
pub(crate) fn bearer(headers: &HeaderMap) -> Option<SecretString> {
    let mut all = headers.get_all(header::AUTHORIZATION).iter();
    // Two headers are two opinions about who calls.
    let (only, None) = (all.next()?, all.next()) else {
        return None;
    };
    let (scheme, token) = only.to_str().ok()?.split_once(' ')?;
    let fits = scheme.eq_ignore_ascii_case("bearer") && !token.is_empty();
    fits.then(|| SecretString::from(token))
}

/// The cookie of a login. The prefix binds it to this host (RFC 6265bis).
pub(crate) fn cookie_name(public: &Url) -> &'static str {
    if is_https(public) { "__Host-postern" } else { "postern" }
}

pub(crate) fn is_https(public: &Url) -> bool {
    public.scheme() == "https"
}

/// The token of the one cookie of this name.
pub(crate) fn cookie(headers: &HeaderMap, name: &str) -> Option<SecretString> {
    let lines = headers.get_all(header::COOKIE).iter();
    let mut found = lines
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .filter(|(key, value)| *key == name && !value.is_empty());
    // Two cookies of one name: one of them was planted.
    let (Some((_, token)), None) = (found.next(), found.next()) else {
        return None;
    };
    Some(SecretString::from(token))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use secrecy::ExposeSecret;

    use super::*;

    #[test]
    fn only_one_bearer_token_is_taken() {
        let read = |values: &[&'static str]| {
            let pairs = values.iter().map(|value| HeaderValue::from_static(value));
            let mut headers = HeaderMap::new();
            pairs.for_each(|value| {
                headers.append(header::AUTHORIZATION, value);
            });
            bearer(&headers).map(|token| token.expose_secret().to_owned())
        };
        assert_eq!(read(&["Bearer abc"]).as_deref(), Some("abc"));
        assert_eq!(read(&["bearer abc"]).as_deref(), Some("abc"));
        for none in [
            &[][..],
            &["Bearer"],
            &["Bearer "],
            &["Basic abc"],
            &["abc"],
            &["Bearer a", "Bearer b"],
        ] {
            assert_eq!(read(none), None, "{none:?}");
        }
    }

    #[test]
    fn of_two_cookies_none_is_believed() {
        let read = |line: &'static str| {
            let mut headers = HeaderMap::new();
            headers.append(header::COOKIE, HeaderValue::from_static(line));
            cookie(&headers, "postern").is_some()
        };
        assert!(read("a=b; postern=t"));
        assert!(!read("postern=t; postern=u"));
        assert!(!read("xpostern=t"));
        assert!(!read("postern="));
    }
}
