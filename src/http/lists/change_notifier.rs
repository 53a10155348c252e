//! Tells everybody who waits for news of the list that there are some, all at once and not too often.

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::http::limits::MIN_WAKE_INTERVAL;
use crate::registry::Registry;
use rollcall_core::Term;
use rollcall_core::clock;
use rollcall_election::Role;

/// What there is to know for who waits.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ListUpdate {
    /// The term in which this node leading_term and means to go on doing so; `None` while it does not, or hands over.
    pub(in crate::http) leading_term: Option<Term>,
    /// The version of the list of clients online.
    pub(in crate::http) version: u64,
}

impl ListUpdate {
    fn current(registry: &Registry, role: &Role) -> Self {
        let now = clock::boot_now();
        let leading_term = (role.is_serving(now) && !role.is_handing_over()).then_some(role.term);
        Self { leading_term, version: registry.online_version(now) }
    }
}

/// The updates, and what publishes them for as long as the role is published. A time-out of a client is noticed when somebody
/// asks for presence, which whoever composes the registry does several times a second.
pub fn change_notifier(
    registry: Registry,
    mut role: watch::Receiver<Role>,
) -> (watch::Receiver<ListUpdate>, impl Future<Output = ()> + Send) {
    let (sender, updates) = watch::channel(ListUpdate::current(&registry, &role.borrow()));
    let publish = async move {
        let mut next = Instant::now();
        loop {
            let current = ListUpdate::current(&registry, &role.borrow_and_update());
            sender.send_if_modified(|last| std::mem::replace(last, current) != current);
            let changed = async {
                sleep_until(next).await;
                registry.visibly_changed().await;
            };
            tokio::select! {
                () = changed => next = Instant::now() + MIN_WAKE_INTERVAL,
                // A lease that was renewed is a change of the role, but no updates.
                open = role.changed() => if open.is_err() { return },
            }
        }
    };
    (updates, publish)
}
