//! Separate hosts for the nodes: network namespaces that `tests/netns.sh` has created, with links
//! that can be cut.

use std::net::Ipv4Addr;
use std::str::FromStr;
use std::time::Duration;

use anyhow::Context;
use tokio::process::Command;
use tokio::time::timeout;

/// Timeout for `ip link`. The kernel answers at once.
const CABLE_TIMEOUT: Duration = Duration::from_secs(5);

/// One host, as `tests/netns.sh` describes it.
#[derive(Clone, Debug)]
pub(crate) struct Host {
    /// Network namespace of its processes.
    pub(crate) namespace: String,
    /// Network interface in this process's namespace: this end of the cable to the other nodes.
    cable: String,
    /// Its address for the other nodes.
    pub(crate) cluster: Ipv4Addr,
    /// Its address for clients, on a second cable that is never cut.
    pub(crate) clients: Ipv4Addr,
}

impl FromStr for Host {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let [namespace, cable, cluster, clients] = text.split(',').collect::<Vec<_>>()[..] else {
            anyhow::bail!("expected NAMESPACE,CABLE,ADDRESS,ADDRESS, found {text:?}");
        };
        let (cluster, clients) = (cluster.parse()?, clients.parse()?);
        Ok(Self { namespace: namespace.to_owned(), cable: cable.to_owned(), cluster, clients })
    }
}

impl Host {
    /// Cuts the cable: packets are lost without a notification.
    pub(crate) async fn cut(&self) -> anyhow::Result<()> {
        self.set_cable("down").await
    }

    /// Repairs the cable.
    pub(crate) async fn mend(&self) -> anyhow::Result<()> {
        self.set_cable("up").await
    }

    async fn set_cable(&self, state: &str) -> anyhow::Result<()> {
        let mut command = Command::new("ip");
        command.args(["link", "set", &self.cable, state]).kill_on_drop(true);
        let status = timeout(CABLE_TIMEOUT, command.status())
            .await
            .context("ip did not end in time")?
            .context("cannot run ip")?;
        anyhow::ensure!(status.success(), "cannot set the cable {} {state}: {status}", self.cable);
        Ok(())
    }
}
