//! Telling a caller's observer what is said, as it is said.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use binding_span::Updates;
use binding_span_schema::call_capnp::enrichment_observer;

/// How long an observer may take to answer. It answers when it wants to hear more, which may take a little.
const ANSWER: Duration = Duration::from_secs(10);

/// Observers of one connection at once; further ones hear nothing. One that does not answer stays for [`ANSWER`]
/// after its call.
const MOST: usize = 4096;

/// The observers of one connection. Clones are the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Observers(Rc<Cell<usize>>);

/// One of them.
struct Counted(Observers);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.0.set(self.0.0.get() - 1);
    }
}

impl Observers {
    fn admit(&self) -> Option<Counted> {
        if self.0.get() >= MOST {
            return None;
        }
        self.0.set(self.0.get() + 1);
        Some(Counted(self.clone()))
    }

    /// Tells `observer` what is said, until nothing more is. What is said while it has not answered is merged: one
    /// update at a time is on its way.
    pub(crate) fn push(&self, mut updates: Updates, observer: enrichment_observer::Client) {
        let Some(counted) = self.admit() else {
            return;
        };
        tokio::task::spawn_local(async move {
            let _counted = counted;
            while let Some(said) = updates.next().await {
                if said.is_silent() {
                    continue;
                }
                let mut request = observer.enriched_request();
                binding_span::write(&said, || request.get().init_enrichment());
                request.get().set_returned(updates.is_after_said());
                let answered = tokio::time::timeout(ANSWER, request.send().promise).await;
                if !matches!(answered, Ok(Ok(_))) {
                    return;
                }
            }
        });
    }
}
