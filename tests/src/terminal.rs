//! A terminal for a program. It keeps the screen as a user would see it.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::num::NonZero;
use std::os::unix::fs::OpenOptionsExt as _;
use std::process::{Command, ExitStatus};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::OFlags;
use rustix::process::Signal;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use vt100::{Parser, Screen};

use crate::process_fixture::Process;

/// How long a program may draw nothing. A longer pause means that something is wrong.
const TEST_TIMEOUT: Duration = Duration::from_secs(60);

/// The number of lines of scrollback.
const SCROLLBACK: usize = 1000;

/// A terminal of a given size with a program.
pub struct Terminal {
    master: File,
    program: Process,
    parser: Parser,
    written: Vec<u8>,
}

impl Terminal {
    /// Starts a program on a terminal that supports colours.
    pub fn start(mut command: Command, columns: u16, rows: u16) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        tcsetwinsize(&master, Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
        let path = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
        let flags = i32::try_from(OFlags::NOCTTY.bits()).unwrap();
        let program = OpenOptions::new().read(true).write(true).custom_flags(flags).open(path).unwrap();
        command.stdin(program.try_clone().unwrap()).stdout(program.try_clone().unwrap()).stderr(program);
        let program = Process(command.spawn().unwrap());
        // The command keeps the program's side open, so the end of the program would not be detected.
        drop(command);
        let [rows, columns] = [rows, columns].map(|size| NonZero::new(size).unwrap());
        let parser = Parser::new(rows, columns, SCROLLBACK);
        Self { master: master.into(), program, parser, written: Vec::new() }
    }

    /// Waits until `watch` accepts the screen. It is called after each drawing.
    pub fn wait_for_screen(&mut self, what: &str, mut watch: impl FnMut(&Screen) -> bool) {
        while !watch(self.parser.screen()) {
            assert!(self.read(), "{what} was not drawn before the program ended: {}", self.parser.screen().contents());
        }
    }

    /// Types text. The terminal echoes it, and a program that reads its input gets each line. `^C` sends no signal.
    pub fn echo(&mut self, typed: &[u8]) {
        self.master.write_all(typed).unwrap();
    }

    /// Sends the program a signal.
    pub fn signal(&self, signal: Signal) {
        self.program.signal(signal);
    }

    /// Waits until the program has ended, and calls `watch` after each drawing. Returns the exit status.
    pub fn end(&mut self, mut watch: impl FnMut(&Screen)) -> ExitStatus {
        watch(self.parser.screen());
        while self.read() {
            watch(self.parser.screen());
        }
        self.program.0.wait().unwrap()
    }

    /// The current screen.
    pub fn screen(&self) -> &Screen {
        self.parser.screen()
    }

    /// The screen and the scrollback, with lines joined that the terminal wrapped.
    pub fn transcript(&mut self) -> String {
        let screen = self.parser.screen_mut();
        screen.set_scrollback(SCROLLBACK);
        let columns = screen.size().1.get();
        let mut transcript = String::new();
        for row in (1..=screen.scrollback()).rev() {
            screen.set_scrollback(row);
            transcript.extend(screen.rows(0, columns).next());
            transcript.push_str(if screen.row_wrapped(0) { "" } else { "\n" });
        }
        screen.set_scrollback(0);
        transcript + &screen.contents()
    }

    /// Everything that the program wrote, including control sequences.
    pub fn written(&self) -> String {
        String::from_utf8(self.written.clone()).unwrap()
    }

    /// Reads some output of the program. False if the program has ended.
    fn read(&mut self) -> bool {
        let ready =
            poll(&mut [PollFd::new(&self.master, PollFlags::IN)], Some(&TEST_TIMEOUT.try_into().unwrap())).unwrap();
        assert!(ready > 0, "nothing is drawn any more: {}", self.parser.screen().contents());
        let mut buffer = [0; 4096];
        // Linux reports the end of the last process on a terminal as an error.
        let Ok(count @ 1..) = self.master.read(&mut buffer) else { return false };
        self.parser.process(&buffer[..count]);
        self.written.extend_from_slice(&buffer[..count]);
        true
    }
}
