//! Where a span stands among the others: below which, and how far in.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// Levels that are indented.
pub(super) const LEVELS: usize = 16;
/// Spans above a span that are looked at.
const CHAIN: usize = 1024;

/// Where a span stands among the others. What is below it holds it.
#[derive(Debug, Default)]
pub(super) struct Place {
    /// Whether it opened here.
    pub(super) shown: Cell<bool>,
    pub(super) above: RefCell<Option<Rc<Place>>>,
}

impl Place {
    /// How many that are shown are above it.
    pub(super) fn depth(&self) -> usize {
        let (mut depth, mut above) = (0, self.above.borrow().clone());
        while let Some(place) = above.filter(|place| place.shown.get() && depth < LEVELS) {
            depth += 1;
            above = place.above.borrow().clone();
        }
        depth
    }

    /// Whether it is below another or the same, or so deep that it does not matter: peers may claim circles.
    pub(super) fn is_below(self: &Rc<Self>, other: &Rc<Self>) -> bool {
        let mut above = Some(Rc::clone(self));
        for _ in 0..CHAIN {
            let Some(place) = above else { return false };
            if Rc::ptr_eq(&place, other) {
                return true;
            }
            above = place.above.borrow().clone();
        }
        true
    }

    /// How many there would be, if the one above them that did not open yet did.
    pub(super) fn deepest(&self) -> usize {
        let (mut depth, mut above) = (0, self.above.borrow().clone());
        while let Some(place) = above.filter(|_| depth < LEVELS) {
            depth += 1;
            above = place.above.borrow().clone();
        }
        depth
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Not by recursion: how long a chain is, is up to other processes.
        let mut above = self.above.take();
        while let Some(place) = above {
            above = Rc::into_inner(place).and_then(|place| place.above.take());
        }
    }
}
