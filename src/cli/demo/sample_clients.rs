//! The demo's clients: users that register, show pictures and stay online, as a peer-to-peer program would.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tracing::{debug, warn};

use super::sample_images;
use rollcall_client::{Client, ClientError, NewUser};
use rollcall_core::{Addr, Username};

/// The most clients that the demo runs; their addresses take as many ports, on which nobody listens.
pub(super) const MAX_CLIENTS: u16 = 200;
const FIRST_PORT: u16 = 9000;
/// Well below the 30 s after which a client would be offline, so that a change can be watched.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(3);
const NAMES: [&str; 10] = ["alice", "bob", "carol", "dave", "erin", "frank", "grace", "heidi", "ivan", "judy"];

/// One of the clients.
#[derive(Clone, Debug, Eq, PartialEq)]
struct SampleClient {
    number: u16,
    user: Username,
    addr: Addr,
}

impl SampleClient {
    fn as_new_user(&self) -> NewUser {
        NewUser { addr: Some(self.addr.into()), ..NewUser::named(self.user.clone()) }
    }
}

/// Starts `count` clients; they end with the set.
pub(super) fn start(count: u16, client: &Arc<Client>) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    for number in 0..count {
        let client = Arc::clone(client);
        // Spread over the time between two beats, as the beats of strangers are.
        let start_delay = HEARTBEAT_INTERVAL * u32::from(number) / u32::from(count);
        tasks.spawn(async move { run_client(&client, &sample(number), start_delay).await });
    }
    tasks
}

async fn run_client(client: &Client, sample: &SampleClient, start_delay: Duration) {
    let mut has_images = false;
    loop {
        match go_online(client, sample, &mut has_images).await {
            Ok(()) => tokio::time::sleep(start_delay).await,
            Err(error) => {
                warn!(user = %sample.user, "{} cannot go online: {error}", sample.user);
                tokio::time::sleep(HEARTBEAT_INTERVAL).await;
                continue;
            }
        }
        send_heartbeats(client, sample).await;
    }
}

/// Registers, goes online and shows the pictures, once.
async fn go_online(client: &Client, sample: &SampleClient, has_images: &mut bool) -> Result<(), ClientError> {
    match client.register(&sample.as_new_user()).await {
        // Someone registered the name by hand, in a directory that is kept: it can be used all the same.
        Ok(_) | Err(ClientError::Rejected { status: 409, .. }) => {}
        Err(error) => return Err(error),
    }
    client.heartbeat(&sample.user, Some(sample.addr.into())).await?;
    if !*has_images {
        *has_images = true;
        // A client without its pictures is online all the same.
        if let Err(error) = upload_images(client, sample).await {
            warn!(user = %sample.user, "{} cannot show its pictures: {error}", sample.user);
        }
    }
    Ok(())
}

async fn upload_images(client: &Client, sample: &SampleClient) -> Result<(), ClientError> {
    let mut uploads = client.uploads(&sample.user).await?;
    // Every second client has two.
    for number in 0..=usize::from(sample.number % 2) {
        let Ok((kind, bytes)) = sample_images::encode(usize::from(sample.number), number) else { continue };
        let stored = uploads.send(kind, bytes.into()).await?;
        debug!(user = %sample.user, "stored {}", stored.filename);
    }
    Ok(())
}

/// Sends heartbeats until the registry does not know the user any more.
async fn send_heartbeats(client: &Client, sample: &SampleClient) {
    loop {
        match client.heartbeat(&sample.user, Some(sample.addr.into())).await {
            Ok(accepted) => debug!("{}", accepted.message),
            Err(ClientError::Rejected { status: 404, .. }) => return,
            Err(error) => debug!(user = %sample.user, "no heartbeat for {}: {error}", sample.user),
        }
        tokio::time::sleep(HEARTBEAT_INTERVAL).await;
    }
}

fn sample(number: u16) -> SampleClient {
    let name =
        NAMES.get(usize::from(number)).map_or_else(|| format!("client-{}", number + 1), |name| (*name).to_owned());
    let addr = std::net::SocketAddr::from(([127, 0, 0, 1], FIRST_PORT + number));
    SampleClient {
        number,
        user: Username::parse(&name).expect("letters, digits and a dash"),
        addr: Addr::new(addr).expect("ports from 9000 on are not 0"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn as_many_clients_as_are_allowed_differ_in_name_and_address() {
        let samples: Vec<SampleClient> = (0..MAX_CLIENTS).map(sample).collect();
        assert_eq!(samples.iter().map(|sample| &sample.user).collect::<HashSet<_>>().len(), samples.len());
        assert_eq!(samples.iter().map(|sample| sample.addr).collect::<HashSet<_>>().len(), samples.len());
        assert_eq!((samples[0].user.as_str(), samples[10].user.as_str()), ("alice", "client-11"));
    }
}
