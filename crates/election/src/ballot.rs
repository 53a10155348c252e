//! Ballot file: written to a temporary file, synced, renamed over the old file, and the directory
//! synced.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::ballast::Ballast;
use crate::process::{Ballot, Peers};
use rollcall_core::{NodeAddr, Term, private_files};

/// Version of the ballot file. A file of version 1 has no version field. A later version adds the
/// field `version`, so that an older build refuses the file instead of misreading it. Every later
/// build must also read version 1.
const VERSION: u32 = 1;

const BALLOT_FILE: &str = "ballot.json";
const TEMP_FILE: &str = "ballot.json.new";

/// Whether `dir` contains a ballot file, valid or corrupt.
#[must_use]
pub fn has_ballot(dir: &Path) -> bool {
    dir.join(BALLOT_FILE).exists()
}

/// Ballot file of one node.
#[derive(Debug)]
pub(super) struct BallotFile {
    dir: PathBuf,
    peers: Peers,
    /// Space for the ballot on a full disk.
    ballast: Ballast,
    /// Lock on the directory. A write can outlast its node. The next process of the node cannot
    /// start until this lock is dropped, which happens after the write.
    _lock: Option<Arc<File>>,
}

/// Result of reading a ballot file.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum StoredBallot {
    /// A valid ballot.
    Ballot(Ballot),
    /// No file: the node is new, or it lost its disk.
    Missing,
    /// A corrupt file, with the reason.
    Corrupt(String),
}

/// Content of the file as JSON. The vote names the candidate by address, because node ids change
/// with `peers`.
#[derive(Debug, Serialize, Deserialize)]
struct BallotRecord {
    /// File version, see [`VERSION`]. Version 1 is not written.
    #[serde(default = "first_version", skip_serializing_if = "is_first_version")]
    version: u32,
    term: Term,
    voted_for: Option<NodeAddr>,
    /// First half of the SHA-256 over term and vote, in hexadecimal. It detects torn and edited
    /// files.
    checksum: String,
}

fn first_version() -> u32 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde requires this signature")]
fn is_first_version(version: &u32) -> bool {
    *version == first_version()
}

impl BallotRecord {
    fn new(term: Term, voted_for: Option<NodeAddr>) -> Self {
        let text = format!("{term} {}", voted_for.map_or_else(|| "-".to_owned(), |node| node.to_string()));
        let digest = Sha256::digest(text.as_bytes());
        let (half, _) = digest.split_first_chunk().expect("a SHA-256 has 32 bytes");
        Self { version: VERSION, term, voted_for, checksum: format!("{:032x}", u128::from_be_bytes(*half)) }
    }
}

/// Encodes `ballot` as the content of the ballot file. `peers` translates the node id to an
/// address.
///
/// # Panics
/// If the vote is for a node that is not among `peers`.
#[must_use]
pub fn encode_ballot(ballot: Ballot, peers: &Peers) -> Vec<u8> {
    let record = BallotRecord::new(ballot.term, ballot.voted_for.map(|node| peers.addr(node)));
    serde_json::to_vec(&record).expect("a number and two strings always are JSON")
}

/// Decodes the content of a ballot file.
///
/// # Errors
/// The reason why the content is not a valid ballot.
pub fn decode_ballot(bytes: &[u8], peers: &Peers) -> Result<Ballot, String> {
    let record: BallotRecord = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    if record.version != VERSION {
        return Err(format!("it has version {}, and this program reads version {VERSION}", record.version));
    }
    if BallotRecord::new(record.term, record.voted_for).checksum != record.checksum {
        return Err("its checksum is wrong".to_owned());
    }
    // If the candidate is no longer a member, the vote is read as one for this node. So no other
    // candidate can get a second vote in this term.
    let voted_for = record.voted_for.map(|node| peers.id(node).unwrap_or(peers.me()));
    Ok(Ballot { term: record.term, voted_for })
}

impl BallotFile {
    /// The ballot file in `dir`. The directory must exist. `lock` keeps other processes out of it.
    pub(super) fn new(dir: &Path, peers: Peers, lock: Option<Arc<File>>) -> Self {
        Self { dir: dir.to_owned(), peers, ballast: Ballast::new(dir), _lock: lock }
    }

    /// Reads the file and syncs it, so that the result survives a power failure. A process that was
    /// killed between the rename and the sync of the directory left an unsynced ballot. The node
    /// must not vote on it before it is synced.
    pub(super) fn load(&self) -> io::Result<StoredBallot> {
        let mut file = match File::open(self.dir.join(BALLOT_FILE)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(StoredBallot::Missing),
            Err(error) => return Err(error),
        };
        file.sync_all()?;
        File::open(&self.dir)?.sync_all()?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(decode_ballot(&bytes, &self.peers).map_or_else(StoredBallot::Corrupt, StoredBallot::Ballot))
    }

    /// Makes the ballast if it is missing.
    pub(super) fn make_ballast(&self) -> io::Result<()> {
        self.ballast.make()
    }

    /// Writes the file. When it returns `Ok`, the ballot survives a power failure. On a full disk
    /// it uses the space of the ballast.
    pub(super) fn save(&self, ballot: Ballot) -> io::Result<()> {
        let bytes = encode_ballot(ballot, &self.peers);
        self.ballast.make_room(|| self.write(&bytes))
    }

    fn write(&self, bytes: &[u8]) -> io::Result<()> {
        let new_file = self.dir.join(TEMP_FILE);
        let mut file = private_files::options().write(true).create(true).truncate(true).open(&new_file)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&new_file, self.dir.join(BALLOT_FILE))?;
        File::open(&self.dir)?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::NodeId;

    fn file(dir: &Path) -> BallotFile {
        let nodes = ["127.0.0.1:8080", "127.0.0.1:8081"].map(|text| text.parse().unwrap());
        BallotFile::new(dir, Peers::new(nodes.to_vec(), nodes[0]).unwrap(), None)
    }

    #[test]
    fn a_ballot_reads_back_as_it_was_saved() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(file(dir.path()).load().unwrap(), StoredBallot::Missing);
        for voted_for in [None, Some(NodeId(0)), Some(NodeId(1))] {
            let ballot = Ballot { term: Term(u64::MAX), voted_for };
            file(dir.path()).save(ballot).unwrap();
            assert_eq!(file(dir.path()).load().unwrap(), StoredBallot::Ballot(ballot));
        }
    }

    /// Every build must read these bytes. Otherwise a node loses its ballot when it is updated.
    const GOLDEN: [(Ballot, &str); 3] = [
        (
            Ballot { term: Term(0), voted_for: None },
            r#"{"term":0,"voted_for":null,"checksum":"bfaa85b0155be878d5042cd6ec4717a9"}"#,
        ),
        (
            Ballot { term: Term(7), voted_for: Some(NodeId(1)) },
            r#"{"term":7,"voted_for":"127.0.0.1:8081","checksum":"2795d9afe8b8145e19834edbe4a3d6d4"}"#,
        ),
        (
            Ballot { term: Term(u64::MAX), voted_for: Some(NodeId(0)) },
            r#"{"term":18446744073709551615,"voted_for":"127.0.0.1:8080","checksum":"367038147ff3fb92b92022da6505ac23"}"#,
        ),
    ];

    #[test]
    fn a_ballot_has_the_golden_bytes_and_is_read_from_them() {
        let dir = tempfile::tempdir().unwrap();
        let file = file(dir.path());
        for (ballot, bytes) in GOLDEN {
            let encoded = encode_ballot(ballot, &file.peers);
            assert_eq!(String::from_utf8_lossy(&encoded), bytes, "{ballot:?}");
            fs::write(dir.path().join(BALLOT_FILE), bytes).unwrap();
            assert_eq!(file.load().unwrap(), StoredBallot::Ballot(ballot));
        }
    }

    #[test]
    fn a_ballot_of_a_later_version_is_rejected() {
        let dir = tempfile::tempdir().unwrap();
        let (_, bytes) = GOLDEN[1];
        fs::write(dir.path().join(BALLOT_FILE), bytes.replace('{', r#"{"version":2,"#)).unwrap();
        let StoredBallot::Corrupt(why) = file(dir.path()).load().unwrap() else { panic!("the ballot was accepted") };
        assert!(why.contains("version 2") && why.contains("version 1"), "{why}");
    }

    #[test]
    fn torn_and_edited_ballot_files_are_corrupt() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(BALLOT_FILE);
        file(dir.path()).save(Ballot { term: Term(41), voted_for: Some(NodeId(1)) }).unwrap();
        let whole = fs::read(&path).unwrap();
        for length in 0..whole.len() {
            fs::write(&path, &whole[..length]).unwrap();
            assert!(matches!(file(dir.path()).load().unwrap(), StoredBallot::Corrupt(_)), "cut at {length}");
        }
        let edited = String::from_utf8(whole).unwrap().replace("41", "40");
        fs::write(&path, edited).unwrap();
        assert!(matches!(file(dir.path()).load().unwrap(), StoredBallot::Corrupt(_)));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_ballot_that_cannot_be_synced_is_an_error() {
        use std::os::fd::AsRawFd;

        let dir = tempfile::tempdir().unwrap();
        let ballots = file(dir.path());
        // A pipe can be read like a file but cannot be synced.
        let (reader, mut writer) = io::pipe().unwrap();
        std::os::unix::fs::symlink(format!("/proc/self/fd/{}", reader.as_raw_fd()), dir.path().join(BALLOT_FILE))
            .unwrap();
        writer.write_all(&encode_ballot(Ballot::default(), &ballots.peers)).unwrap();
        drop(writer);
        assert!(ballots.load().is_err());
    }

    #[test]
    fn a_vote_for_a_former_member_still_uses_the_vote_of_its_term() {
        let dir = tempfile::tempdir().unwrap();
        file(dir.path()).save(Ballot { term: Term(3), voted_for: Some(NodeId(1)) }).unwrap();
        let me: NodeAddr = "127.0.0.1:8080".parse().unwrap();
        let alone = BallotFile::new(dir.path(), Peers::new(vec![me], me).unwrap(), None);
        assert_eq!(alone.load().unwrap(), StoredBallot::Ballot(Ballot { term: Term(3), voted_for: Some(NodeId(0)) }));
    }

    #[test]
    fn a_failed_write_returns_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let gone = file(&dir.path().join("gone"));
        assert!(gone.save(Ballot::default()).is_err());
    }
}
