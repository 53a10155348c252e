//! Hosts of their own for the nodes: network namespaces that `tests/netns.sh` has made, with cables that can be cut.

use std::net::Ipv4Addr;
use std::str::FromStr;
use std::time::Duration;

use anyhow::Context;
use tokio::process::Command;
use tokio::time::timeout;

/// The kernel answers at once.
const CABLE_TIMEOUT: Duration = Duration::from_secs(5);

/// One host, as the network's maker describes it.
#[derive(Clone, Debug)]
pub(crate) struct Host {
    /// Where its processes run.
    pub(crate) namespace: String,
    /// The far end, in this process's namespace, of the cable to the other nodes.
    cable: String,
    /// Its address for the other nodes.
    pub(crate) cluster: Ipv4Addr,
    /// Its address for clients, whose cable is never cut.
    pub(crate) clients: Ipv4Addr,
}

impl FromStr for Host {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let [namespace, cable, cluster, clients] = text.split(',').collect::<Vec<_>>()[..] else {
            anyhow::bail!("write NAMESPACE,CABLE,ADDRESS,ADDRESS");
        };
        let (cluster, clients) = (cluster.parse()?, clients.parse()?);
        Ok(Self { namespace: namespace.to_owned(), cable: cable.to_owned(), cluster, clients })
    }
}

impl Host {
    /// Cuts the cable: what is sent is lost, and nobody is told.
    pub(crate) async fn cut(&self) -> anyhow::Result<()> {
        self.set_cable("down").await
    }

    /// Makes the cable whole again.
    pub(crate) async fn mend(&self) -> anyhow::Result<()> {
        self.set_cable("up").await
    }

    async fn set_cable(&self, state: &str) -> anyhow::Result<()> {
        let mut command = Command::new("ip");
        command.args(["link", "set", &self.cable, state]).kill_on_drop(true);
        let status = timeout(CABLE_TIMEOUT, command.status()).await.context("ip does not end")?.context("no ip")?;
        anyhow::ensure!(status.success(), "the cable {} cannot be set {state}: {status}", self.cable);
        Ok(())
    }
}
