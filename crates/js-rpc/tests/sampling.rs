//! A sink decides who spans are, which are recorded, and whether callees are told of them.

mod common;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use binding_span::{Attribute, NewSpan, SpanContext, SpanOpen, SpanRef, SpanSink};
use common::{BINDING, Way, World, service};
use js_rpc::{ConnectOptions, Connection, Context, nothing};

/// Decides about spans, and looks at those that it samples alone.
struct Sampler {
    sampled: bool,
    hides: bool,
    seen: AtomicUsize,
}

impl SpanSink for Sampler {
    fn identify(&self, new: &NewSpan) -> Option<SpanContext> {
        Some(SpanContext {
            flags: Some(self.sampled.into()),
            ..new.by_default()
        })
    }

    fn wants(&self, span: SpanContext) -> bool {
        !span.is_unsampled()
    }

    fn hides(&self) -> bool {
        self.hides
    }

    fn open(&self, _open: &SpanOpen<'_>) {
        self.seen.fetch_add(1, Ordering::Relaxed);
    }

    fn rename(&self, _span: SpanRef, _name: &str) {
        self.seen.fetch_add(1, Ordering::Relaxed);
    }

    fn attributes(&self, _span: SpanRef, _attributes: &[Attribute]) {}
}

#[tokio::test(flavor = "local")]
async fn a_sink_decides_whether_a_trace_is_recorded_and_what_it_does_not_want_is_not_reported() {
    let told: Rc<RefCell<Vec<Option<SpanContext>>>> = Rc::default();
    let keep = Rc::clone(&told);
    let keeping = service(async move |_: &str, _, cx: &Context| {
        keep.borrow_mut().push(cx.caller_span());
        nothing()
    });
    let world = World::of(Way::Unix, keeping).await;
    for (sampled, hides) in [(true, false), (false, false), (true, true)] {
        let sampler = Arc::new(Sampler {
            sampled,
            hides,
            seen: AtomicUsize::new(0),
        });
        let options = ConnectOptions {
            sinks: Arc::new([Arc::clone(&sampler) as Arc<dyn SpanSink>]),
            ..ConnectOptions::default()
        };
        let caller = Connection::connect(&world.address, options).await.unwrap();
        let parent = SpanContext::root();
        let call = caller.binding(BINDING).call("run", ()).parent(parent);
        call.await.unwrap();
        let told: Vec<Option<SpanContext>> = told.take();
        match told[0] {
            None => assert!(hides),
            Some(context) => {
                assert_eq!(
                    context.flags,
                    Some(sampled.into()),
                    "decided before it is sent"
                );
                assert_eq!(context.trace_id, parent.trace_id);
                assert_ne!(context.span_id, parent.span_id);
            }
        }
        assert_eq!(sampler.seen.load(Ordering::Relaxed) > 0, sampled);
    }
}
