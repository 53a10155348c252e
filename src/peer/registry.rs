//! The registry, as a peer uses it: registers there, says that it is online, and learns who else is. Everything goes on
//! without it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::sleep;
use tracing::{debug, warn};

use super::endpoint::Endpoint;
use super::narrator;
use super::tallies::Tallies;
use crate::client::{Client, ClientError, NewUser};
use crate::domain::{Addr, Username};

/// Between two looks at who is online, unless the registry wants a heartbeat sooner.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// How a peer stands with the registry.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Standing {
    /// It was not asked yet.
    Unasked,
    /// It answered last time.
    Answers,
    /// It did not.
    Away,
}

/// What a peer tells the registry.
pub(super) struct Registrant {
    pub(super) client: Client,
    pub(super) user: Username,
    pub(super) addr: Addr,
    pub(super) found: mpsc::Sender<Vec<Endpoint>>,
    pub(super) standing: watch::Sender<Standing>,
    pub(super) tallies: Arc<Tallies>,
}

impl Registrant {
    /// Registers, then says that it is online and looks who else is, for ever.
    pub(super) async fn run(self) {
        let mut is_registered = false;
        loop {
            let pause = match self.round(&mut is_registered).await {
                Ok(pause) => {
                    if self.standing.send_replace(Standing::Answers) == Standing::Away {
                        narrator::registry_back();
                    }
                    pause
                }
                Err(error) => {
                    self.tallies.registry_failures.add(1);
                    // Once, and not with each try.
                    if self.standing.send_replace(Standing::Away) != Standing::Away {
                        narrator::registry_gone(&error.to_string());
                    }
                    LOOK_EVERY
                }
            };
            sleep(pause).await;
        }
    }

    async fn round(&self, is_registered: &mut bool) -> Result<Duration, ClientError> {
        let online = self.client.online().await?.online_clients;
        let mine = online.iter().find(|client| client.username == self.user);
        let others = online.iter().filter(|client| client.username != self.user);
        let endpoints = others.filter_map(|client| client.addr).map(|addr| Endpoint::of(addr.socket_addr()));
        let _ = self.found.send(endpoints.collect()).await;
        if !*is_registered {
            let user = NewUser { addr: Some(self.addr.into()), ..NewUser::named(self.user.clone()) };
            match self.client.register(&user).await {
                Ok(_) => {}
                // Registered at another address: by an earlier run of this peer, or by somebody else who is there now.
                Err(ClientError::Refused { code, .. }) if code == "user_exists" => {
                    if let Some(there) = mine.and_then(|mine| mine.addr).filter(|there| *there != self.addr) {
                        warn!("somebody called {} is online at {there}; choose another --name to be found", self.user);
                        return Ok(LOOK_EVERY);
                    }
                }
                Err(error) => return Err(error),
            }
            *is_registered = true;
            narrator::registered(self.user.as_str(), &self.addr.to_string());
        }
        let accepted = self.client.heartbeat(&self.user, Some(self.addr.into())).await?;
        debug!("online for another {} ms", accepted.ttl_ms);
        Ok(Duration::from_millis(accepted.next_heartbeat_ms).min(LOOK_EVERY))
    }
}

/// The address of this machine as the host of `url` sees it. Nothing is sent: the system only looks up the way.
pub(super) fn address_towards(url: &str) -> IpAddr {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let host = rest.split('/').next().unwrap_or(rest);
    let target = if host.rsplit(':').next().is_some_and(|port| port.parse::<u16>().is_ok()) {
        host.to_owned()
    } else {
        format!("{host}:80")
    };
    let seen = || {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        socket.connect(target)?;
        socket.local_addr()
    };
    seen().map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |addr: SocketAddr| addr.ip())
}
