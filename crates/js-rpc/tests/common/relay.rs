//! A relay between a caller and a callee that keeps what passes, can be cut, and finds replies.

use std::cell::RefCell;
use std::rc::Rc;

use capnp::message::ReaderOptions;
use capnp_rpc::rpc_capnp::message;
use js_rpc::Address;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream, unix};

/// `JsRpcTarget`.
const TARGET: u64 = 0xa1a9_6525_142a_9d98;
/// `CallTarget`.
pub const ONE_MESSAGE: u64 = 0xea6e_fdc3_bf78_d135;

type Bytes = Rc<RefCell<Vec<u8>>>;

/// Passes bytes on and keeps a copy of them.
pub struct Relay {
    pub address: Address,
    pub there: Bytes,
    pub back: Bytes,
    tasks: Rc<RefCell<Vec<tokio::task::JoinHandle<()>>>>,
}

impl Relay {
    pub async fn to(callee: &Address, dir: &tempfile::TempDir) -> Self {
        let Address::Unix(callee) = callee.clone() else {
            panic!("relays are for unix sockets")
        };
        let path = dir.path().join("relay");
        let listener = UnixListener::bind(&path).unwrap();
        let relay = Self {
            address: Address::Unix(path),
            there: Bytes::default(),
            back: Bytes::default(),
            tasks: Rc::default(),
        };
        let (there, back) = (Rc::clone(&relay.there), Rc::clone(&relay.back));
        let tasks = Rc::clone(&relay.tasks);
        tokio::task::spawn_local(async move {
            while let Ok((near, _)) = listener.accept().await {
                let far = UnixStream::connect(&callee).await.unwrap();
                let (near_read, near_write) = near.into_split();
                let (far_read, far_write) = far.into_split();
                let passing = [
                    pass(near_read, far_write, Rc::clone(&there)),
                    pass(far_read, near_write, Rc::clone(&back)),
                ];
                let passing = passing.map(tokio::task::spawn_local);
                tasks.borrow_mut().extend(passing);
            }
        });
        relay
    }

    /// Cuts every connection. New ones are accepted.
    pub fn cut(&self) {
        self.tasks.borrow_mut().drain(..).for_each(|t| t.abort());
    }

    /// The bytes, framing included, of each reply to a call of a target, in order.
    pub fn replies(&self) -> Vec<Vec<u8>> {
        let asked = frames(&self.there.borrow());
        let answers = frames(&self.back.borrow());
        let calls = asked.iter().enumerate();
        let calls = calls.filter_map(|(n, frame)| Some((n, question(frame)?)));
        let reply = |(n, id): (usize, u32)| {
            // An id is used again when its question is over.
            let earlier = asked[..n]
                .iter()
                .filter(|frame| with(frame, any_id) == Some(id));
            let mut of_id = answers
                .iter()
                .filter(|frame| with(frame, answer_id) == Some(id));
            let found = of_id.nth(earlier.count());
            found.expect("the call was answered").clone()
        };
        calls.map(reply).collect()
    }

    /// The interface and the method of every call, of whatever, in order.
    pub fn asked(&self) -> Vec<(u64, u16)> {
        let frames = frames(&self.there.borrow());
        frames
            .iter()
            .filter_map(|frame| with(frame, method_of))
            .collect()
    }

    /// How often the callee was asked whether it takes calls in one message.
    pub fn pings(&self) -> usize {
        let asked = self.asked();
        asked.iter().filter(|&&it| it == (ONE_MESSAGE, 1)).count()
    }

    /// Each call of a target, in order.
    pub fn calls(&self) -> Vec<Vec<u8>> {
        let calls = frames(&self.there.borrow());
        let of_target = calls.into_iter().filter(|frame| question(frame).is_some());
        of_target.collect()
    }
}

async fn pass(mut from: unix::OwnedReadHalf, mut to: unix::OwnedWriteHalf, copy: Bytes) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(n @ 1..) = from.read(&mut buffer).await {
        copy.borrow_mut().extend_from_slice(&buffer[..n]);
        if to.write_all(&buffer[..n]).await.is_err() {
            return;
        }
    }
}

/// Each message of a stream, with its framing. A message that is not complete yet is left out.
fn frames(mut stream: &[u8]) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    loop {
        // An opening and its answer are text.
        if stream.starts_with(b"CONNECT ") || stream.starts_with(b"HTTP/") {
            let end = stream.windows(4).position(|bytes| bytes == b"\r\n\r\n");
            stream = end.map_or(&[], |end| &stream[end + 4..]);
        }
        let before = stream;
        if capnp::serialize::read_message(&mut stream, ReaderOptions::new()).is_err() {
            return found;
        }
        found.push(before[..before.len() - stream.len()].to_vec());
    }
}

/// Reads one message.
pub fn with<R>(frame: &[u8], read: impl FnOnce(message::Reader<'_>) -> R) -> R {
    let message = capnp::serialize::read_message(frame, ReaderOptions::new()).unwrap();
    read(message.get_root().unwrap())
}

/// The interface and the method of a call.
pub fn method_of(message: message::Reader<'_>) -> Option<(u64, u16)> {
    match message.which() {
        Ok(message::Call(Ok(call))) => Some((call.get_interface_id(), call.get_method_id())),
        _ => None,
    }
}

/// The id of a question that is a call.
pub fn call_id(message: message::Reader<'_>) -> Option<u32> {
    match message.which() {
        Ok(message::Call(Ok(call))) => Some(call.get_question_id()),
        _ => None,
    }
}

/// The id under which a call of a target expects its answer, however it travels.
pub fn question_of(message: message::Reader<'_>) -> Option<u32> {
    match method_of(message)? {
        (TARGET, 0) | (ONE_MESSAGE, 0) => call_id(message),
        _ => None,
    }
}

fn question(frame: &[u8]) -> Option<u32> {
    with(frame, question_of)
}

/// The id of a question of any kind.
fn any_id(message: message::Reader<'_>) -> Option<u32> {
    match message.which() {
        Ok(message::Bootstrap(Ok(bootstrap))) => Some(bootstrap.get_question_id()),
        _ => call_id(message),
    }
}

/// The id of an answer of any kind.
fn answer_id(message: message::Reader<'_>) -> Option<u32> {
    match message.which() {
        Ok(message::Return(Ok(answer))) => Some(answer.get_answer_id()),
        _ => None,
    }
}
