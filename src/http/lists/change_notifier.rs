//! Tells everybody who waits for news of the list that there are some, all at once and not too often.

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::http::limits::WAKE_INTERVAL;
use crate::registry::Registry;
use rollcall_core::Term;
use rollcall_core::clock;
use rollcall_election::Role;

/// What there is to know for who waits.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct News {
    /// The term in which this node leads and means to go on doing so; `None` while it does not, or hands over.
    pub(in crate::http) leads: Option<Term>,
    /// The version of the list of clients online.
    pub(in crate::http) version: u64,
}

impl News {
    fn now(registry: &Registry, role: &Role) -> Self {
        let now = clock::boot_now();
        let leads = (role.is_serving(now) && !role.is_handing_over()).then_some(role.term);
        Self { leads, version: registry.online_version(now) }
    }
}

/// The news, and what publishes them for as long as the role is published. A time-out of a client is noticed when somebody
/// asks for presence, which whoever composes the registry does several times a second.
pub fn news(
    registry: Registry,
    mut role: watch::Receiver<Role>,
) -> (watch::Receiver<News>, impl Future<Output = ()> + Send) {
    let (sender, news) = watch::channel(News::now(&registry, &role.borrow()));
    let telling = async move {
        let mut next = Instant::now();
        loop {
            let told = News::now(&registry, &role.borrow_and_update());
            sender.send_if_modified(|news| std::mem::replace(news, told) != told);
            let changed = async {
                sleep_until(next).await;
                registry.wait_for_change().await;
            };
            tokio::select! {
                () = changed => next = Instant::now() + WAKE_INTERVAL,
                // A lease that was renewed is a change of the role, but no news.
                open = role.changed() => if open.is_err() { return },
            }
        }
    };
    (news, telling)
}
