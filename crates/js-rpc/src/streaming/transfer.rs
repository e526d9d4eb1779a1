//! What lasts until the streams of a call have ended.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use binding_span::Enrichment;
use tokio_util::sync::CancellationToken;

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flow {
    Sent,
    Received,
}

impl Flow {
    pub(crate) const fn back(self) -> Self {
        match self {
            Self::Sent => Self::Received,
            Self::Received => Self::Sent,
        }
    }
}

/// The streams of one call, and what is to be done when the last of them has ended.
#[derive(Default)]
pub(crate) struct Transfer {
    sent: Cell<Option<u64>>,
    received: Cell<Option<u64>>,
    over: RefCell<Option<Over>>,
    cut: CancellationToken,
}

type Over = Box<dyn FnOnce(Enrichment)>;

impl Transfer {
    /// `over` is called with the attributes that tell how many bytes there were, and holds what lasts as long.
    pub(crate) fn new(over: impl FnOnce(Enrichment) + 'static) -> Rc<Self> {
        let transfer = Self::default();
        transfer.then(over);
        Rc::new(transfer)
    }

    /// The same for one that was made before that was known.
    pub(crate) fn then(&self, over: impl FnOnce(Enrichment) + 'static) {
        self.over.replace(Some(Box::new(over)));
    }

    /// Breaks the streams off that have not ended.
    pub(crate) fn cut(&self) {
        self.cut.cancel();
    }

    /// Completes when they are broken off.
    pub(super) fn is_cut(&self) -> impl Future<Output = ()> + use<> {
        self.cut.clone().cancelled_owned()
    }

    pub(crate) fn add(&self, flow: Flow, bytes: u64) {
        let count = match flow {
            Flow::Sent => &self.sent,
            Flow::Received => &self.received,
        };
        count.set(Some(count.get().unwrap_or(0).saturating_add(bytes)));
    }
}

impl Drop for Transfer {
    fn drop(&mut self) {
        let Some(over) = self.over.take() else {
            return;
        };
        let counts = [
            (crate::STREAM_BYTES_SENT, self.sent.get()),
            (crate::STREAM_BYTES_RECEIVED, self.received.get()),
        ];
        let said = counts
            .into_iter()
            .fold(Enrichment::new(), |said, (name, count)| match count {
                Some(count) => said.attribute(name, i64::try_from(count).unwrap_or(i64::MAX)),
                None => said,
            });
        over(said);
    }
}
