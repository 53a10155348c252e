//! Links between nodes: sockets, handshakes, and payloads of other subsystems on the same links.

pub(crate) mod handshake;
pub(crate) mod hello;
pub(crate) mod identities;
pub(crate) mod link;
pub(crate) mod link_stream;
pub(crate) mod listener;
pub(crate) mod log_throttle;
pub(crate) mod outbound;
pub(crate) mod payload;
pub(crate) mod pending_connections;
pub(crate) mod tls_handshakes;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::abort::abort_on_panic;
use crate::process::NodeId;
use hello::HelloPolicy;
use listener::{LinkEvent, LinkListener};
use outbound::OutboundLink;
use payload::Inbound;

/// Largest number of frames that wait for one node. Further frames are dropped, as a network would
/// drop them.
const OUTBOX_FRAMES: usize = 64;

/// Queues of payloads to send, one per outbound link, and the queue of received payloads.
pub(crate) type PayloadChannels = (HashMap<NodeId, mpsc::Receiver<Bytes>>, mpsc::Sender<Inbound>);

/// Starts the listener and one outbound link per other node. Returns the outboxes of the links.
pub(crate) fn start(
    listener: tokio::net::TcpListener,
    api_port: u16,
    policy: &Arc<HelloPolicy>,
    events: &mpsc::Sender<LinkEvent>,
    (mut payloads, inbound): PayloadChannels,
    stop: &CancellationToken,
    tasks: &TaskTracker,
) -> HashMap<NodeId, mpsc::Sender<Bytes>> {
    let mut outboxes = HashMap::new();
    let mut redial_signals = HashMap::new();
    for node in policy.peers.others() {
        let (outbox_sender, outbox) = mpsc::channel(OUTBOX_FRAMES);
        let redial_signal = Arc::new(Notify::new());
        let link = OutboundLink {
            node,
            policy: Arc::clone(policy),
            outbox,
            payloads: payloads.remove(&node).expect("the transport has a queue for every other peer"),
            redial_signal: Arc::clone(&redial_signal),
            events: events.clone(),
            stop: stop.clone(),
        };
        tasks.spawn(abort_on_panic(link.run()));
        outboxes.insert(node, outbox_sender);
        redial_signals.insert(node, redial_signal);
    }
    let listener_task = LinkListener {
        policy: Arc::clone(policy),
        events: events.clone(),
        redial_signals,
        api_port,
        inbound,
        stop: stop.clone(),
        tasks: tasks.clone(),
        current_links: Mutex::default(),
    };
    tasks.spawn(abort_on_panic(Arc::new(listener_task).run(listener)));
    outboxes
}
