//! Stale reads: with `?stale=true`, any node answers with its replica of a list, and says how old
//! it is.

use axum::extract::{FromRequestParts, Query, Request, State};
use axum::http::{HeaderName, HeaderValue, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::{Extension, RequestPartsExt};

use super::ListService;
use super::encode::{self, ONLINE_NAMES_PATH, USERS_PATH};
use super::list_response::{EncodedList, ListReader};
use crate::http::app::{App, SharedApp};
use crate::http::error::ApiError;
use crate::http::params::{PageParams, quoted};
use crate::registry::UsersError;
use rollcall_core::Page;
use rollcall_core::clock;

/// Response header with the age of a stale list: milliseconds since it was last known to be equal
/// to the leader's list.
pub(in crate::http) const AGE_HEADER: HeaderName = HeaderName::from_static("rollcall-age-ms");

/// The layer around the leader gate of the lists. A stale read is answered from the replica, unless
/// this node serves. A leader's own list is never stale. Only a leader knows the changes of its
/// list, so a stale list has no cursor.
pub(in crate::http) async fn stale_or_leader(
    State(app): State<SharedApp>,
    Extension(lists): Extension<ListService>,
    request: Request,
    next: Next,
) -> Response {
    match is_stale_read(request.uri()) {
        Ok(true) if app.serving_term().is_err() => {
            respond_stale(&app, &lists, request).await.unwrap_or_else(IntoResponse::into_response)
        }
        Ok(_) => next.run(request).await,
        // The leader also rejects an invalid `stale`. Otherwise a client would notice its mistake
        // only after the leader fails.
        Err(error) => error.into_response(),
    }
}

fn is_stale_read(uri: &Uri) -> Result<bool, ApiError> {
    let Ok(Query(pairs)) = Query::<Vec<(String, String)>>::try_from_uri(uri) else { return Ok(false) };
    let mut given = pairs.iter().filter(|(name, _)| name == "stale").map(|(_, value)| value.as_str());
    let stale = match (given.next(), given.next()) {
        (None | Some("0" | "false"), None) => Ok(false),
        (Some("" | "1" | "true"), None) => Ok(true),
        (Some(other), None) => Err(quoted(other)),
        (_, Some(_)) => Err("given more than once".to_owned()),
    };
    let stale =
        stale.map_err(|found| ApiError::InvalidField { field: "stale", found, expected: "\"true\" or \"false\"" })?;
    let asks_for_changes = pairs.iter().any(|(name, _)| matches!(name.as_str(), "since" | "wait"));
    Ok(stale && !asks_for_changes)
}

async fn respond_stale(app: &SharedApp, lists: &ListService, request: Request) -> Result<Response, ApiError> {
    let age_ms = age_ms(app, request.uri().path())?;
    let (mut parts, _) = request.into_parts();
    let PageParams(page) = PageParams::from_request_parts(&mut parts, &()).await?;
    let reader = parts.extract::<ListReader>().await?;
    let mut response = respond_with_list(app, lists, parts.uri.path(), page, reader).await?;
    response.headers_mut().insert(AGE_HEADER, HeaderValue::from(age_ms));
    Ok(response)
}

/// Answers with the list at `path`, as this node has it. Whole lists are cached and shared, as on a
/// leader. `path` must be the path of a list.
async fn respond_with_list(
    app: &SharedApp,
    lists: &ListService,
    path: &str,
    page: Page,
    reader: ListReader,
) -> Result<Response, ApiError> {
    let (registry, replica_lists) = (app.registry.clone(), lists.replica_lists());
    // Stale lists have their own caches, so they cannot be mistaken for lists that this node built
    // as the leader.
    let term = app.cluster.role.borrow().term;
    let online_version = || app.registry.online_version(clock::boot_now());
    match path {
        USERS_PATH => {
            let version = || app.registry.users_version(clock::boot_now());
            let build = move |page, _| EncodedList::new(encode::users(&registry, page), None);
            lists.respond(&replica_lists.users, term, page, reader, version, build).await
        }
        ONLINE_NAMES_PATH => {
            let build = move |page, _| EncodedList::new(encode::online_names(&registry, page), None);
            lists.respond(&replica_lists.online_names, term, page, reader, online_version, build).await
        }
        _ => {
            let build = move |page, _| EncodedList::new(encode::online_clients(&registry, page, false), None);
            lists.respond(&replica_lists.online_clients, term, page, reader, online_version, build).await
        }
    }
}

/// Milliseconds since the replica of the list at `path` was last known to be equal to the leader's.
///
/// # Errors
/// `no_copy` if there is no replica of the list of online clients yet, `index_rebuilding` if there
/// is none of the list of users.
fn age_ms(app: &App, path: &str) -> Result<u64, ApiError> {
    let up_to_date_at = app.replica.clients_up_to_date_at.borrow().ok_or(ApiError::NoCopy)?;
    // A replica can be equal to the leader's while the leader itself still reads the users from the
    // bucket.
    let up_to_date_at = if path == USERS_PATH {
        app.replica.users_complete_at.borrow().ok_or(UsersError::IndexRebuilding)?
    } else {
        up_to_date_at
    };
    Ok(clock::boot_now().since(up_to_date_at))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::http::testing::{TERM, TestNode, TestResponse, following, leading, leading_until};

    /// A node that led and now follows. Its replica contains `alice`, online, and `bob`, offline.
    async fn follower() -> TestNode {
        let node = TestNode::with_alice_and_bob().await;
        assert_eq!(node.post("/heartbeat", r#"{"username":"alice"}"#).await.status, 200);
        node.role.send_replace(following());
        node
    }

    const LISTS: [&str; 3] = ["/discover", "/discovery/online", USERS_PATH];

    /// Sets the times at which the clients were up to date and the users were complete, in
    /// milliseconds before now.
    fn set_freshness(node: &TestNode, all_ago_ms: u64, users_ago_ms: u64) {
        let ago = |ms| Some(rollcall_core::BootMs(clock::boot_now().0 - ms));
        node.clients_up_to_date_at.send_replace(ago(all_ago_ms));
        node.users_complete_at.send_replace(ago(users_ago_ms));
    }

    /// Checks the age in the header. It is at least the age that the test set. 5 s more are enough
    /// for a slow machine.
    #[track_caller]
    fn assert_age(answer: &TestResponse, at_least_ms: u64) {
        let age_ms: u64 = answer.header("rollcall-age-ms").expect("an age").parse().unwrap();
        assert!((at_least_ms..at_least_ms + 5000).contains(&age_ms), "{age_ms} ms");
    }

    #[tokio::test]
    async fn a_stale_list_has_its_age_even_without_a_known_leader() {
        let node = follower().await;
        set_freshness(&node, 20_000, 40_000);
        for role in [following(), leading_until(clock::boot_now(), TERM)] {
            node.role.send_replace(role);
            for (path, at_least_ms) in LISTS.into_iter().zip([20_000, 20_000, 40_000]) {
                let answer = node.get(&format!("{path}?stale=true")).await;
                assert_eq!(answer.status, 200);
                assert_age(&answer, at_least_ms);
            }
        }
        let online = node.get("/discover?stale=true").await.json();
        let alice = json!({"username": "alice", "addr": "10.40.6.26:9000"});
        assert_eq!(online, json!({"online_clients": [alice], "count": 1, "is_leader": false}));
    }

    #[tokio::test]
    async fn only_the_leader_reports_changes() {
        let node = follower().await;
        set_freshness(&node, 0, 0);
        for query in ["since=0", "since=garbage&wait=20", "since=", "wait=20"] {
            node.get(&format!("/discover?stale=true&{query}")).await.expect_error(403, "not_leader");
        }
    }

    #[tokio::test]
    async fn stale_is_true_or_false_and_given_once() {
        let node = follower().await;
        set_freshness(&node, 0, 0);
        let wrong = ["stale=True", "stale=yes", "stale=2", "stale=true&stale=true", "stale=true&stale=false"];
        for role in [following(), leading()] {
            node.role.send_replace(role);
            for (path, query) in LISTS.into_iter().flat_map(|path| wrong.map(|query| (path, query))) {
                node.get(&format!("{path}?{query}")).await.expect_error(400, "invalid_field");
            }
        }
        node.role.send_replace(following());
        for path in LISTS {
            for query in ["stale", "stale=", "stale=1", "stale=true", "limit=1&stale=true"] {
                assert_eq!(node.get(&format!("{path}?{query}")).await.status, 200, "{query}");
            }
            for query in ["stale=0", "stale=false", "other=true"] {
                node.get(&format!("{path}?{query}")).await.expect_error(403, "not_leader");
            }
            node.get(&format!("{path}?stale=true&limit=x")).await.expect_error(400, "invalid_field");
        }
    }

    #[tokio::test]
    async fn a_node_without_a_replica_serves_no_list_and_one_without_all_users_serves_no_list_of_users() {
        let node = follower().await;
        for path in LISTS {
            node.get(&format!("{path}?stale=true")).await.expect_error(503, "no_copy");
        }
        node.clients_up_to_date_at.send_replace(Some(clock::boot_now()));
        for path in ["/users?stale=true", "/users?stale=true&limit=1"] {
            node.get(path).await.expect_error(503, "index_rebuilding");
        }
        assert_eq!(node.get("/discover?stale=true").await.status, 200);
        set_freshness(&node, 0, 0);
        assert_eq!(node.get("/users?stale=true").await.json()["count"], 2);
    }
}
