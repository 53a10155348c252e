//! Baseline for the chat: a program without any chat protocol. It uses the same runtime and as many
//! connections, and writes as many bytes per message. It parses only the text. So its delays are
//! the cost of the runtime and of the operating system.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;
use tokio_util::task::TaskTracker;

use crate::chat_peer::{
    ChatCommand, ChatReport, DUPLICATE_WAIT, Deliveries, DeliveryLog, SILENCE_TIMEOUT, commands, message_text, now,
    print, ticks,
};

/// First argument of a process that runs this program.
pub(crate) const COMMAND: &str = "bare-chatter";

/// Bytes of a chat message in addition to its text: field names, sender, sequence number, time and
/// nickname.
const OVERHEAD_BYTES: usize = 145;

/// Size of the read buffer, in bytes, as in a peer.
const READ_BUFFER_BYTES: usize = 16 * 1024;

/// Pause between two checks whether all messages were received.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

type Writers = Arc<Mutex<Vec<OwnedWriteHalf>>>;

/// Runs this program until standard input ends. `others` are the addresses that it dials, separated
/// by commas.
pub(crate) fn run(name: &str, others: &str) -> anyhow::Result<()> {
    let name = name.to_owned();
    let others: Vec<String> = others.split(',').filter(|addr| !addr.is_empty()).map(str::to_owned).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let ended = runtime.spawn(async move {
        let (writers, log) = (Writers::default(), Arc::new(Mutex::new(DeliveryLog::default())));
        let tasks = TaskTracker::new();
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        print(&ChatReport::Listening(listener.local_addr()?.to_string()))?;
        for addr in others {
            add_link(TcpStream::connect(addr).await?, &tasks, &writers, &log)?;
        }
        let (accepted_writers, accepted_log) = (Arc::clone(&writers), Arc::clone(&log));
        let accepting = tasks.clone();
        tasks.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                if add_link(stream, &accepting, &accepted_writers, &accepted_log).is_err() {
                    return;
                }
            }
        });
        let mut commands = commands();
        while let Some(command) = commands.recv().await {
            let report = match command {
                ChatCommand::Links => ChatReport::Links(lock(&writers).len()),
                ChatCommand::Send { messages, per_second, start_after_us, bytes, expected } => {
                    let between = Duration::from_secs(1) / u32::try_from(per_second)?;
                    let mut ticks = ticks(Duration::from_micros(start_after_us), between);
                    let mut writers = std::mem::take(&mut *lock(&writers));
                    let padding = ".".repeat(bytes);
                    let send_messages = async {
                        for number in 0..messages {
                            ticks.recv().await.context("the ticks have ended")?;
                            let mut line = message_text(&name, number, bytes, &padding).into_bytes();
                            line.resize(bytes + OVERHEAD_BYTES - 1, b'.');
                            line.push(b'\n');
                            for writer in &mut writers {
                                writer.write_all(&line).await?;
                            }
                        }
                        anyhow::Ok(())
                    };
                    let (sent, deliveries) = tokio::join!(send_messages, wait_for_deliveries(&log, expected));
                    sent?;
                    ChatReport::Deliveries(deliveries)
                }
            };
            print(&report)?;
        }
        anyhow::Ok(())
    });
    runtime.block_on(ended)?
}

fn add_link(
    stream: TcpStream,
    tasks: &TaskTracker,
    writers: &Writers,
    log: &Arc<Mutex<DeliveryLog>>,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (reader, writer) = stream.into_split();
    lock(writers).push(writer);
    tasks.spawn(read_messages(reader, Arc::clone(log)));
    Ok(())
}

async fn read_messages(mut reader: OwnedReadHalf, log: Arc<Mutex<DeliveryLog>>) {
    let mut read = Vec::with_capacity(2 * READ_BUFFER_BYTES);
    while reader.read_buf(&mut read).await.is_ok_and(|length| length > 0) {
        let received_at = now();
        let whole = read.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        for line in read[..whole].split(|byte| *byte == b'\n') {
            lock(&log).record(&String::from_utf8_lossy(line), received_at);
        }
        read.drain(..whole);
    }
}

/// Waits until `expected` messages were received, or until none arrives for [`SILENCE_TIMEOUT`].
async fn wait_for_deliveries(log: &Mutex<DeliveryLog>, expected: u64) -> Deliveries {
    let (mut before, mut silent) = (0, Duration::ZERO);
    while lock(log).deliveries.messages < expected && silent < SILENCE_TIMEOUT {
        sleep(POLL_INTERVAL).await;
        let deliveries = lock(log).deliveries.messages;
        silent = if deliveries == before { silent + POLL_INTERVAL } else { Duration::ZERO };
        before = deliveries;
    }
    sleep(DUPLICATE_WAIT).await;
    std::mem::take(&mut lock(log).deliveries)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
