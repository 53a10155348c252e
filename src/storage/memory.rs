//! Store in memory for tests. It fulfils the contract of [`Backend`], and tests can inject faults.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use compact_str::format_compact;

use super::{Backend, BackendError, Folder, Key, ListPage, ListedChild, Object, ObjectVersion};

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
    /// The call fails before it takes effect, because there is no space.
    Full,
    /// The call takes effect, but returns a transient error.
    LoseResponse,
    /// The call takes effect after this delay.
    Delay(Duration),
    /// The call takes no effect and never returns.
    Hang,
    /// A write takes effect without regard to its precondition, as in a store that ignores
    /// preconditions.
    Overwrite,
    /// A write takes effect with one changed byte, and a read gets the bytes as they are.
    Damage,
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
    /// Fault of the write that is running.
    write_fault: Option<Fault>,
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

    /// The paths of all objects in ascending byte order.
    #[must_use]
    pub fn paths(&self) -> Vec<String> {
        lock(&self.objects).by_path.keys().cloned().collect()
    }

    /// Writes an object at a path that need not belong to a [`Key`], as another program could do.
    pub fn put_at(&self, path: &str, bytes: impl Into<Bytes>) {
        lock(&self.objects).put(path.to_owned(), bytes.into());
    }

    /// Runs one call with the next fault. `effect` is the call's effect on the objects.
    async fn call<T>(
        &self,
        effect: impl FnOnce(&mut ObjectTable) -> Result<T, BackendError>,
    ) -> Result<T, BackendError> {
        let fault = self.faults.next_fault();
        match fault {
            Fault::None => effect(&mut lock(&self.objects)),
            Fault::Overwrite | Fault::Damage => {
                let mut objects = lock(&self.objects);
                objects.write_fault = Some(fault);
                let result = effect(&mut objects);
                objects.write_fault = None;
                result
            }
            Fault::Transient => Err(BackendError::transient("injected: try again")),
            Fault::RetryAfter(wait) => {
                Err(BackendError::Transient { cause: "injected: try later".to_owned(), retry_after: Some(wait) })
            }
            Fault::Permanent => Err(BackendError::Permanent("injected: a retry cannot help".to_owned())),
            Fault::Full => Err(BackendError::Full("injected: there is no space; free some".to_owned())),
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
    /// Writes an object if `precondition` holds for the present one.
    fn put_if(
        &mut self,
        key: &Key,
        bytes: Bytes,
        precondition: impl FnOnce(Option<&Object>) -> bool,
    ) -> Result<ObjectVersion, BackendError> {
        let ignores_preconditions = self.write_fault == Some(Fault::Overwrite);
        if !precondition(self.by_path.get(&key.path())) && !ignores_preconditions {
            return Err(BackendError::Precondition);
        }
        let bytes = if self.write_fault == Some(Fault::Damage) { damaged(&bytes) } else { bytes };
        Ok(self.put(key.path(), bytes))
    }

    fn put(&mut self, path: String, bytes: Bytes) -> ObjectVersion {
        self.writes += 1;
        let version = ObjectVersion(format_compact!("{}", self.writes));
        self.by_path.insert(path, Object { bytes, version: version.clone() });
        version
    }

    /// The page of the folder's children after the name `after`.
    fn children(&self, folder: &Folder, after: Option<&str>, page_size: usize) -> ListPage {
        let path = folder.path();
        // A child is the next segment of a path: the name of a file or of a folder.
        let child = |below: &str, object: &Object| {
            let name = below.split('/').next().unwrap_or(below);
            let bytes = if name == below { object.bytes.len() as u64 } else { 0 };
            ListedChild { name: name.to_owned(), bytes }
        };
        let mut rest: BTreeSet<ListedChild> = self
            .by_path
            .range(path.clone()..)
            .map_while(|(found, object)| Some((found.strip_prefix(&path)?, object)))
            .map(|(below, object)| child(below, object))
            .filter(|child| after.is_none_or(|after| child.name.as_str() > after))
            .collect();
        let mut children = Vec::new();
        while children.len() < page_size
            && let Some(child) = rest.pop_first()
        {
            children.push(child);
        }
        let next = if rest.is_empty() { None } else { children.last().map(|last| last.name.clone()) };
        ListPage { children, next }
    }
}

#[async_trait]
impl Backend for MemoryBackend {
    async fn create(&self, key: &Key, bytes: Bytes) -> Result<ObjectVersion, BackendError> {
        self.call(|objects| objects.put_if(key, bytes, |present| present.is_none())).await
    }

    async fn replace_if(
        &self,
        key: &Key,
        version: &ObjectVersion,
        bytes: Bytes,
    ) -> Result<ObjectVersion, BackendError> {
        let is_current = |present: Option<&Object>| present.is_some_and(|present| present.version == *version);
        self.call(|objects| objects.put_if(key, bytes, is_current)).await
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

/// The bytes with another last byte, or one byte if there are none.
fn damaged(bytes: &Bytes) -> Bytes {
    let mut damaged = bytes.to_vec();
    let last = damaged.pop().unwrap_or(0);
    damaged.push(!last);
    damaged.into()
}

/// Locks the mutex, even after another test thread has panicked: every change is one step, so the
/// data is consistent.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
