//! What goes into the engine and what comes out.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::entry::Entry;
use super::notice::Notice;
use crate::endpoint::PeerEndpoint;
use crate::lan::{Datagram, Dialect};
use crate::mesh::{MeshMessage, MessageFormat};
use crate::peer_id::PeerId;
use crate::profile::PeerProfile;
use rollcall_core::BootMs;

/// A connection of the mesh, for as long as the process runs; the driver numbers them.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct LinkId(pub u64);

/// When something happens: on the clock by which the engine waits, and in the calendar that people read.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// For decisions.
    pub boot: BootMs,
    /// Unix seconds, for what is said.
    pub unix_s: i64,
}

/// What happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// The time that [`super::Engine::wake_at`] named has come.
    Woke,
    /// A connection was greeted from both ends.
    Linked {
        /// Its number.
        link: LinkId,
        /// Who is there.
        peer: PeerId,
        /// What was dialled; `None` if the other dialled.
        dialled: Option<PeerEndpoint>,
        /// The address at the other end.
        remote: IpAddr,
    },
    /// A dialled address did not become a link.
    DialFailed {
        /// The address.
        endpoint: PeerEndpoint,
        /// Why.
        why: String,
    },
    /// A link ended.
    Unlinked {
        /// Which.
        link: LinkId,
        /// Why.
        why: String,
    },
    /// A message came in.
    Heard {
        /// On which link.
        link: LinkId,
        /// What.
        message: MeshMessage,
        /// Whether its time was written as a text.
        text_times: bool,
    },
    /// Addresses of peers that somebody outside the mesh knows.
    Told(Vec<PeerEndpoint>),
    /// A datagram came in.
    HeardDatagram {
        /// Its source.
        from: SocketAddr,
        /// Whether it came to the shared port, so that it was meant for everybody.
        shared: bool,
        /// What it says.
        datagram: Datagram,
        /// How.
        dialect: Dialect,
    },
    /// The person said something to everybody.
    Posted(String),
    /// The person said something to one peer.
    Whispered {
        /// Whom, as the person named it.
        to: String,
        /// What.
        text: String,
    },
    /// The person said who this peer is.
    Introduced(PeerProfile),
    /// The person wants to know who is there; the LAN is asked, too.
    Listed,
    /// This peer is about to end: nothing may wait any longer.
    Left,
}

/// What is to be done, in this order.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Dial an address; answered by [`Event::Linked`] or [`Event::DialFailed`].
    Dial(PeerEndpoint),
    /// Send a message on some links, in this form.
    Send {
        /// Which.
        links: Vec<LinkId>,
        /// What.
        message: MeshMessage,
        /// How.
        form: MessageFormat,
    },
    /// End a link. The engine has forgotten it already.
    Close {
        /// Which.
        link: LinkId,
        /// Why.
        why: &'static str,
    },
    /// Send a datagram to everybody on the LAN.
    Shout(Datagram),
    /// Send a datagram to one address.
    SendDatagram {
        /// Where.
        to: SocketAddr,
        /// What.
        datagram: Datagram,
        /// How.
        dialect: Dialect,
    },
    /// Keep this for the next start.
    Keep(Arc<Entry>),
    /// Tell the person.
    Tell(Notice),
}

/// What one event comes to.
pub(super) type Actions = Vec<Action>;
