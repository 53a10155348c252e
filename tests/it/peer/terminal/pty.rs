//! Peer process on a pseudo-terminal. The test presses keys and reads the screen.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{Action, OptionalActions, Termios, Winsize, tcflow, tcgetattr, tcsetattr, tcsetwinsize};

use super::super::peer_process::LOOPBACK;
use super::screen::Screen;
use crate::cluster::{rollcall, until};

const COLUMNS: u16 = 80;
const ROWS: u16 = 24;

/// Peer process with a terminal as input, output and error output. Dropping it ends the process.
pub(crate) struct TerminalUser {
    child: Child,
    keyboard: File,
    /// Program side of the terminal, until the peer has ended.
    terminal: Option<OwnedFd>,
    /// Modes before the peer started.
    before: Termios,
    output: Arc<Mutex<Vec<u8>>>,
    reader: Option<JoinHandle<()>>,
}

impl TerminalUser {
    /// Starts a peer with these flags and waits for its prompt.
    pub(crate) async fn start(dir: &Path, name: &str, flags: &[&str]) -> Self {
        let user = Self::start_on("xterm", dir, name, flags);
        user.wait_for_screen("the prompt", |screen| screen.typed().0 == "> " && screen.has("listening at")).await;
        user
    }

    /// Starts a peer on a terminal of this kind.
    pub(crate) fn start_on(kind: &str, dir: &Path, name: &str, flags: &[&str]) -> Self {
        let controller = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("a terminal");
        grantpt(&controller).and_then(|()| unlockpt(&controller)).expect("an unlocked terminal");
        let open_flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let terminal = ioctl_tiocgptpeer(&controller, open_flags).expect("its other end");
        let size = Winsize { ws_row: ROWS, ws_col: COLUMNS, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&terminal, size).expect("a size");
        let before = tcgetattr(&terminal).expect("modes");
        let stdio = || Stdio::from(terminal.try_clone().expect("a descriptor"));
        let mut command = rollcall(dir);
        for variable in rollcall::config::chat::env_vars() {
            command.env_remove(variable);
        }
        command.args(["peer", "--name", name]).args(flags).env("TERM", kind);
        // The same settings as in `PeerProcess`.
        command
            .env("P2P_LAN_ADDRESSES", LOOPBACK)
            .env("P2P_HEARTBEAT_INTERVAL", "1s")
            .env("P2P_HEARTBEAT_TIMEOUT", "2s");
        command.stdin(stdio()).stdout(stdio()).stderr(stdio()).process_group(0);
        let child = command.spawn().expect("the program was built");
        let keyboard = File::from(controller);
        let mut program_output = keyboard.try_clone().expect("a descriptor");
        let output: Arc<Mutex<Vec<u8>>> = Arc::default();
        let all = Arc::clone(&output);
        let reader = thread::spawn(move || {
            let mut bytes = [0; 4096];
            // The read fails when the other end is closed.
            while let Ok(count) = program_output.read(&mut bytes) {
                all.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&bytes[..count]);
            }
        });
        Self { child, keyboard, terminal: Some(terminal), before, output, reader: Some(reader) }
    }

    pub(crate) fn press_keys(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).expect("it reads");
    }

    /// All bytes that were written to the terminal.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.output.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn screen(&self) -> Screen {
        Screen::showing(COLUMNS.into(), ROWS.into(), &self.bytes())
    }

    pub(crate) async fn wait_for_screen(&self, what: &str, is_shown: impl Fn(&Screen) -> bool) {
        until(what, async || is_shown(&self.screen())).await;
    }

    /// Waits until the input line has this text, with the cursor at its end.
    pub(crate) async fn wait_for_line(&self, line: &str) {
        self.wait_for_screen(&format!("the line {line:?}"), |screen| {
            screen.typed() == (line.to_owned(), String::new())
        })
        .await;
    }

    /// Address at which the peer listens for the mesh.
    pub(crate) fn mesh_addr(&self) -> String {
        let lines = self.screen().lines();
        let line = lines.iter().find_map(|line| line.split("listening at ").nth(1)).expect("the ready line");
        line.split(',').next().expect("an address").to_owned()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).expect("it runs");
    }

    /// Changes the modes as a shell does when its child stops.
    pub(crate) fn set_shell_modes(&self) {
        tcsetattr(self.terminal(), OptionalActions::Now, &self.before).expect("it is a terminal");
    }

    /// Whether the terminal has the modes that it had before the peer started.
    pub(crate) fn has_modes_from_before(&self) -> bool {
        let modes =
            |termios: &Termios| (termios.input_modes, termios.output_modes, termios.control_modes, termios.local_modes);
        modes(&tcgetattr(self.terminal()).expect("it is a terminal")) == modes(&self.before)
    }

    fn terminal(&self) -> &OwnedFd {
        self.terminal.as_ref().expect("it has not ended")
    }

    /// Stops the output, as Ctrl-S does. From then on, a write to the terminal blocks.
    pub(crate) fn stop_output(&self) {
        tcflow(self.terminal(), Action::OOff).expect("it is a terminal");
    }

    /// Waits for the end of the process, without a check of the terminal.
    pub(crate) async fn wait_for_any_exit(&mut self) -> ExitStatus {
        let mut status = None;
        until("the end of a peer", async || {
            status = self.child.try_wait().expect("it is our child");
            status.is_some()
        })
        .await;
        status.expect("waited for")
    }

    /// Waits for the end of the process and of its output, and checks that the terminal has its
    /// original modes.
    pub(crate) async fn wait_for_exit(&mut self) -> ExitStatus {
        let status = self.wait_for_any_exit().await;
        assert!(self.has_modes_from_before(), "the terminal's modes: {:?}", tcgetattr(self.terminal()));
        drop(self.terminal.take());
        if let Some(reader) = self.reader.take() {
            reader.join().expect("it reads until the terminal is closed");
        }
        let bytes = self.bytes();
        let mut switches = bytes.windows(8).filter(|bytes| bytes.starts_with(b"\x1b[?2004"));
        assert_ne!(switches.next_back().map(|switch| switch[7]), Some(b'h'), "bracketed paste is still on");
        status
    }
}

impl Drop for TerminalUser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("--- bytes written to the terminal:\n{}", String::from_utf8_lossy(&self.bytes()).escape_debug());
        }
    }
}
