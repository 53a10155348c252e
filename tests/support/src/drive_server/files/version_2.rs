//! Version 2 of the API: etags of files, and writes that need one.

use bytes::Bytes;
use http::Response;
use serde_json::{Value, json};

use super::super::IfMatch;
use super::super::answer::DriveError;
use super::super::query::Parameters;
use super::{Files, selected};

pub(in super::super) fn get(files: &Files, parameters: &Parameters, id: &str) -> Result<Response<Bytes>, DriveError> {
    let metadata = metadata(files, parameters, id)?;
    Ok(selected(&metadata, parameters, "kind,id,title,etag"))
}

pub(in super::super) fn update(
    files: &mut Files,
    parameters: &Parameters,
    id: &str,
    etag: &str,
    bytes: &Bytes,
) -> Result<Response<Bytes>, DriveError> {
    if parameters.get("uploadType") != "media" {
        return Err(DriveError::invalid("uploadType must be media"));
    }
    let is_current = metadata(files, parameters, id)?["etag"] == etag;
    let is_accepted = match files.if_match {
        IfMatch::Honoured => is_current,
        IfMatch::Ignored => true,
        IfMatch::Refused | IfMatch::NotFound => false,
    };
    if !is_accepted {
        return Err(DriveError::new(412, "conditionNotMet", "Precondition Failed"));
    }
    files.write(id, Some(bytes.clone()))?;
    get(files, parameters, id)
}

fn metadata(files: &Files, parameters: &Parameters, id: &str) -> Result<Value, DriveError> {
    let file = files.by_id.get(id).filter(|_| parameters.is_true("supportsAllDrives"));
    let file = file.ok_or_else(|| DriveError::file_not_found(id))?;
    let version_3 = file.metadata(id);
    Ok(json!({
        "kind": "drive#file", "id": id, "title": file.name, "etag": format!("\"{}\"", file.version),
        "headRevisionId": version_3["headRevisionId"], "md5Checksum": version_3["md5Checksum"],
    }))
}
