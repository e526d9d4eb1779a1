//! Messages that the guard makes itself: what it answers without asking the RPC system, and what it
//! puts in the place of a message that must not be seen as it is.

use capnp::message::{Builder, HeapAllocator};
use capnp_rpc::rpc_capnp::{exception, message, resolve};

use crate::network::frame::Frame;

type Message = Builder<HeapAllocator>;

fn build(fill: impl FnOnce(message::Builder<'_>)) -> Message {
    let allocator = HeapAllocator::new().first_segment_words(32);
    let mut message = Builder::new(allocator);
    fill(message.init_root());
    message
}

/// The answer to a call that was not run. The capabilities in its parameters are released apart, by
/// [`release`]: not every peer heeds a return that says so.
pub(super) fn overloaded(answer: u32, reason: &str) -> Message {
    build(|message| {
        let mut it = message.init_return();
        it.set_answer_id(answer);
        it.set_release_param_caps(false);
        let mut exception = it.init_exception();
        exception.set_type(exception::Type::Overloaded);
        exception.set_reason(reason);
    })
}

pub(super) fn release(import: u32, count: u32) -> Message {
    build(|message| {
        let mut it = message.init_release();
        it.set_id(import);
        it.set_reference_count(count);
    })
}

/// A release, as if the peer had sent it.
pub(super) fn released(export: u32, count: u32) -> Frame {
    Frame::of(&release(export, count))
}

/// A finish, as if the peer had sent it, which lets go of the results as well.
pub(super) fn finished(question: u32) -> Frame {
    Frame::of(&build(|message| {
        let mut it = message.init_finish();
        it.set_question_id(question);
        it.set_release_result_caps(true);
    }))
}

/// The same call, as if it wanted its results sent back. It has no capabilities.
pub(super) fn for_its_caller(root: message::Reader<'_>) -> capnp::Result<Frame> {
    let mut whole = Builder::new(HeapAllocator::new());
    whole.set_root(root)?;
    let message: message::Builder<'_> = whole.get_root()?;
    if let message::Call(call) = message.which()? {
        call?.get_send_results_to().set_caller(());
    }
    Ok(Frame::of(&whole))
}

/// A return whose results stay where they are.
pub(super) fn elsewhere(answer: u32, no_finish: bool) -> Message {
    build(|message| {
        let mut it = message.init_return();
        it.set_answer_id(answer);
        it.set_no_finish_needed(no_finish);
        it.set_results_sent_elsewhere(());
    })
}

/// A return, as if the peer had sent it, with results that say nothing.
pub(super) fn done(answer: u32, no_finish: bool) -> Frame {
    Frame::of(&build(|message| {
        let mut it = message.init_return();
        it.set_answer_id(answer);
        it.set_no_finish_needed(no_finish);
        it.init_results();
    }))
}

/// A return, as if the peer had sent it, with an exception of this text.
pub(super) fn failed(answer: u32, no_finish: bool, kind: exception::Type, reason: &str) -> Frame {
    Frame::of(&build(|message| {
        let mut it = message.init_return();
        it.set_answer_id(answer);
        it.set_no_finish_needed(no_finish);
        let mut exception = it.init_exception();
        exception.set_type(kind);
        exception.set_reason(reason);
    }))
}

/// A resolve, as if the peer had sent it, to an exception of this text.
pub(super) fn unresolved(promise: u32, kind: exception::Type, reason: &str) -> Frame {
    Frame::of(&build(|message| {
        let mut it: resolve::Builder<'_> = message.init_resolve();
        it.set_promise_id(promise);
        let mut exception = it.init_exception();
        exception.set_type(kind);
        exception.set_reason(reason);
    }))
}

/// The text of an exception if it is longer than that, cut there.
pub(super) fn cut(exception: exception::Reader<'_>, limit: usize) -> Option<String> {
    let reason = exception.get_reason().ok()?;
    let bytes = reason.as_bytes();
    let kept = bytes.get(..limit).filter(|_| bytes.len() > limit)?;
    Some(format!("{}...", String::from_utf8_lossy(kept)))
}

/// The text of an exception, cut if need be.
pub(super) fn text(exception: exception::Reader<'_>, limit: usize) -> String {
    cut(exception, limit).unwrap_or_else(|| match exception.get_reason() {
        Ok(reason) => String::from_utf8_lossy(reason.as_bytes()).into_owned(),
        Err(_) => "an exception that cannot be read".into(),
    })
}

pub(super) fn kind(exception: exception::Reader<'_>) -> exception::Type {
    exception.get_type().unwrap_or(exception::Type::Failed)
}
