//! TLS handshakes on a thread of their own, so that their computations delay no heartbeat.
//!
//! One thread computes for all handshakes, so programs that connect to the election port take one
//! processor at most. The number of handshakes that wait for the network is limited by the pending
//! connections, and their time by the timeout of the caller.

use std::future::pending;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::watch;
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use super::link_stream::LinkStream;
use crate::tls::{LinkCertificates, LinkTls};

/// Number of threads that compute handshakes.
const HANDSHAKE_THREADS: usize = 1;

/// Runs the TLS handshakes of this node's links.
#[derive(Clone, Debug)]
pub(crate) struct TlsHandshakes {
    /// The present certificates.
    certificates: watch::Receiver<Arc<LinkTls>>,
    runtime: Handle,
    tasks: TaskTracker,
}

impl TlsHandshakes {
    pub(crate) fn new(certificates: watch::Receiver<Arc<LinkTls>>, runtime: Handle) -> Self {
        Self { certificates, runtime, tasks: TaskTracker::new() }
    }

    /// The runtime for handshakes. The election ends it after its own runtime.
    pub(crate) fn runtime() -> io::Result<Runtime> {
        Builder::new_multi_thread().worker_threads(HANDSHAKE_THREADS).thread_name("election-tls").build()
    }

    /// The present certificates.
    pub(crate) fn current(&self) -> Arc<LinkTls> {
        Arc::clone(&self.certificates.borrow())
    }

    /// Performs the handshake of a dialled connection.
    pub(crate) async fn connect(&self, tcp: TcpStream, host: IpAddr) -> io::Result<LinkStream> {
        let current = self.current();
        let connector = TlsConnector::from(Arc::clone(&current.client));
        let name = ServerName::IpAddress(host.into());
        let stream = self.run(async move { connector.connect(name, tcp).await.map(TlsStream::from) }).await?;
        into_link(stream, &current)
    }

    /// Performs the handshake of an accepted connection.
    pub(crate) async fn accept(&self, tcp: TcpStream) -> io::Result<LinkStream> {
        let current = self.current();
        let acceptor = TlsAcceptor::from(Arc::clone(&current.server));
        let stream = self.run(async move { acceptor.accept(tcp).await.map(TlsStream::from) }).await?;
        into_link(stream, &current)
    }

    /// Runs a handshake on the other thread. Dropping the future ends the handshake.
    async fn run(
        &self,
        handshake: impl Future<Output = io::Result<TlsStream<TcpStream>>> + Send + 'static,
    ) -> io::Result<TlsStream<TcpStream>> {
        let task = AbortOnDropHandle::new(self.tasks.spawn_on(handshake, &self.runtime));
        task.await.map_err(io::Error::other)?
    }

    /// Waits until this node does not accept the certificates of a link any more.
    pub(crate) async fn wait_until_distrusted(&self, link: &LinkCertificates) {
        let mut certificates = self.certificates.clone();
        if certificates.wait_for(|current| !current.accepts(link)).await.is_err() {
            // The certificates cannot change any more.
            pending::<()>().await;
        }
    }
}

fn into_link(stream: TlsStream<TcpStream>, current: &LinkTls) -> io::Result<LinkStream> {
    let peer = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
    let peer = peer.cloned().ok_or_else(|| io::Error::other("it presented no certificate"))?.into_owned();
    Ok(LinkStream::Tls(Box::new(stream), LinkCertificates { own: current.own(), peer }))
}

/// The reason why a TLS handshake or a read over TLS failed, worded for a log. `None` if the
/// connection failed for another reason.
pub(crate) fn tls_failure(error: &io::Error) -> Option<String> {
    match error.get_ref()?.downcast_ref::<rustls::Error>()? {
        rustls::Error::General(reason) => Some(reason.clone()),
        rustls::Error::AlertReceived(alert) => {
            Some(format!("it does not accept the certificate of this node ({alert:?}); its log has the reason"))
        }
        rustls::Error::InvalidMessage(_) => Some("it does not speak TLS: give all nodes the same node_tls".to_owned()),
        other => Some(format!("the TLS handshake failed: {other}")),
    }
}
