//! What is fuzzed: everything that reads bytes which a peer chose. None of it may panic, hang or
//! allocate more than a small multiple of what it is given.
//!
//! Each target is a function of bytes, so that the project's tests run the same on a small corpus and on
//! random changes of it. `cargo +nightly fuzz run messages`, in `crates/js-rpc`, fuzzes one of them.
#![allow(dead_code, reason = "each fuzz target uses one")]

use binding_span_schema::binding_span_capnp::binding_span_enrichment;
use capnp::message::{Builder, HeapAllocator, ReaderOptions};
use capnp_rpc::rpc_capnp::{cap_descriptor, exception, message, message_target, promised_answer};
use js_rpc::NetworkLimits;
use js_rpc::internals::{self, Judge};

/// Takes any bytes; panics if something is wrong.
pub type Target = fn(&[u8]);

/// All of them, by name.
pub const ALL: [(&str, Target); 5] = [
    ("frames", frames),
    ("messages", messages),
    ("enrichment", enrichment),
    ("values", values),
    ("openings", openings),
];

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(future)
}

/// Small enough that a fuzzer reaches them.
fn limits() -> NetworkLimits {
    NetworkLimits {
        frame_bytes: 1 << 20,
        in_flight: 8,
        questions: 16,
        cancelled: 8,
        exports: 8,
        imports: 8,
        promises: 4,
        pipeline_depth: 3,
        promise_depth: 3,
        capabilities: 4,
        transform: 3,
        reason_bytes: 8,
        ..NetworkLimits::default()
    }
}

/// The frame reader and the judge of shapes, on bytes as they are.
pub fn frames(data: &[u8]) {
    let _ = run(Judge::new(limits()).receive(data));
}

/// The judge in both roles: a plan of messages, ours and the peer's, well formed one by one.
pub fn messages(data: &[u8]) {
    let mut plan = Plan(data);
    let mut judge = Judge::new(limits());
    run(async {
        while !plan.0.is_empty() {
            let ours = plan.once_in(2);
            let mut message = Builder::new_default();
            plan.fill(message.init_root(), 0);
            if ours {
                judge.send(&message);
            } else {
                let bytes = capnp::serialize::write_message_to_words(&message);
                if judge.receive(&bytes).await.is_err() {
                    return;
                }
            }
        }
    });
}

/// Bytes as choices; when they are used up, zeros.
struct Plan<'a>(&'a [u8]);

impl Plan<'_> {
    fn next(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        *first
    }

    fn once_in(&mut self, n: u8) -> bool {
        self.next().is_multiple_of(n)
    }

    /// Small, so that ids meet again, or very large.
    fn id(&mut self) -> u32 {
        match self.next() {
            small @ ..=250 => u32::from(small % 12),
            large => u32::MAX - u32::from(large),
        }
    }

    fn fill(&mut self, message: message::Builder<'_>, depth: u8) {
        match self.next() % 12 {
            0 => message.init_bootstrap().set_question_id(self.id()),
            1..=3 => {
                let mut it = message.init_call();
                it.set_question_id(self.id());
                self.target(it.reborrow().init_target());
                if self.once_in(8) {
                    it.reborrow().get_send_results_to().set_yourself(());
                }
                self.caps(it.init_params());
            }
            4 | 5 => {
                let mut it = message.init_return();
                it.set_answer_id(self.id());
                it.set_no_finish_needed(self.once_in(2));
                match self.next() % 8 {
                    0 => it.set_canceled(()),
                    1 => it.set_results_sent_elsewhere(()),
                    2 | 3 => self.exception(it.init_exception()),
                    _ => self.caps(it.init_results()),
                }
            }
            6 => {
                let mut it = message.init_finish();
                it.set_question_id(self.id());
                it.set_release_result_caps(self.once_in(2));
            }
            7 => {
                let mut it = message.init_release();
                it.set_id(self.id());
                it.set_reference_count(self.id());
            }
            8 => {
                let mut it = message.init_resolve();
                it.set_promise_id(self.id());
                match self.next() % 4 {
                    0 => self.exception(it.init_exception()),
                    _ => self.cap(it.init_cap()),
                }
            }
            9 => {
                let mut it = message.init_disembargo();
                self.target(it.reborrow().init_target());
                match self.next() % 4 {
                    0 => it.init_context().set_accept(()),
                    1 => it.init_context().set_receiver_loopback(self.id()),
                    _ => it.init_context().set_sender_loopback(self.id()),
                }
            }
            10 => self.exception(message.init_abort()),
            _ if depth < 4 => self.fill(message.init_unimplemented(), depth + 1),
            _ => {}
        }
    }

    fn target(&mut self, mut target: message_target::Builder<'_>) {
        match self.next() % 3 {
            0 => target.set_imported_cap(self.id()),
            _ => self.answer(target.init_promised_answer()),
        }
    }

    fn answer(&mut self, mut it: promised_answer::Builder<'_>) {
        it.set_question_id(self.id());
        it.init_transform(u32::from(self.next() % 5));
    }

    fn exception(&mut self, mut it: exception::Builder<'_>) {
        it.set_reason("ä".repeat(usize::from(self.next() % 12)));
    }

    fn caps(&mut self, payload: capnp_rpc::rpc_capnp::payload::Builder<'_>) {
        let mut table = payload.init_cap_table(u32::from(self.next() % 6));
        for i in 0..table.len() {
            self.cap(table.reborrow().get(i));
        }
    }

    fn cap(&mut self, mut cap: cap_descriptor::Builder<'_>) {
        match self.next() % 8 {
            0 => cap.set_none(()),
            1 | 2 => cap.set_sender_hosted(self.id()),
            3 | 4 => cap.set_sender_promise(self.id()),
            5 => cap.set_receiver_hosted(self.id()),
            6 => self.answer(cap.init_receiver_answer()),
            _ => {
                cap.init_third_party_hosted();
            }
        }
    }
}

/// The enrichment of a reply: whatever it is, what is kept is within the limits, and survives the wire.
pub fn enrichment(data: &[u8]) {
    let mut rest = data;
    let read = capnp::serialize::read_message_from_flat_slice(&mut rest, ReaderOptions::new());
    let Ok(message) = read else {
        return;
    };
    let Ok(reader) = message.get_root::<binding_span_enrichment::Reader<'_>>() else {
        return;
    };
    let limits = binding_span::Limits::DEFAULT;
    let said = binding_span::read(reader, limits);
    assert!(said.attributes().len() <= limits.attributes);
    let mut copy = Builder::<HeapAllocator>::new_default();
    binding_span::write(&said, || copy.init_root());
    if said.is_silent() {
        return;
    }
    let root = copy.get_root_as_reader().expect("what was written");
    let again = binding_span::read(root, limits);
    assert_eq!(again.span_name(), said.span_name());
    // Not a number is not itself.
    assert_eq!(again.attributes().len(), said.attributes().len());
}

/// Values as V8 serializes them, and arguments.
pub fn values(data: &[u8]) {
    let limits = js_value::DecodeLimits::default();
    let _ = js_value::decode_args(data, &limits);
    let Ok(value) = js_value::decode(data, &limits) else {
        return;
    };
    if let Ok(encoded) = js_value::encode(&value) {
        js_value::decode(&encoded, &limits).expect("what was written can be read");
    }
}

/// The first bytes of a connection.
pub fn openings(data: &[u8]) {
    // A name is never longer than what came.
    if let Ok(Some(name)) = run(internals::opening(data)) {
        assert!(name.len() <= data.len());
    }
}
