//! The attacker's end of a socket: it writes what it likes and takes note of what comes back.

use std::cell::Cell;
use std::io::{BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use capnp::message::ReaderOptions;
use capnp_rpc::rpc_capnp::{exception, message, return_};

/// How long it waits for anything that must happen.
pub const PATIENCE: Duration = Duration::from_secs(60);

thread_local! {
    static SENT: Cell<Sent> = const { Cell::new(Sent { bytes: 0, connections: 0 }) };
}

/// What a thread's attackers sent, of which the victim read all or less.
#[derive(Debug, Default, Clone, Copy)]
pub struct Sent {
    pub bytes: usize,
    pub connections: usize,
}

impl Sent {
    /// By this thread since it was asked for the last time.
    pub fn take() -> Self {
        SENT.take()
    }

    fn add(bytes: usize, connections: usize) {
        let before = SENT.get();
        SENT.set(Self {
            bytes: before.bytes + bytes,
            connections: before.connections + connections,
        });
    }
}

/// What came back so far.
#[derive(Debug, Default, Clone)]
pub struct Seen {
    pub returned: Vec<u32>,
    /// Questions that the victim asked.
    pub asked: Vec<u32>,
    pub overloaded: usize,
    /// The text of the last exception of a call that was refused.
    pub refusal: String,
    pub abort: Option<String>,
    pub disembargoes: usize,
    pub over: bool,
}

pub struct Peer {
    stream: UnixStream,
    seen: Arc<(Mutex<Seen>, Condvar)>,
}

impl Peer {
    pub fn connect(path: &Path) -> Self {
        Self::of(UnixStream::connect(path).expect("the victim listens"))
    }

    pub fn of(stream: UnixStream) -> Self {
        stream.set_write_timeout(Some(PATIENCE)).expect("a socket");
        Sent::add(0, 1);
        Self {
            stream,
            seen: Arc::default(),
        }
    }

    /// From now on, what comes is read.
    pub fn reading(self) -> Self {
        let stream = self.stream.try_clone().expect("a socket");
        let seen = Arc::clone(&self.seen);
        std::thread::spawn(move || read(stream, &seen));
        self
    }

    /// Sends bytes. False: the victim does not want them any more.
    pub fn send(&self, bytes: &[u8]) -> bool {
        let mut left = bytes;
        while !left.is_empty() {
            match (&self.stream).write(left) {
                Ok(0) | Err(_) => return false,
                Ok(written) => {
                    Sent::add(written, 0);
                    left = &left[written..];
                }
            }
        }
        true
    }

    /// Sends as many as the victim takes.
    pub fn flood(&self, count: u32, make: impl Fn(u32) -> Vec<u8>) {
        let mut batch = Vec::new();
        for i in 0..count {
            batch.extend(make(i));
            if batch.len() > 32 << 10 || i + 1 == count {
                if !self.send(&batch) {
                    return;
                }
                batch.clear();
            }
        }
    }

    pub fn half_close(&self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    pub fn seen(&self) -> Seen {
        self.seen.0.lock().expect("a reader").clone()
    }

    /// Of what was asked, this need not be looked at any more.
    pub fn forget(&self, asked: usize) {
        self.seen.0.lock().expect("a reader").asked.remove(asked);
    }

    /// Waits until this holds of what came; false if it never does.
    pub fn wait(&self, until: impl Fn(&Seen) -> bool) -> bool {
        let began = Instant::now();
        let mut seen = self.seen.0.lock().expect("a reader");
        while !until(&seen) {
            let Some(left) = PATIENCE.checked_sub(began.elapsed()) else {
                return false;
            };
            seen = self.seen.1.wait_timeout(seen, left).expect("a reader").0;
            if seen.over && !until(&seen) {
                return false;
            }
        }
        true
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

fn read(stream: UnixStream, seen: &(Mutex<Seen>, Condvar)) {
    let mut reader = BufReader::new(stream);
    while let Ok(message) = capnp::serialize::read_message(&mut reader, ReaderOptions::new()) {
        let mut seen_now = seen.0.lock().expect("an attacker");
        let Ok(root) = message.get_root::<message::Reader<'_>>() else {
            continue;
        };
        note(root, &mut seen_now);
        seen.1.notify_all();
    }
    // What is no message is not waited for.
    let _ = reader.read_to_end(&mut Vec::new());
    seen.0.lock().expect("an attacker").over = true;
    seen.1.notify_all();
}

fn note(root: message::Reader<'_>, seen: &mut Seen) {
    let text = |exception: exception::Reader<'_>| {
        let reason = exception.get_reason().expect("a reason");
        reason.to_string().expect("text")
    };
    match root.which() {
        Ok(message::Return(Ok(it))) => {
            seen.returned.push(it.get_answer_id());
            if let Ok(return_::Exception(Ok(exception))) = it.which()
                && exception.get_type() == Ok(exception::Type::Overloaded)
            {
                seen.overloaded += 1;
                seen.refusal = text(exception);
            }
        }
        Ok(message::Bootstrap(Ok(it))) => seen.asked.push(it.get_question_id()),
        Ok(message::Call(Ok(it))) => seen.asked.push(it.get_question_id()),
        Ok(message::Abort(Ok(exception))) => seen.abort = Some(text(exception)),
        Ok(message::Disembargo(_)) => seen.disembargoes += 1,
        _ => {}
    }
}
