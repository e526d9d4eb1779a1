//! A relay between a caller and a callee that keeps what passes, can be cut, and finds replies.

use std::cell::RefCell;
use std::rc::Rc;

use capnp::message::ReaderOptions;
use capnp_rpc::rpc_capnp::{message, return_};
use js_rpc::Address;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream, unix};

/// `JsRpcTarget`.
const TARGET: u64 = 0xa1a9_6525_142a_9d98;

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
        let calls = frames(&self.there.borrow());
        let asked = calls.iter().filter_map(|frame| question(frame));
        let replies = frames(&self.back.borrow());
        asked
            .map(|id| {
                let found = replies.iter().find(|frame| answers(frame, id));
                found.expect("the call was answered").clone()
            })
            .collect()
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

/// The id under which a call of a target expects its answer.
pub fn question_of(message: message::Reader<'_>) -> Option<u32> {
    let Ok(message::Call(Ok(call))) = message.which() else {
        return None;
    };
    (call.get_interface_id() == TARGET).then(|| call.get_question_id())
}

fn question(frame: &[u8]) -> Option<u32> {
    with(frame, question_of)
}

fn answers(frame: &[u8], id: u32) -> bool {
    with(frame, |message| match message.which() {
        Ok(message::Return(Ok(answer))) => {
            answer.get_answer_id() == id && matches!(answer.which(), Ok(return_::Results(_)))
        }
        _ => false,
    })
}
