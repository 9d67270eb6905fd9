//! Keys in a terminal, as LeRobot's users know them.

use std::io::{IsTerminal, Read};
use std::os::fd::AsFd;
use std::sync::Mutex;
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr};

use super::desk::Command;

/// How long after an Esc the rest of an arrow key may come.
const SEQUENCE: Duration = Duration::from_millis(60);

/// The terminal without line mode, as it was again when dropped.
pub(super) struct Keyboard {
    before: Termios,
    keys: Mutex<Receiver<u8>>,
}

impl Keyboard {
    /// Keys of the terminal that standard input is; nothing when it is none, or not wanted.
    pub fn open(wanted: bool) -> Option<Self> {
        let input = std::io::stdin();
        // A terminal stops who changes it from the background, as `recorder_node &` would be.
        if !wanted || !input.is_terminal() || is_in_background() {
            return None;
        }
        let before = tcgetattr(input.as_fd()).ok()?;
        let mut raw = before.clone();
        raw.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO);
        raw.special_codes[SpecialCodeIndex::VMIN] = 1;
        raw.special_codes[SpecialCodeIndex::VTIME] = 0;
        tcsetattr(input.as_fd(), OptionalActions::Now, &raw).ok()?;
        let (sender, keys) = mpsc::channel();
        // Ends with the process: a read of a terminal cannot be interrupted.
        std::thread::spawn(move || {
            for byte in std::io::stdin().lock().bytes() {
                if byte.is_ok_and(|byte| sender.send(byte).is_ok()) {
                    continue;
                }
                return;
            }
        });
        Some(Self { before, keys: Mutex::new(keys) })
    }

    /// What the keys pressed since the last call ask for.
    pub fn pressed(&self) -> Vec<Command> {
        let Ok(keys) = self.keys.lock() else { return Vec::new() };
        let mut asked = Vec::new();
        while let Ok(byte) = keys.try_recv() {
            asked.extend(command(byte, || keys.recv_timeout(SEQUENCE).ok()));
        }
        asked
    }
}

impl Drop for Keyboard {
    fn drop(&mut self) {
        // A terminal that is gone needs no restoring.
        let _ = tcsetattr(std::io::stdin().as_fd(), OptionalActions::Now, &self.before);
    }
}

/// Whether another process group has the terminal.
fn is_in_background() -> bool {
    std::fs::read_to_string("/proc/self/stat").is_ok_and(|stat| is_background(&stat))
}

/// By `/proc/<pid>/stat`: behind the name in brackets state, parent, group, session, terminal and the terminal's foreground group,
/// which is -1 without a controlling terminal.
fn is_background(stat: &str) -> bool {
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    let number =
        |index: usize| fields.split_whitespace().nth(index).and_then(|field| field.parse::<i64>().ok());
    match (number(2), number(5)) {
        (Some(group), Some(foreground)) => foreground > 0 && foreground != group,
        _ => false,
    }
}

/// What a key asks for; `more` gives the bytes that follow it.
fn command(byte: u8, mut more: impl FnMut() -> Option<u8>) -> Option<Command> {
    match byte {
        b' ' => Some(Command::Pause),
        0x1b => match more() {
            None => Some(Command::Finish),
            Some(b'[' | b'O') => match more() {
                Some(b'C') => Some(Command::Next),
                Some(b'D') => Some(Command::Again),
                _ => None,
            },
            Some(_) => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_the_terminal_is_read_from_proc() {
        assert!(!is_background("812 (recorder (x) n) S 1 812 700 34816 812 4194304"));
        assert!(is_background("812 (recorder_node) S 1 812 700 34816 700 4194304"));
        assert!(!is_background("812 (recorder_node) S 1 812 700 0 -1 4194304"));
        assert!(!is_background(""));
    }

    #[test]
    fn arrows_and_escape_are_told_apart() {
        let cases: [(&[u8], Option<Command>); 7] = [
            (b"\x1b[C", Some(Command::Next)),
            (b"\x1bOC", Some(Command::Next)),
            (b"\x1b[D", Some(Command::Again)),
            (b"\x1b", Some(Command::Finish)),
            (b" ", Some(Command::Pause)),
            (b"\x1b[A", None),
            (b"q", None),
        ];
        for (bytes, expected) in cases {
            let mut rest = bytes[1..].iter().copied();
            assert_eq!(command(bytes[0], || rest.next()), expected, "{bytes:?}");
        }
    }
}
