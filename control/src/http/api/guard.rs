//! What every HTTP request passes before its handler, outermost first: the log line, the headers,
//! the rate of its sender (whoever is recognised as signed in, or else the network), a place among the bounded number at work, and a shield.
//!
//! The log names the method, the matched route and the status; never a path, a query string, a
//! header or a body, since sign-in codes and tokens travel there. Behind the shield a change runs
//! to its end even where its caller has gone away, since a change that is half published is worse than
//! one that nobody waits for; a read is dropped with its caller. A panic ends one request.

use std::hash::Hash;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{ConnectInfo, MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use tokio::task::JoinError;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;

use super::error::{Kind, Problem};
use super::places::{Claimant, Place, Places, Recognised};

/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(30);

/// How many addresses are remembered before those that are quiet are forgotten.
const ADDRESSES: usize = 10_000;

/// Bounds that all requests share.
#[derive(Clone)]
pub(crate) struct Bounds {
    places: Places,
    requests: Arc<DefaultKeyedRateLimiter<Claimant>>,
    sign_ins: Arc<DefaultKeyedRateLimiter<Option<IpAddr>>>,
    /// Whom requests are counted for instead of their network.
    pub(crate) recognised: Recognised,
    cookie: &'static str,
}

impl Bounds {
    /// Browsers hold their tokens in the cookie of this name.
    pub(crate) fn new(cookie: &'static str) -> Self {
        let of = |count| NonZeroU32::new(count).unwrap_or(NonZeroU32::MIN);
        let requests = Quota::per_second(of(100)).allow_burst(of(500));
        let sign_ins = Quota::per_second(of(1)).allow_burst(of(30));
        Self {
            places: Places::default(),
            requests: Arc::new(RateLimiter::keyed(requests)),
            sign_ins: Arc::new(RateLimiter::keyed(sign_ins)),
            recognised: Recognised::new(),
            cookie,
        }
    }

    /// Takes a request up, where its sender hasn't had too many and there is a place for it.
    fn take_up(&self, request: &Request) -> Result<Place, Problem> {
        let whose = match self.recognised.whose(request.headers(), self.cookie) {
            Some(person) => Claimant::Person(person),
            None => Claimant::Network(Source::of(request.extensions()).network()),
        };
        count(&self.requests, &whose)?;
        let full = || Problem::new(Kind::Unavailable, "too many requests are at work");
        self.places.take(whose).ok_or_else(full)
    }

    /// Counts one attempt to sign in against its address.
    ///
    /// # Errors
    /// Where the address has had too many.
    pub(crate) fn sign_in(&self, source: Source) -> Result<(), Problem> {
        count(&self.sign_ins, &source.network())
    }
}

fn count<K: Clone + Eq + Hash>(
    limiter: &DefaultKeyedRateLimiter<K>,
    whose: &K,
) -> Result<(), Problem> {
    if limiter.len() > ADDRESSES {
        limiter.retain_recent();
    }
    let detail = "this address or person sends too many requests: wait a little";
    limiter.check_key(whose).map_err(|_| Problem::new(Kind::RateLimited, detail))
}

/// The address of the socket's other end; never what a header claims.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Source(pub(crate) Option<IpAddr>);

impl Source {
    pub(crate) fn of(extensions: &axum::http::Extensions) -> Self {
        let peer = extensions.get::<ConnectInfo<SocketAddr>>();
        Self(peer.map(|ConnectInfo(peer)| peer.ip().to_canonical()))
    }

    /// The whole of a home's IPv6 network counts as one address.
    fn network(self) -> Option<IpAddr> {
        self.0.map(accept::network)
    }
}

impl<S: Send + Sync> axum::extract::FromRequestParts<S> for Source {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(
        parts: &mut axum::http::request::Parts,
        _: &S,
    ) -> Result<Self, Self::Rejection> {
        Ok(Self::of(&parts.extensions))
    }
}

/// One line a request.
pub(crate) async fn logged(request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>();
    let route = route.map_or("none", MatchedPath::as_str);
    let span = tracing::info_span!("http", method = %request.method(), route);
    async {
        let response = next.run(request).await;
        tracing::info!(status = response.status().as_u16(), "answered");
        response
    }
    .instrument(span)
    .await
}

/// Headers that every answer carries.
pub(crate) async fn dressed(request: Request, next: Next) -> Response {
    const ALWAYS: [(HeaderName, &str); 5] = [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ];
    /// For answers that don't say more themselves: nothing may run, load or frame.
    const BARE: &str = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'";
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in ALWAYS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    for (name, value) in
        [(header::CACHE_CONTROL, "no-store"), (header::CONTENT_SECURITY_POLICY, BARE)]
    {
        let value = HeaderValue::from_static(value);
        headers.entry(name).or_insert(value);
    }
    response
}

/// The bounds, and the shield.
pub(crate) async fn bounded(
    State(bounds): State<Bounds>,
    request: Request,
    next: Next,
) -> Response {
    match bounds.take_up(&request) {
        Ok(place) => shielded(place, request, next).await,
        Err(problem) => problem.into_response(),
    }
}

async fn shielded(place: Place, request: Request, next: Next) -> Response {
    let reads = request.method().is_safe();
    let work = async move {
        let response = next.run(request).await;
        drop(place);
        response
    };
    let task = tokio::spawn(work.in_current_span());
    let outcome = if reads {
        tokio::time::timeout(TIMEOUT, AbortOnDropHandle::new(task)).await
    } else {
        tokio::time::timeout(TIMEOUT, task).await
    };
    match outcome {
        Ok(Ok(response)) => response,
        Ok(Err(failure)) => broken(&failure).into_response(),
        Err(_) => Problem::new(Kind::TimedOut, "look whether it was done before you try again")
            .into_response(),
    }
}

/// The panic's own words are in the log by the panic hook; they may hold anything.
fn broken(failure: &JoinError) -> Problem {
    #[derive(Debug, thiserror::Error)]
    #[error("the handler {0}")]
    struct Broken(&'static str);
    let how = if failure.is_panic() { "panicked" } else { "was cancelled" };
    Problem::incident(Kind::Internal, &Broken(how))
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Mutex, PoisonError};

    use axum::Router;
    use axum::body::Body;
    use axum::http::{Method, StatusCode};
    use axum::middleware::{from_fn, from_fn_with_state};
    use axum::routing::any;
    use tokio::sync::mpsc;
    use tower::ServiceExt;

    use super::*;

    fn guarded(routes: Router) -> Router {
        routes
            .layer(from_fn_with_state(Bounds::new("postern"), bounded))
            .layer(from_fn(dressed))
            .layer(from_fn(logged))
    }

    fn request(method: Method, uri: &str) -> Request {
        let request = Request::builder().method(method).uri(uri);
        request.header("x-canary", "canary").body(Body::from("canary")).unwrap()
    }

    #[tokio::test]
    async fn a_panic_ends_one_request_and_tells_nothing() {
        async fn fails() -> &'static str {
            panic!("canary")
        }
        let router = guarded(Router::new().route("/", any(fails)));
        for method in [Method::GET, Method::POST] {
            let response = router.clone().oneshot(request(method, "/")).await.unwrap();
            assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
            let media = response.headers().get(header::CONTENT_TYPE).unwrap();
            assert_eq!(media, "application/problem+json");
            let body = axum::body::to_bytes(response.into_body(), 10_000).await.unwrap();
            assert!(!String::from_utf8_lossy(&body).contains("canary"));
        }
    }

    /// Whether work that has begun runs to its end when its caller goes away.
    async fn finishes(method: Method) -> bool {
        let (said, mut heard) = mpsc::channel(2);
        let (go, gate) = tokio::sync::watch::channel(false);
        let handler = move || {
            let (said, mut gate) = (said.clone(), gate.clone());
            async move {
                said.send("begun").await.unwrap();
                gate.wait_for(|open| *open).await.unwrap();
                said.send("done").await.unwrap();
            }
        };
        let router = guarded(Router::new().route("/", any(handler)));
        let caller = tokio::spawn(router.oneshot(request(method, "/")));
        assert_eq!(heard.recv().await, Some("begun"));
        caller.abort();
        assert!(caller.await.unwrap_err().is_cancelled());
        go.send_replace(true);
        heard.recv().await == Some("done")
    }

    #[tokio::test]
    async fn a_change_outlives_its_caller_and_a_read_does_not() {
        assert!(finishes(Method::POST).await);
        assert!(finishes(Method::DELETE).await);
        assert!(!finishes(Method::GET).await);
    }

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl Write for Log {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            kept.write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn the_log_names_the_route_and_nothing_that_was_sent() {
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_writer(move || writer.clone())
            .finish();
        let _here = tracing::subscriber::set_default(subscriber);
        let echo = |body: String| async move { body };
        let router = guarded(Router::new().route("/things/{id}", any(echo)));
        for uri in ["/things/canary?code=canary", "/canary?canary"] {
            router.clone().oneshot(request(Method::POST, uri)).await.unwrap();
        }
        let kept = log.0.lock().unwrap().clone();
        let text = String::from_utf8(kept).unwrap();
        assert!(text.contains("/things/{id}") && text.contains("status"), "{text}");
        assert!(!text.contains("canary"), "{text}");
    }

    #[test]
    fn an_address_is_the_sockets_and_networks_count_as_one() {
        let network = |text: &str| Source(Some(text.parse().unwrap())).network();
        assert_eq!(network("2001:db8::1"), network("2001:db8::2"));
        assert_ne!(network("2001:db8:0:1::1"), network("2001:db8::1"));
        assert_ne!(network("192.0.2.1"), network("192.0.2.2"));
    }
}
