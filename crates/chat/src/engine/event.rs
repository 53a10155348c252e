//! Events and actions: the input and the output of the engine.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::chat_entry::ChatEntry;
use super::notice::Notice;
use crate::endpoint::PeerEndpoint;
use crate::lan::{Datagram, Dialect};
use crate::mesh::{MeshMessage, MessageFormat};
use crate::peer_id::PeerId;
use crate::profile::PeerProfile;
use rollcall_core::BootMs;

/// Id of one mesh connection. The driver assigns it; it is unique while the process runs.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct LinkId(pub u64);

/// The current time on both clocks.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// Time since boot. All deadlines use it.
    pub boot: BootMs,
    /// Unix time in seconds, for timestamps and for the first message numbers of a run. No deadline
    /// uses it.
    pub unix_s: i64,
}

/// An event for the engine.
#[derive(Clone, Debug)]
pub enum Event {
    /// The time [`super::Engine::wake_at`] has been reached.
    TimerFired,
    /// The greetings of a mesh connection were exchanged.
    LinkOpened {
        /// Id of the new link.
        link: LinkId,
        /// Id of the peer at the other end.
        peer: PeerId,
        /// The address that was dialled; `None` for an accepted connection.
        dialled: Option<PeerEndpoint>,
        /// IP address of the other end.
        remote: IpAddr,
    },
    /// The peer at a dialled address has sent its greeting, and this peer has not. The engine
    /// answers with [`Action::Greet`] or [`Action::EndDial`].
    DialGreeted {
        /// The dialled address.
        endpoint: PeerEndpoint,
        /// The peer at this address.
        peer: PeerId,
    },
    /// A dial did not lead to a link.
    DialFailed {
        /// The dialled address.
        endpoint: PeerEndpoint,
        /// Reason of the failure.
        reason: String,
    },
    /// A link was closed.
    LinkClosed {
        /// The closed link.
        link: LinkId,
        /// Reason of the close.
        reason: String,
    },
    /// A mesh message was received.
    MessageReceived {
        /// The link that delivered it.
        link: LinkId,
        /// The message.
        message: MeshMessage,
    },
    /// The registry reported addresses of peers.
    AddressesFound(Vec<PeerEndpoint>),
    /// A LAN datagram was received.
    DatagramReceived {
        /// Address of the sender.
        source: SocketAddr,
        /// Whether it arrived at the shared port, as datagrams for all peers do.
        to_shared_port: bool,
        /// The datagram.
        datagram: Datagram,
        /// The dialect in which it was written.
        dialect: Dialect,
    },
    /// The user wants to send a text to all peers.
    PostRequested(String),
    /// The user wants to send a text to one peer.
    DirectRequested {
        /// The name of the recipient as the user typed it.
        to: String,
        /// The text.
        text: String,
    },
    /// The user wants to follow a LAN peer, or no longer wants to.
    FollowRequested {
        /// The name of the LAN peer as the user typed it.
        to: String,
        /// Whether this peer shall follow it.
        follows: bool,
    },
    /// The user set the profile of this peer.
    ProfileSet(PeerProfile),
    /// The user wants to see the list of peers. The engine also asks LAN peers for their lists.
    ListRequested,
    /// This peer is about to stop. The engine sends the messages that it has only announced so far,
    /// and announces the leave on the LAN.
    ShuttingDown,
}

/// An action for the driver. Actions are performed in order.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Dial an address. The driver answers with [`Event::DialGreeted`], and later with
    /// [`Event::LinkOpened`] or [`Event::DialFailed`]. If the other end does not greet first, there
    /// is no [`Event::DialGreeted`].
    Dial {
        /// The address.
        endpoint: PeerEndpoint,
    },
    /// Send the greeting of this peer on the connection that was dialled at this address.
    Greet {
        /// The dialled address.
        endpoint: PeerEndpoint,
    },
    /// Close the connection that was dialled at this address, before this peer has greeted. So the
    /// other end never sees a link. The engine has already recorded the end of the dial.
    EndDial {
        /// The dialled address.
        endpoint: PeerEndpoint,
    },
    /// Send a message on some links.
    Send {
        /// The links.
        links: Vec<LinkId>,
        /// The message.
        message: MeshMessage,
        /// The format in which the message is written.
        format: MessageFormat,
    },
    /// Close a link. The engine has already removed it.
    Close {
        /// The link.
        link: LinkId,
        /// Reason for the log.
        reason: &'static str,
    },
    /// Send a datagram to all LAN peers.
    Broadcast(Datagram),
    /// Send a datagram to one address.
    SendDatagram {
        /// The destination.
        to: SocketAddr,
        /// The datagram.
        datagram: Datagram,
        /// The dialect in which the datagram is written.
        dialect: Dialect,
    },
    /// Store an entry for the next run.
    Persist(Arc<ChatEntry>),
    /// Notify the user.
    Notify(Notice),
}

/// The actions of one event.
pub(super) type Actions = Vec<Action>;
