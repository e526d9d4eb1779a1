//! A callee that does not know our own interface.

use crate::scene::Route;
use crate::table::{End, Expected, cell, fill, older};

const ENDS: [End; 6] = [
    End::Returned,
    End::Thrown,
    End::DeadlineAtCaller,
    End::DeadlineAtCallee,
    End::Cancelled,
    End::Panicked,
];

const ROUTES: [Route; 5] = [
    Route::Library,
    Route::Call,
    Route::Sidecar,
    Route::TwoSidecars,
    Route::Http,
];

#[test]
fn how_calls_of_an_older_callee_end() {
    fill("With an older callee", &ENDS, &ROUTES, |end, route| {
        let (setup, expected) = older(end);
        let expected = match end {
            End::Thrown | End::Panicked => Expected {
                told: false,
                ..expected
            },
            // It does not know its caller's time, and is cancelled; the caller names nothing.
            End::DeadlineAtCaller => Expected {
                told: false,
                served: Some(("canceled", None, true)),
                ..expected
            },
            // A text, which an application could have thrown as well.
            End::DeadlineAtCallee => Expected {
                codes: ("Thrown", "1", "500"),
                outcome: "exception",
                error: Some("Error"),
                counted: "exception",
                told: false,
                ..expected
            },
            _ => expected,
        };
        Some(cell(end, route, &setup, &expected))
    });
}
