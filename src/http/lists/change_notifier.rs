//! Wakes all requests that wait for changes of the list of online clients: all at once, and at most
//! once per [`MIN_WAKE_INTERVAL`].

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::http::limits::MIN_WAKE_INTERVAL;
use crate::registry::Registry;
use rollcall_core::Term;
use rollcall_core::clock;
use rollcall_election::Role;

/// The state that waiting requests watch.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ListUpdate {
    /// The term in which this node leads. `None` if it does not lead, or hands over the leadership.
    pub(in crate::http) leading_term: Option<Term>,
    /// Version of the list of online clients.
    pub(in crate::http) version: u64,
}

impl ListUpdate {
    fn current(registry: &Registry, role: &Role) -> Self {
        let now = clock::boot_now();
        let leading_term = (role.is_serving(now) && !role.is_handing_over()).then_some(role.term);
        Self { leading_term, version: registry.online_version(now) }
    }
}

/// Returns the receiver of the state, and the future that publishes the state. The future ends when
/// the sender of `role` is dropped.
///
/// The registry takes an expired client offline when it is asked for the online clients. The
/// composition root asks several times a second.
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
                registry.wait_for_change().await;
            };
            tokio::select! {
                () = changed => next = Instant::now() + MIN_WAKE_INTERVAL,
                // A renewed lease changes the role but not the `ListUpdate`, so it wakes no
                // request.
                role_changed = role.changed() => if role_changed.is_err() { return },
            }
        }
    };
    (updates, publish)
}
