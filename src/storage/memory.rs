//! Store in memory for tests. It fulfils the contract of [`Backend`], and tests can inject faults.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use compact_str::format_compact;

use super::{Backend, BackendError, Folder, Key, ListPage, Object, ObjectVersion};

/// A fault injected into one call.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Fault {
    /// No fault: one call succeeds before the next fault.
    None,
    /// The call fails before it takes effect. A retry may succeed.
    Transient,
    /// Like [`Fault::Transient`], and the store asks to wait this long before a retry.
    RetryAfter(Duration),
    /// The call fails before it takes effect. A retry will not succeed.
    Permanent,
    /// The call takes effect, but returns a transient error.
    LoseResponse,
    /// The call takes effect after this delay.
    Delay(Duration),
    /// The call takes no effect and never returns.
    Hang,
}

/// Handle to inject faults into the calls of one store. Clones share the faults.
#[derive(Clone, Debug, Default)]
pub struct Faults(Arc<Mutex<FaultQueue>>);

/// Faults of the next calls, and the number of calls so far.
#[derive(Debug, Default)]
struct FaultQueue {
    next: VecDeque<Fault>,
    outage: Option<Fault>,
    calls: usize,
}

impl Faults {
    /// Queues a fault for `count` calls, after the faults that are queued already.
    pub fn inject(&self, count: usize, fault: &Fault) {
        lock(&self.0).next.extend(std::iter::repeat_n(fault.clone(), count));
    }

    /// Injects a fault into every call for which no other fault is queued, until `None` is set.
    pub fn set_outage(&self, fault: Option<Fault>) {
        lock(&self.0).outage = fault;
    }

    /// The number of calls to the store so far.
    #[must_use]
    pub fn calls(&self) -> usize {
        lock(&self.0).calls
    }

    fn next_fault(&self) -> Fault {
        let mut queue = lock(&self.0);
        queue.calls += 1;
        queue.next.pop_front().or_else(|| queue.outage.clone()).unwrap_or(Fault::None)
    }
}

/// Store in memory. Clones share their objects and faults.
#[derive(Clone, Debug)]
pub struct MemoryBackend {
    objects: Arc<Mutex<ObjectTable>>,
    faults: Faults,
    page_size: usize,
}

#[derive(Debug, Default)]
struct ObjectTable {
    by_path: BTreeMap<String, Object>,
    writes: u64,
}

impl MemoryBackend {
    /// An empty store that lists 1000 names per page.
    #[must_use]
    pub fn new() -> Self {
        Self { objects: Arc::default(), faults: Faults::default(), page_size: 1000 }
    }

    /// The same store with `names` names per page, at least 1.
    #[must_use]
    pub fn with_page_size(self, names: usize) -> Self {
        Self { page_size: names.max(1), ..self }
    }

    /// The handle to inject faults.
    #[must_use]
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// Runs one call with the next fault. `effect` is the call's effect on the objects.
    async fn call<T>(
        &self,
        effect: impl FnOnce(&mut ObjectTable) -> Result<T, BackendError>,
    ) -> Result<T, BackendError> {
        match self.faults.next_fault() {
            Fault::None => effect(&mut lock(&self.objects)),
            Fault::Transient => Err(BackendError::transient("injected: try again")),
            Fault::RetryAfter(wait) => {
                Err(BackendError::Transient { cause: "injected: try later".to_owned(), retry_after: Some(wait) })
            }
            Fault::Permanent => Err(BackendError::Permanent("injected: a retry cannot help".to_owned())),
            Fault::LoseResponse => {
                // The caller does not learn whether the call took effect.
                let _ = effect(&mut lock(&self.objects));
                Err(BackendError::transient("injected: the response was lost"))
            }
            Fault::Delay(delay) => {
                tokio::time::sleep(delay).await;
                effect(&mut lock(&self.objects))
            }
            Fault::Hang => std::future::pending().await,
        }
    }
}

impl Default for MemoryBackend {
    fn default() -> Self {
        Self::new()
    }
}

impl ObjectTable {
    fn put(&mut self, key: &Key, bytes: Bytes) -> ObjectVersion {
        self.writes += 1;
        let version = ObjectVersion(format_compact!("{}", self.writes));
        self.by_path.insert(key.path(), Object { bytes, version: version.clone() });
        version
    }

    /// The page of the folder's children after the name `after`.
    fn children(&self, folder: &Folder, after: Option<&str>, page_size: usize) -> ListPage {
        let path = folder.path();
        // A child is the next segment of a path: the name of a file or of a folder.
        let mut rest: BTreeSet<&str> = self
            .by_path
            .range(path.clone()..)
            .map_while(|(found, _)| found.strip_prefix(&path))
            .filter_map(|below| below.split('/').next())
            .filter(|name| after.is_none_or(|after| *name > after))
            .collect();
        let mut names = Vec::new();
        while names.len() < page_size
            && let Some(name) = rest.pop_first()
        {
            names.push(name.to_owned());
        }
        let next = if rest.is_empty() { None } else { names.last().cloned() };
        ListPage { names, next }
    }
}

#[async_trait]
impl Backend for MemoryBackend {
    async fn create(&self, key: &Key, bytes: Bytes) -> Result<ObjectVersion, BackendError> {
        self.call(|objects| match objects.by_path.get(&key.path()) {
            Some(_) => Err(BackendError::Precondition),
            None => Ok(objects.put(key, bytes)),
        })
        .await
    }

    async fn replace_if(
        &self,
        key: &Key,
        version: &ObjectVersion,
        bytes: Bytes,
    ) -> Result<ObjectVersion, BackendError> {
        self.call(|objects| match objects.by_path.get(&key.path()) {
            Some(present) if present.version == *version => Ok(objects.put(key, bytes)),
            _ => Err(BackendError::Precondition),
        })
        .await
    }

    async fn get(&self, key: &Key) -> Result<Option<Object>, BackendError> {
        self.call(|objects| Ok(objects.by_path.get(&key.path()).cloned())).await
    }

    async fn list(&self, folder: &Folder, page: Option<&str>) -> Result<ListPage, BackendError> {
        self.call(|objects| Ok(objects.children(folder, page, self.page_size))).await
    }

    async fn delete(&self, key: &Key) -> Result<(), BackendError> {
        self.call(|objects| {
            objects.by_path.remove(&key.path());
            Ok(())
        })
        .await
    }

    fn describe(&self) -> String {
        "memory".to_owned()
    }
}

/// Locks the mutex, even after another test thread has panicked: every change is one step, so the
/// data is consistent.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
