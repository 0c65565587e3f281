//! How fast the body of a request has to arrive, whoever reads it.
//!
//! A sender of one byte a second would hold a connection and a place at work for as long as it likes.
//! After a first while a body has to have come at a minimum rate; one that hasn't is answered 408, and
//! its connection closes.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::http::{HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use hyper::body::{Frame, SizeHint};
use thiserror::Error;
use tokio::time::{Instant, Sleep};
use tokio_util::sync::CancellationToken;

use super::error::{Kind, Problem};

/// How long every body may take.
const GRACE: Duration = Duration::from_secs(10);
/// How many bytes buy one second more.
const RATE: u32 = 8 * 1_024;

/// Lets a body through for as long as it arrives in time.
pub(crate) async fn in_time(request: Request, next: Next) -> Response {
    let late = CancellationToken::new();
    let request = request.map(|body| Body::new(Timed::new(body, late.clone())));
    let answered = next.run(request);
    tokio::select! {
        biased;
        () = late.cancelled() => too_slow(),
        // A handler that hears of it first would call it another fault.
        response = answered => if late.is_cancelled() { too_slow() } else { response },
    }
}

fn too_slow() -> Response {
    let detail = format!(
        "a body has to arrive within {} s, and {RATE} bytes of it buy another second",
        GRACE.as_secs()
    );
    let mut response = Problem::new(Kind::Slow, detail).into_response();
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

/// A body that fails once it is too slow, and tells so.
struct Timed {
    body: Body,
    received: u64,
    /// Since when it is read, and what wakes its reader; none before it has to be waited for.
    waiting: Option<(Instant, Pin<Box<Sleep>>)>,
    late: CancellationToken,
}

/// Why a body can't be read.
#[derive(Debug, Error)]
enum BodyError {
    #[error("the body arrives too slowly")]
    TooSlow,
    #[error(transparent)]
    Broken(#[from] axum::Error),
}

impl Timed {
    fn new(body: Body, late: CancellationToken) -> Self {
        Self { body, received: 0, waiting: None, late }
    }

    /// Whether what has arrived by now is too little. Else the reader is woken when it would be.
    fn is_late(&mut self, cx: &mut Context<'_>) -> bool {
        let (began, alarm) = self.waiting.get_or_insert_with(|| {
            let now = Instant::now();
            (now, Box::pin(tokio::time::sleep_until(now + GRACE)))
        });
        let earned = Duration::from_secs(self.received) / RATE;
        alarm.as_mut().reset(*began + GRACE + earned);
        alarm.as_mut().poll(cx).is_ready()
    }
}

impl HttpBody for Timed {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Ready(frame) => {
                if let Some(data) = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref())
                {
                    self.received += data.len() as u64;
                }
                Poll::Ready(frame.map(|frame| frame.map_err(BodyError::from)))
            }
            Poll::Pending if self.is_late(cx) => {
                self.late.cancel();
                Poll::Ready(Some(Err(BodyError::TooSlow)))
            }
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::http::StatusCode;
    use axum::middleware::from_fn;
    use axum::routing::post;
    use tokio::sync::mpsc;
    use tokio_stream::StreamExt;
    use tokio_stream::wrappers::ReceiverStream;
    use tower::ServiceExt;

    use super::*;

    /// What a body of so many bytes is answered, of which one part comes every second.
    async fn sent(parts: usize, size: usize) -> (StatusCode, bool) {
        let length = async |body: Bytes| body.len().to_string();
        let router = Router::new().route("/", post(length)).layer(from_fn(in_time));
        let (sender, receiver) = mpsc::channel::<Vec<u8>>(1);
        let body = ReceiverStream::new(receiver).map(Ok::<_, std::convert::Infallible>);
        let request = Request::post("/").body(Body::from_stream(body)).unwrap();
        let sending = tokio::spawn(async move {
            for _ in 0..parts {
                tokio::time::sleep(Duration::from_secs(1)).await;
                if sender.send(vec![b'x'; size]).await.is_err() {
                    return;
                }
            }
        });
        let response = router.oneshot(request).await.unwrap();
        sending.abort();
        (response.status(), response.headers().contains_key(header::CONNECTION))
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_trickles_is_answered_408_and_one_that_comes_steadily_is_taken() {
        assert_eq!(sent(60, 1).await, (StatusCode::REQUEST_TIMEOUT, true));
        assert_eq!(sent(9, 1).await, (StatusCode::OK, false));
        assert_eq!(sent(60, 16 * 1_024).await, (StatusCode::OK, false));
        assert_eq!(sent(60, 4 * 1_024).await, (StatusCode::REQUEST_TIMEOUT, true));
    }
}
