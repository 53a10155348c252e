//! Sample clients of the demo: users that register, upload images and stay online.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tracing::{debug, warn};

use super::sample_images;
use rollcall_client::{Client, ClientError, NewUser};
use rollcall_core::{Addr, Username};

/// Largest number of clients. Each has an address with its own port, on which no program listens.
pub(super) const MAX_CLIENTS: u16 = 200;
/// Port in the address of the first client.
const FIRST_PORT: u16 = 9000;
/// Time between two heartbeats. It is far below the TTL of 30 s, so that changes show soon.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(3);
/// Names of the first clients. Later clients are named by their number.
const NAMES: [&str; 10] = ["alice", "bob", "carol", "dave", "erin", "frank", "grace", "heidi", "ivan", "judy"];

/// Sample client.
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

/// Starts `count` clients. They stop when the set is dropped.
pub(super) fn start(count: u16, client: &Arc<Client>) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    for number in 0..count {
        let client = Arc::clone(client);
        // Spread the heartbeats over the interval, as those of independent clients are.
        let start_delay = HEARTBEAT_INTERVAL * u32::from(number) / u32::from(count);
        tasks.spawn(async move { run_client(&client, &sample_client(number), start_delay).await });
    }
    tasks
}

/// Keeps one client online. Starts again when the registry no longer knows the user.
async fn run_client(client: &Client, sample: &SampleClient, start_delay: Duration) {
    let mut has_images = false;
    loop {
        match go_online(client, sample, &mut has_images).await {
            Ok(()) => tokio::time::sleep(start_delay).await,
            Err(error) => {
                warn!(user = %sample.user, %error, "a sample client cannot go online");
                tokio::time::sleep(HEARTBEAT_INTERVAL).await;
                continue;
            }
        }
        send_heartbeats(client, sample).await;
    }
}

/// Registers the client, sends the first heartbeat, and uploads its images once.
async fn go_online(client: &Client, sample: &SampleClient, has_images: &mut bool) -> Result<(), ClientError> {
    match client.register(&sample.as_new_user()).await {
        // 409: the name is registered already, for example by an earlier demo in the same
        // directory. The client uses it.
        Ok(_) | Err(ClientError::Rejected { status: 409, .. }) => {}
        Err(error) => return Err(error),
    }
    client.heartbeat(&sample.user, Some(sample.addr.into())).await?;
    if !*has_images {
        *has_images = true;
        // An error is only logged: a client without images is online too.
        if let Err(error) = upload_images(client, sample).await {
            warn!(user = %sample.user, %error, "a sample client cannot upload its images");
        }
    }
    Ok(())
}

async fn upload_images(client: &Client, sample: &SampleClient) -> Result<(), ClientError> {
    let mut uploads = client.uploads(&sample.user).await?;
    // Every second client has two images.
    for number in 0..=usize::from(sample.number % 2) {
        let Ok((kind, bytes)) = sample_images::encode(usize::from(sample.number), number) else { continue };
        let stored = uploads.send(kind, bytes.into()).await?;
        debug!(user = %sample.user, image = %stored.filename, "image uploaded");
    }
    Ok(())
}

/// Sends heartbeats until the registry no longer knows the user.
async fn send_heartbeats(client: &Client, sample: &SampleClient) {
    loop {
        match client.heartbeat(&sample.user, Some(sample.addr.into())).await {
            Ok(accepted) => debug!("{}", accepted.message),
            Err(ClientError::Rejected { status: 404, .. }) => return,
            Err(error) => debug!(user = %sample.user, %error, "a sample client cannot send a heartbeat"),
        }
        tokio::time::sleep(HEARTBEAT_INTERVAL).await;
    }
}

/// The sample client with this number, from 0.
fn sample_client(number: u16) -> SampleClient {
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
    fn all_clients_up_to_the_limit_have_different_names_and_addresses() {
        let samples: Vec<SampleClient> = (0..MAX_CLIENTS).map(sample_client).collect();
        assert_eq!(samples.iter().map(|sample| &sample.user).collect::<HashSet<_>>().len(), samples.len());
        assert_eq!(samples.iter().map(|sample| sample.addr).collect::<HashSet<_>>().len(), samples.len());
        assert_eq!((samples[0].user.as_str(), samples[10].user.as_str()), ("alice", "client-11"));
    }
}
