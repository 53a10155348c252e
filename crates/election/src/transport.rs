//! The links between nodes: sockets, the greeting, and the messages of other subsystems on the same
//! links.

pub(crate) mod carrier;
pub(crate) mod complaints;
pub(crate) mod dialler;
pub(crate) mod greeter;
pub(crate) mod handshake;
pub(crate) mod identities;
pub(crate) mod link;
pub(crate) mod network;
pub(crate) mod strangers;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::abort::or_abort;
use crate::process::NodeId;
use carrier::Parcel;
use dialler::Dialler;
use greeter::Greeter;
use network::{Network, News};

/// Frames that wait for one node; more are dropped, as a network would.
const OUTBOX_FRAMES: usize = 64;

/// Cargo for each other node, and from them.
pub(crate) type CargoEnds = (HashMap<NodeId, mpsc::Receiver<Bytes>>, mpsc::Sender<Parcel>);

/// The accepting side and a dialler to every other node; the diallers' outboxes.
pub(crate) fn start(
    listener: tokio::net::TcpListener,
    api_port: u16,
    greeter: &Arc<Greeter>,
    news: &mpsc::Sender<News>,
    (mut cargo, parcels): CargoEnds,
    stop: &CancellationToken,
    tasks: &TaskTracker,
) -> HashMap<NodeId, mpsc::Sender<Bytes>> {
    let mut outboxes = HashMap::new();
    let mut nudges = HashMap::new();
    for node in greeter.peers.others() {
        let (outbox_in, outbox) = mpsc::channel(OUTBOX_FRAMES);
        let nudge = Arc::new(Notify::new());
        let dialler = Dialler {
            node,
            greeter: Arc::clone(greeter),
            outbox,
            cargo: cargo.remove(&node).expect("the carrier is made for the same peers"),
            nudge: Arc::clone(&nudge),
            news: news.clone(),
            stop: stop.clone(),
        };
        tasks.spawn(or_abort(dialler.run()));
        outboxes.insert(node, outbox_in);
        nudges.insert(node, nudge);
    }
    let network = Network {
        greeter: Arc::clone(greeter),
        news: news.clone(),
        nudges,
        api_port,
        parcels,
        stop: stop.clone(),
        tasks: tasks.clone(),
        current: Mutex::default(),
    };
    tasks.spawn(or_abort(Arc::new(network).run(listener)));
    outboxes
}
