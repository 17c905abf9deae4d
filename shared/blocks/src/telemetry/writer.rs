//! Writes log lines from a thread of its own: many lines a system call, none lost.

use std::io::Write;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

/// Bytes that may wait before the logging threads must wait, too.
const MOST_WAITING: usize = 8 << 20;
/// How long the thread lets lines gather: one system call for all of them, and no wake-up each.
const GATHER: Duration = Duration::from_millis(10);

#[derive(Debug, Default)]
struct State {
    waiting: Vec<u8>,
    asleep: bool,
    ends: bool,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    came: Condvar,
    went: Condvar,
}

/// The target of log lines.
#[derive(Debug, Clone)]
pub(super) struct Writer(Arc<Shared>);

/// Ends the thread and waits until it has written everything.
#[derive(Debug)]
pub(super) struct Guard {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    pub(super) fn start(sink: impl Write + Send + 'static) -> std::io::Result<(Self, Guard)> {
        let shared = Arc::new(Shared::default());
        let thread = std::thread::Builder::new()
            .name("log-writer".into())
            .spawn({
                let shared = shared.clone();
                move || run(&shared, sink)
            })?;
        let guard = Guard {
            shared: shared.clone(),
            thread: Some(thread),
        };
        Ok((Self(shared), guard))
    }

    /// Takes a line. Waits when the sink does not take the lines that wait already: a log with holes tells
    /// lies.
    pub(super) fn write(&self, line: &[u8]) {
        let mut state = self.0.state.lock();
        while state.waiting.len() > MOST_WAITING && !state.ends {
            self.0.went.wait(&mut state);
        }
        state.waiting.extend_from_slice(line);
        if state.asleep {
            state.asleep = false;
            self.0.came.notify_one();
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.shared.state.lock().ends = true;
        self.shared.came.notify_one();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            eprintln!("the log writer ended with a panic");
        }
    }
}

fn run(shared: &Shared, mut sink: impl Write) {
    let mut lines = Vec::new();
    let mut broken = false;
    loop {
        let ends = {
            let mut state = shared.state.lock();
            while state.waiting.is_empty() && !state.ends {
                state.asleep = true;
                shared.came.wait(&mut state);
            }
            state.ends
        };
        if !ends {
            std::thread::sleep(GATHER);
        }
        std::mem::swap(&mut lines, &mut shared.state.lock().waiting);
        shared.went.notify_all();
        let written = sink.write_all(&lines).and_then(|()| sink.flush());
        if let Err(error) = written
            && !std::mem::replace(&mut broken, true)
        {
            eprintln!("log lines can't be written: {error}");
        }
        lines.clear();
        // A burst must not keep its memory for ever.
        lines.shrink_to(1 << 16);
        let state = shared.state.lock();
        if ends && state.waiting.is_empty() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn every_line_is_written_once_and_in_order_before_the_end() {
        let sink = Sink::default();
        let (writer, guard) = Writer::start(sink.clone()).unwrap();
        let threads: Vec<_> = (0..4)
            .map(|thread| {
                let writer = writer.clone();
                std::thread::spawn(move || {
                    for line in 0..5000 {
                        writer.write(format!("{thread} {line}\n").as_bytes());
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        drop(guard);
        let text = String::from_utf8(sink.0.lock().clone()).unwrap();
        for thread in 0..4 {
            let start = format!("{thread} ");
            let lines: Vec<_> = text
                .lines()
                .filter_map(|line| line.strip_prefix(&start))
                .collect();
            assert!(
                lines
                    .iter()
                    .enumerate()
                    .all(|(at, line)| *line == at.to_string())
            );
            assert_eq!(lines.len(), 5000);
        }
    }
}
