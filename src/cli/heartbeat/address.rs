//! Address in a user's heartbeats: a fixed one, or the local address of the connection to the
//! server.

use std::net::{IpAddr, SocketAddr};

use reqwest::Url;
use tokio::net::{UdpSocket, lookup_host};

use super::super::exit::{CommandError, USAGE};
use rollcall_client::Client;
use rollcall_core::{Addr, AddrForm};

const AUTO: &str = "auto";

/// Value of the flag `--addr`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum HeartbeatAddr {
    /// `IP:PORT` or `:PORT`.
    Fixed(AddrForm),
    /// `auto`, with a port or without.
    Auto(Option<u16>),
}

impl HeartbeatAddr {
    /// Parses the value of the flag.
    ///
    /// # Errors
    /// A message that names the valid forms.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if text == AUTO {
            return Ok(Self::Auto(None));
        }
        match text.strip_prefix(AUTO) {
            Some(port) => match AddrForm::parse(port) {
                Ok(form @ AddrForm::PortOnly(_)) => Ok(Self::Auto(Some(form.port()))),
                Ok(AddrForm::Full(_)) | Err(_) => Err("give auto:PORT, such as auto:9000".to_owned()),
            },
            None => AddrForm::parse(text).map(Self::Fixed).map_err(|invalid| invalid.to_string()),
        }
    }

    /// Adds the port of the registration to `auto` without a port.
    ///
    /// # Errors
    /// [`CommandError`] if neither the flag nor the registration has a port.
    pub(super) fn with_port(self, port: Option<u16>) -> Result<Self, CommandError> {
        match (self, port) {
            (Self::Auto(None), None) => Err(CommandError::new(
                USAGE,
                "--addr auto needs a port, since the registration gave none; give auto:PORT, such as auto:9000",
            )),
            (Self::Auto(None), port) => Ok(Self::Auto(port)),
            (addr, _) => Ok(addr),
        }
    }

    /// The address to send now; `None` if the local address is unknown. The registry then keeps the
    /// address of the last heartbeat.
    pub(super) async fn resolve(&self, client: &Client) -> Option<AddrForm> {
        match self {
            Self::Fixed(form) => Some(*form),
            Self::Auto(port) => {
                let server = client.leader().or_else(|| client.servers().into_iter().next())?;
                let ip = local_ip_towards(&server).await?;
                Addr::new(SocketAddr::new(ip, (*port)?)).map(AddrForm::Full)
            }
        }
    }
}

/// Local address from which this machine sends to the server.
///
/// Connecting a UDP socket selects the address without sending a packet.
async fn local_ip_towards(server: &str) -> Option<IpAddr> {
    let url: Url = server.parse().ok()?;
    let host = url.host_str()?.trim_matches(['[', ']']).to_owned();
    let to = lookup_host((host, url.port_or_known_default()?)).await.ok()?.next()?;
    let from: SocketAddr = if to.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0_u16; 8], 0).into() };
    let socket = UdpSocket::bind(from).await.ok()?;
    socket.connect(to).await.ok()?;
    Some(socket.local_addr().ok()?.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_fixed_or_automatic_and_other_texts_are_rejected() {
        assert_eq!(HeartbeatAddr::parse("auto"), Ok(HeartbeatAddr::Auto(None)));
        assert_eq!(HeartbeatAddr::parse("auto:9000"), Ok(HeartbeatAddr::Auto(Some(9000))));
        assert!(matches!(HeartbeatAddr::parse(":9000"), Ok(HeartbeatAddr::Fixed(AddrForm::PortOnly(_)))));
        assert!(matches!(HeartbeatAddr::parse("10.0.0.1:9000"), Ok(HeartbeatAddr::Fixed(AddrForm::Full(_)))));
        for bad in ["", "auto:", "auto:0", "auto9000", "auto1.2.3.4:5", "host:1"] {
            assert!(HeartbeatAddr::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn auto_without_a_port_uses_the_port_of_the_registration() {
        assert_eq!(HeartbeatAddr::Auto(None).with_port(Some(9)).unwrap(), HeartbeatAddr::Auto(Some(9)));
        assert_eq!(HeartbeatAddr::Auto(Some(8)).with_port(Some(9)).unwrap(), HeartbeatAddr::Auto(Some(8)));
        assert!(HeartbeatAddr::Auto(None).with_port(None).is_err());
    }

    #[tokio::test]
    async fn the_local_address_towards_a_server_on_this_machine_is_the_loopback_address() {
        assert_eq!(local_ip_towards("http://127.0.0.1:9").await, Some([127, 0, 0, 1].into()));
        assert_eq!(local_ip_towards("nonsense").await, None);
    }
}
