//! `/metrics`, in Prometheus' text format, on a listener of its own.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::net::SocketAddr;

use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use prometheus::{Registry, TextEncoder};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tower::service_fn;

use super::http;

const FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Serves until it has to stop.
///
/// # Errors
/// Where what its limits refuse can't be counted.
pub(super) fn serve(
    listener: TcpListener,
    registry: Registry,
    stop: CancellationToken,
) -> prometheus::Result<impl Future<Output = ()> + Send> {
    let limits = http::limits("metrics", http::METRICS_BOUNDS, &registry)?;
    let make = service_fn(move |_: SocketAddr| {
        let registry = registry.clone();
        let answer = service_fn(move |request| answered(&registry, &request));
        ready(Ok::<_, Infallible>(answer))
    });
    let server = http::Server { listener, tls: None, limits };
    Ok(server.serve(make, stop))
}

fn answered<B>(
    registry: &Registry,
    request: &Request<B>,
) -> Ready<Result<Response<String>, Infallible>> {
    ready(Ok(answer(registry, request.method(), request.uri().path())))
}

fn answer(registry: &Registry, method: &Method, path: &str) -> Response<String> {
    if path != "/metrics" || ![Method::GET, Method::HEAD].contains(method) {
        return plain(StatusCode::NOT_FOUND, "GET /metrics\n".into());
    }
    match TextEncoder::new().encode_to_string(&registry.gather()) {
        Ok(text) => plain(StatusCode::OK, text),
        Err(error) => {
            tracing::error!(%error, "the metrics can't be written");
            plain(StatusCode::INTERNAL_SERVER_ERROR, String::new())
        }
    }
}

fn plain(status: StatusCode, text: String) -> Response<String> {
    let mut response = Response::new(text);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(FORMAT));
    response
}

#[cfg(test)]
mod tests {
    use prometheus::IntCounter;

    use super::*;

    #[test]
    fn metrics_are_served_under_their_path_only() {
        let registry = Registry::new();
        let counter = IntCounter::new("some_total", "Some.").unwrap();
        registry.register(Box::new(counter)).unwrap();
        for (method, path, status) in [
            (Method::GET, "/metrics", StatusCode::OK),
            (Method::HEAD, "/metrics", StatusCode::OK),
            (Method::POST, "/metrics", StatusCode::NOT_FOUND),
            (Method::GET, "/", StatusCode::NOT_FOUND),
        ] {
            let response = answer(&registry, &method, path);
            assert_eq!(response.status(), status, "{method} {path}");
            let shown = response.body().contains("some_total 0");
            assert_eq!(shown, status == StatusCode::OK);
        }
    }
}
