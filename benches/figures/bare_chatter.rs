//! What a chat costs without a peer: a program on the same runtime and as many connections that writes as many bytes for
//! each message, and looks at nothing but the text. How much of a delay is the system's can be seen by it alone.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;
use tokio_util::task::TaskTracker;

use crate::chatter::{AFTERTIME, Ear, Heard, Report, SILENCE, Wish, beats, now, print, text, wishes};

/// The first argument of a process of this program that is to be such a program.
pub(crate) const COMMAND: &str = "bare-chatter";

/// What a peer writes beside the text: the names of the fields, the sender, the number, the time and the name.
const BESIDE_TEXT: usize = 145;

/// How much is read at once, as a peer does.
const READ_BYTES: usize = 16 * 1024;

/// Between two looks at whether all was heard.
const LOOK: Duration = Duration::from_millis(50);

type Ends = Arc<Mutex<Vec<OwnedWriteHalf>>>;

/// Is such a program until the standard input ends. `others` are those that it dials, separated by commas.
pub(crate) fn run(name: &str, others: &str) -> anyhow::Result<()> {
    let name = name.to_owned();
    let others: Vec<String> = others.split(',').filter(|addr| !addr.is_empty()).map(str::to_owned).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let ended = runtime.spawn(async move {
        let (ends, ear) = (Ends::default(), Arc::new(Mutex::new(Ear::default())));
        let tasks = TaskTracker::new();
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        print(&Report::Listens(listener.local_addr()?.to_string()))?;
        for addr in others {
            link(TcpStream::connect(addr).await?, &tasks, &ends, &ear)?;
        }
        let (accepted_ends, accepted_ear) = (Arc::clone(&ends), Arc::clone(&ear));
        let accepting = tasks.clone();
        tasks.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                if link(stream, &accepting, &accepted_ends, &accepted_ear).is_err() {
                    return;
                }
            }
        });
        let mut wishes = wishes();
        while let Some(wish) = wishes.recv().await {
            let report = match wish {
                Wish::Links => Report::Links(locked(&ends).len()),
                Wish::Talk { say, a_second, after_us, bytes, hear } => {
                    let between = Duration::from_secs(1) / u32::try_from(a_second)?;
                    let mut beats = beats(Duration::from_micros(after_us), between);
                    let mut ends = std::mem::take(&mut *locked(&ends));
                    let filling = ".".repeat(bytes);
                    let talk = async {
                        for number in 0..say {
                            beats.recv().await.context("the beats have ended")?;
                            let mut line = text(&name, number, bytes, &filling).into_bytes();
                            line.resize(bytes + BESIDE_TEXT - 1, b'.');
                            line.push(b'\n');
                            for end in &mut ends {
                                end.write_all(&line).await?;
                            }
                        }
                        anyhow::Ok(())
                    };
                    let (talked, heard) = tokio::join!(talk, all_heard(&ear, hear));
                    talked?;
                    Report::Heard(heard)
                }
            };
            print(&report)?;
        }
        anyhow::Ok(())
    });
    runtime.block_on(ended)?
}

fn link(stream: TcpStream, tasks: &TaskTracker, ends: &Ends, ear: &Arc<Mutex<Ear>>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (reader, writer) = stream.into_split();
    locked(ends).push(writer);
    tasks.spawn(listen(reader, Arc::clone(ear)));
    Ok(())
}

async fn listen(mut reader: OwnedReadHalf, ear: Arc<Mutex<Ear>>) {
    let mut read = Vec::with_capacity(2 * READ_BYTES);
    while reader.read_buf(&mut read).await.is_ok_and(|length| length > 0) {
        let heard_at = now();
        let whole = read.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        for line in read[..whole].split(|byte| *byte == b'\n') {
            locked(&ear).hears(&String::from_utf8_lossy(line), heard_at);
        }
        read.drain(..whole);
    }
}

/// Waits until so much was heard, or nothing more comes.
async fn all_heard(ear: &Mutex<Ear>, hear: u64) -> Heard {
    let (mut before, mut silent) = (0, Duration::ZERO);
    while locked(ear).heard.messages < hear && silent < SILENCE {
        sleep(LOOK).await;
        let heard = locked(ear).heard.messages;
        silent = if heard == before { silent + LOOK } else { Duration::ZERO };
        before = heard;
    }
    sleep(AFTERTIME).await;
    std::mem::take(&mut locked(ear).heard)
}

fn locked<T>(what: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    what.lock().unwrap_or_else(PoisonError::into_inner)
}
