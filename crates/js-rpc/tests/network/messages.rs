//! Messages that a peer may or may not send, with Cap'n Proto's own schema of them.

use capnp::message::{Builder, HeapAllocator};
use capnp_rpc::rpc_capnp::{cap_descriptor, message, message_target, payload, promised_answer};

pub const DEBUG_PORT: u64 = 0xea5b_0b48_7aea_7327;
pub const BOOTSTRAP: u64 = 0x8780_48cd_a334_ade3;
pub const DISPATCHER: u64 = 0xf206_9747_5ec1_752d;
pub const TARGET: u64 = 0xa1a9_6525_142a_9d98;

pub fn message(fill: impl FnOnce(message::Builder<'_>)) -> Vec<u8> {
    let mut message = Builder::new(HeapAllocator::new().first_segment_words(64));
    fill(message.init_root());
    capnp::serialize::write_message_to_words(&message)
}

/// Where a call goes.
#[derive(Debug, Clone, Copy)]
pub enum To {
    Export(u32),
    /// The capability at this pointer of an answer.
    Answer(u32, u16),
}

impl To {
    pub fn fill(self, mut target: message_target::Builder<'_>) {
        match self {
            Self::Export(id) => target.set_imported_cap(id),
            Self::Answer(question, pointer) => {
                answer(target.init_promised_answer(), question, &[pointer]);
            }
        }
    }
}

pub fn answer(mut it: promised_answer::Builder<'_>, question: u32, pointers: &[u16]) {
    it.set_question_id(question);
    let mut transform = it.init_transform(pointers.len() as u32);
    for (i, pointer) in pointers.iter().enumerate() {
        let mut step = transform.reborrow().get(i as u32);
        step.set_get_pointer_field(*pointer);
    }
}

pub fn bootstrap(question: u32) -> Vec<u8> {
    message(|m| m.init_bootstrap().set_question_id(question))
}

pub fn finish(question: u32) -> Vec<u8> {
    message(|m| {
        let mut it = m.init_finish();
        it.set_question_id(question);
        it.set_release_result_caps(true);
    })
}

pub fn release(id: u32, count: u32) -> Vec<u8> {
    message(|m| {
        let mut it = m.init_release();
        it.set_id(id);
        it.set_reference_count(count);
    })
}

pub fn call(
    question: u32,
    to: To,
    (interface, method): (u64, u16),
    params: impl FnOnce(payload::Builder<'_>),
) -> Vec<u8> {
    message(|m| {
        let mut it = m.init_call();
        it.set_question_id(question);
        it.set_interface_id(interface);
        it.set_method_id(method);
        to.fill(it.reborrow().init_target());
        params(it.init_params());
    })
}

/// A call with no parameters of a method that is not there: it returns at once.
pub fn nonsense(question: u32, to: To) -> Vec<u8> {
    call(question, to, (1, 1), |_| {})
}

/// A call with these capabilities in its parameters.
pub fn with_caps(
    question: u32,
    to: To,
    count: u32,
    fill: impl Fn(u32, cap_descriptor::Builder<'_>),
) -> Vec<u8> {
    call(question, to, (TARGET, 0), |payload| {
        caps(payload, count, fill)
    })
}

pub fn caps(
    payload: payload::Builder<'_>,
    count: u32,
    fill: impl Fn(u32, cap_descriptor::Builder<'_>),
) {
    let mut table = payload.init_cap_table(count);
    for i in 0..count {
        fill(i, table.reborrow().get(i));
    }
}

/// Opens a session: questions `first` (entrypoint), +1 (event) and +2 (session, whose pointers are the
/// top level, 0, and the session, 1), on the bootstrap answer 0.
pub fn session(first: u32) -> Vec<u8> {
    use binding_span_schema::js_rpc_capnp::workerd_debug_port::get_entrypoint_params as entrypoint;
    let mut bytes = message(|m| {
        let mut it = m.init_call();
        it.set_question_id(first);
        it.set_interface_id(DEBUG_PORT);
        it.set_method_id(0);
        answer(it.reborrow().init_target().init_promised_answer(), 0, &[]);
        let mut content = it
            .init_params()
            .init_content()
            .init_as::<entrypoint::Builder<'_>>();
        content.set_service("S");
    });
    bytes.extend(call(
        first + 1,
        To::Answer(first, 0),
        (BOOTSTRAP, 0),
        |_| {},
    ));
    bytes.extend(call(
        first + 2,
        To::Answer(first + 1, 0),
        (DISPATCHER, 9),
        |_| {},
    ));
    bytes
}

/// Calls a method of a target with `args` as its serialized arguments.
pub fn run(question: u32, to: To, method: &str, args: &[u8]) -> Vec<u8> {
    use binding_span_schema::js_rpc_capnp::js_rpc_target::call_params;
    call(question, to, (TARGET, 0), |payload| {
        let mut params = payload.init_content().init_as::<call_params::Builder<'_>>();
        params.set_method_name(method);
        let value = params.init_operation().init_call_with_args();
        { value }.set_v8_serialized(args);
    })
}

pub fn resolve(promise: u32, fill: impl FnOnce(cap_descriptor::Builder<'_>)) -> Vec<u8> {
    message(|m| {
        let mut it = m.init_resolve();
        it.set_promise_id(promise);
        fill(it.init_cap());
    })
}

pub fn abort(reason: &str) -> Vec<u8> {
    message(|m| m.init_abort().set_reason(reason))
}

/// A return with results in which there is one capability of the sender's, which is the content.
pub fn returns(answer: u32, fill: impl Fn(u32, cap_descriptor::Builder<'_>)) -> Vec<u8> {
    let mut bytes = message(|m| {
        let mut it = m.init_return();
        it.set_answer_id(answer);
        let mut payload = it.init_results();
        // A capability pointer is what a struct of no size is not: written below.
        payload
            .reborrow()
            .init_content()
            .init_as::<payload::Builder<'_>>();
        caps(payload, 1, fill);
    });
    capability_pointer(&mut bytes);
    bytes
}

/// Makes the content of a return's payload the first capability. The frame is one segment: root
/// pointer, Message (1 + 1), Return (2 + 1), Payload (0 + 2).
fn capability_pointer(bytes: &mut [u8]) {
    let word = |i: usize| 8 + 8 * i;
    let content = 1 + 2 + 3;
    bytes[word(content)..word(content + 1)].copy_from_slice(&3u64.to_le_bytes());
}
