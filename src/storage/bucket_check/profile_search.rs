//! Search for profiles that cannot be read, and for fields of profiles that are not shown.

use futures_util::{StreamExt, stream};

use super::super::{Bucket, BucketError, Folder, Key};
use super::steps::Findings;
use rollcall_core::{Profile, Username};

/// Number of profiles read at the same time.
const MAX_CONCURRENT_READS: usize = 16;

/// Reads the profile of every user.
pub(super) async fn search_profiles(bucket: &Bucket) -> Result<Findings, BucketError> {
    let names = bucket.list(&Folder::Users).await?;
    let mut reads = stream::iter(names).map(|name| search_profile(bucket, name)).buffered(MAX_CONCURRENT_READS);
    let mut findings = Findings::default();
    while let Some(found) = reads.next().await.transpose()? {
        findings.unreadable.extend(found.unreadable);
        findings.ignored.extend(found.ignored);
    }
    Ok(findings)
}

async fn search_profile(bucket: &Bucket, name: String) -> Result<Findings, BucketError> {
    let unreadable = |finding: String| Ok(Findings { unreadable: vec![finding], ..Findings::default() });
    let Ok(username) = Username::parse(&name) else {
        return unreadable(format!("{}{name:?}: the name is no username", Folder::Users));
    };
    let key = Key::Profile(username.clone());
    match bucket.get(&key).await {
        Ok(None) => Ok(Findings::default()),
        Ok(Some(object)) => match Profile::decode_of(&username, &object.bytes) {
            Ok(profile) => {
                let ignored = profile.ignored_fields().into_iter().map(|field| format!("{key}: {field}"));
                Ok(Findings { ignored: ignored.collect(), ..Findings::default() })
            }
            Err(why) => unreadable(format!("{key}: {why}")),
        },
        Err(BucketError::Unreadable { cause, .. }) => unreadable(format!("{key}: {cause}")),
        Err(error) => Err(error),
    }
}
