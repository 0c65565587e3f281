//! The link within one process: the same service, over pipes in memory.

use std::io;

use hyper_util::rt::TokioIo;
use tokio::io::DuplexStream;
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

/// Bytes that a pipe holds each way.
const CAPACITY: usize = 64 * 1024;
/// Connections that may wait to be served.
const WAITING: usize = 4;

/// A channel, and the connections that a server has to serve for it
/// (`Server::serve_with_incoming`). The channel connects at its first call, and again whenever a
/// connection broke.
///
/// To be called within a runtime, which then drives the channel.
pub fn pipe() -> (Channel, impl Stream<Item = io::Result<DuplexStream>> + Send + Unpin + 'static) {
    let (served, serve) = mpsc::channel(WAITING);
    let connect = service_fn(move |_uri| {
        let served = served.clone();
        async move {
            let (near, far) = tokio::io::duplex(CAPACITY);
            let sent = served.send(Ok(far)).await;
            sent.map_err(|_| io::Error::from(io::ErrorKind::ConnectionRefused))?;
            Ok::<_, io::Error>(TokioIo::new(near))
        }
    });
    // The name appears nowhere: nothing resolves it.
    let endpoint = Endpoint::from_static("http://control.invalid");
    (endpoint.connect_with_connector_lazy(connect), ReceiverStream::new(serve))
}

#[cfg(test)]
mod tests {
    use tokio_stream::StreamExt;
    use tonic::Code;
    use tonic::service::Routes;
    use tonic::transport::Server;

    use super::*;
    use crate::v1;

    #[tokio::test]
    async fn a_broken_pipe_is_replaced_at_the_next_call() {
        let (channel, mut incoming) = pipe();
        let mut client = v1::link_client::LinkClient::new(channel);
        let mut other = client.clone();
        let first = tokio::spawn(async move { other.report(v1::ReportRequest::default()).await });
        drop(incoming.next().await);
        assert_ne!(first.await.unwrap().unwrap_err().code(), Code::Unimplemented);
        let server = Server::builder().add_routes(Routes::default());
        let serving = tokio::spawn(server.serve_with_incoming(incoming));
        let mut code = Code::Unavailable;
        // The channel may have noticed the break only with a call.
        for _ in 0..2 {
            let answer = client.report(v1::ReportRequest::default()).await;
            code = answer.unwrap_err().code();
        }
        assert_eq!(code, Code::Unimplemented, "a server without services answers");
        serving.abort();
    }
}
