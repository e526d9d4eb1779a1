//! A client that no honest program is, against a real server.

use std::time::Instant;

use capnp_rpc::rpc_capnp::{call, disembargo, return_};

use crate::messages::*;
use crate::peer::{Peer, Sent};
use crate::raw::{self, End};
use crate::report::{Attempt, Cost, Report};
use crate::victim::{Beside, Victim, limits};

/// What the attacker sees.
#[derive(Debug, Clone, Copy)]
pub enum Expect {
    /// An abort with this text, and the end.
    Abort(&'static str),
    /// The end.
    Closed,
    /// A call that is refused with this text, on a connection that goes on.
    Refused(&'static str),
    /// A connection that goes on.
    Alive,
    /// The end, for an attacker that reads nothing.
    Dropped,
}

pub struct Attack {
    pub name: &'static str,
    pub expect: Expect,
    pub run: fn(&Peer),
}

/// A question that no attack uses.
const LAST: u32 = 0x7fff_ffff;

impl Expect {
    pub fn check(self, peer: &Peer) -> Result<String, String> {
        let seen = || peer.seen();
        let described = |what: String| (what, seen().abort);
        let ok = match self {
            Self::Abort(text) => {
                let says =
                    |abort: &Option<String>| abort.as_ref().is_some_and(|a| a.contains(text));
                peer.wait(|s| s.over && says(&s.abort))
            }
            Self::Closed => peer.wait(|s| s.over),
            Self::Refused(text) => peer.wait(|s| s.refusal.contains(text)) && alive(peer),
            Self::Alive => alive(peer),
            Self::Dropped => dropped(peer),
        };
        match (ok, described(format!("{self:?}"))) {
            (true, (what, _)) => Ok(what),
            (false, (what, abort)) => Err(format!(
                "not {what}; abort: {abort:?}, {} returned, {} refused, over: {}",
                seen().returned.len(),
                seen().overloaded,
                seen().over
            )),
        }
    }
}

fn alive(peer: &Peer) -> bool {
    peer.send(&bootstrap(LAST)) && peer.wait(|s| s.returned.contains(&LAST))
}

fn dropped(peer: &Peer) -> bool {
    let began = Instant::now();
    while peer.send(&finish(LAST)) {
        if began.elapsed() > crate::peer::PATIENCE {
            return false;
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    true
}

/// Runs an attack on a server of its own, with an honest client beside it.
pub fn attack(
    report: &mut Report,
    name: &str,
    run: impl Fn(&std::path::Path) -> Result<String, String>,
) {
    report.add(name, || {
        let victim = Victim::start(limits());
        let beside = Beside::start(&victim);
        Sent::take();
        let outcome = run(&victim.path);
        let (calls, waited) = beside.stop();
        assert!(calls > 0);
        let cost = Cost {
            memory: victim.stop(),
            sent: Sent::take(),
        };
        Attempt {
            outcome,
            cost,
            waited,
        }
    });
}

pub fn all(report: &mut Report, attacks: &[Attack]) {
    for it in attacks {
        attack(report, it.name, |path| {
            let peer = Peer::connect(path);
            let peer = match it.expect {
                Expect::Dropped => peer,
                _ => peer.reading(),
            };
            peer.send(&bootstrap(0));
            (it.run)(&peer);
            it.expect.check(&peer)
        });
    }
}

#[test]
fn bytes_that_are_no_message() {
    let mut report = Report::default();
    for raw in raw::all() {
        attack(&mut report, raw.name, |path| {
            let peer = Peer::connect(path).reading();
            peer.send(&raw.bytes);
            match raw.end {
                End::Closed => Expect::Closed.check(&peer),
                End::Late => Expect::Abort("did not come within").check(&peer),
            }
        });
    }
    report.finish("server");
}

fn form(change: impl FnOnce(call::Builder<'_>)) -> Vec<u8> {
    message(|m| {
        let mut it = m.init_call();
        it.set_question_id(9);
        To::Answer(0, 0).fill(it.reborrow().init_target());
        change(it);
    })
}

fn returning(change: impl FnOnce(return_::Builder<'_>)) -> Vec<u8> {
    message(|m| change(m.init_return()))
}

fn disembargoing(change: impl FnOnce(disembargo::Builder<'_>)) -> Vec<u8> {
    message(|m| {
        let mut it = m.init_disembargo();
        it.reborrow().init_target().set_imported_cap(0);
        change(it);
    })
}

/// A call that waits for ever, with a promise of ours, 5, in it.
pub fn promise(peer: &Peer) {
    peer.send(&session(1));
    let params = with_caps(4, To::Answer(3, 1), 1, |_, mut cap| {
        cap.set_sender_promise(5)
    });
    peer.send(&params);
}

#[test]
fn messages_that_this_protocol_has_no_use_for() {
    use Expect::*;
    const KIND: Expect = Abort("broke the protocol");
    let mut report = Report::default();
    all(
        &mut report,
        &[
            Attack {
                name: "results to yourself",
                expect: Abort("results go elsewhere"),
                run: |p| {
                    p.send(&form(|c| c.get_send_results_to().set_yourself(())));
                },
            },
            Attack {
                name: "results to a third party",
                expect: Abort("results go elsewhere"),
                run: |p| {
                    p.send(&form(|c| {
                        c.get_send_results_to().init_third_party();
                    }));
                },
            },
            Attack {
                name: "a capability of a third party",
                expect: Abort("third party"),
                run: |p| {
                    p.send(&with_caps(9, To::Answer(0, 0), 1, |_, c| {
                        c.init_third_party_hosted();
                    }));
                },
            },
            Attack {
                name: "1,033 capabilities",
                expect: Abort("1033 capabilities"),
                run: |p| {
                    p.send(&with_caps(9, To::Answer(0, 0), 1033, |i, mut c| {
                        c.set_sender_hosted(i)
                    }));
                },
            },
            Attack {
                name: "1,032 capabilities",
                expect: Alive,
                run: |p| {
                    p.send(&with_caps(9, To::Answer(0, 0), 1032, |i, mut c| {
                        c.set_sender_hosted(i)
                    }));
                },
            },
            Attack {
                name: "1,032 capabilities of ours that are not",
                expect: Alive,
                run: |p| {
                    p.send(&with_caps(9, To::Answer(0, 0), 1032, |i, mut c| {
                        c.set_receiver_hosted(i + 100)
                    }));
                },
            },
            Attack {
                name: "a capability of an answer, 33 steps in",
                expect: Abort("33 steps"),
                run: |p| {
                    p.send(&with_caps(9, To::Answer(0, 0), 1, |_, c| {
                        answer(c.init_receiver_answer(), 0, &[0; 33])
                    }));
                },
            },
            Attack {
                name: "a capability of an answer that is not",
                expect: Alive,
                run: |p| {
                    p.send(&with_caps(9, To::Answer(0, 0), 1, |_, c| {
                        answer(c.init_receiver_answer(), 77, &[0])
                    }));
                },
            },
            Attack {
                name: "a capability of its own answer",
                expect: Alive,
                run: |p| {
                    p.send(&with_caps(9, To::Answer(0, 0), 1, |_, c| {
                        answer(c.init_receiver_answer(), 9, &[0])
                    }));
                },
            },
            Attack {
                name: "a call 33 steps into an answer",
                expect: Abort("33 steps"),
                run: |p| {
                    p.send(&form(|c| {
                        answer(c.init_target().init_promised_answer(), 0, &[0; 33])
                    }));
                },
            },
            Attack {
                name: "a call of an answer that is not",
                expect: Alive,
                run: |p| {
                    p.send(&nonsense(9, To::Answer(77, 0)));
                },
            },
            Attack {
                name: "a call of a capability that it does not hold",
                expect: Abort("does not hold"),
                run: |p| {
                    p.send(&nonsense(9, To::Export(77)));
                },
            },
            Attack {
                name: "a call of a capability that it let go of",
                expect: Abort("does not hold"),
                run: |p| {
                    p.send(&release(0, 1));
                    p.send(&nonsense(9, To::Export(0)));
                },
            },
            Attack {
                name: "a bootstrap with an id in use",
                expect: Abort("in use"),
                run: |p| {
                    p.send(&bootstrap(0));
                },
            },
            Attack {
                name: "a call with an id in use",
                expect: Abort("in use"),
                run: |p| {
                    p.send(&nonsense(0, To::Export(0)));
                },
            },
            Attack {
                name: "a call with the id of one that waits",
                expect: Abort("in use"),
                run: |p| {
                    promise(p);
                    p.send(&nonsense(4, To::Export(0)));
                },
            },
            Attack {
                name: "a call with the id of one that was cancelled",
                expect: Closed,
                run: |p| {
                    promise(p);
                    p.send(
                        &[
                            finish(4),
                            nonsense(4, To::Export(0)),
                            nonsense(4, To::Export(0)),
                        ]
                        .concat(),
                    );
                    p.half_close();
                },
            },
            Attack {
                name: "a release of what it does not hold",
                expect: Abort("does not hold"),
                run: |p| {
                    p.send(&release(77, 1));
                },
            },
            Attack {
                name: "a release once too often",
                expect: Abort("does not hold"),
                run: |p| {
                    p.send(&release(0, 2));
                },
            },
            Attack {
                name: "a release four billion times",
                expect: Abort("does not hold"),
                run: |p| {
                    p.send(&release(0, u32::MAX));
                },
            },
            Attack {
                name: "a finish of no question",
                expect: Alive,
                run: |p| {
                    p.send(&finish(77));
                },
            },
            Attack {
                name: "a finish, twice",
                expect: Alive,
                run: |p| {
                    p.send(&[finish(0), finish(0)].concat());
                },
            },
            Attack {
                name: "a finish of a call that waits, twice",
                expect: Alive,
                run: |p| {
                    promise(p);
                    p.send(&[finish(4), finish(4)].concat());
                },
            },
            Attack {
                name: "a return for no question",
                expect: Abort("not asked"),
                run: |p| {
                    p.send(&returning(|mut r| {
                        r.set_answer_id(0);
                        r.init_results();
                    }));
                },
            },
            Attack {
                name: "a cancelled return for no question",
                expect: Abort("not asked"),
                run: |p| {
                    p.send(&returning(|mut r| r.set_canceled(())));
                },
            },
            Attack {
                name: "a return from another question",
                expect: Abort("a return for a question that was not asked"),
                run: |p| {
                    p.send(&returning(|mut r| r.set_take_from_other_question(0)));
                },
            },
            Attack {
                name: "a return whose results went elsewhere",
                expect: Abort("results are elsewhere"),
                run: |p| {
                    p.send(&returning(|mut r| r.set_results_sent_elsewhere(())));
                },
            },
            Attack {
                name: "a return from a third party",
                expect: Abort("results are elsewhere"),
                run: |p| {
                    p.send(&returning(|r| {
                        r.init_accept_from_third_party();
                    }));
                },
            },
            Attack {
                name: "a disembargo for accept",
                expect: KIND,
                run: |p| {
                    p.send(&disembargoing(|d| d.init_context().set_accept(())));
                },
            },
            Attack {
                name: "a disembargo for provide",
                expect: KIND,
                run: |p| {
                    p.send(&disembargoing(|d| d.init_context().set_provide(0)));
                },
            },
            Attack {
                name: "a disembargo that comes back unasked",
                expect: Abort("not asked for"),
                run: |p| {
                    p.send(&disembargoing(|d| {
                        d.init_context().set_receiver_loopback(0)
                    }));
                },
            },
            Attack {
                name: "a disembargo of what does not lead back",
                expect: Closed,
                run: |p| {
                    p.send(&disembargoing(|d| d.init_context().set_sender_loopback(0)));
                },
            },
            Attack {
                name: "a resolve to nothing",
                expect: Abort("no capability"),
                run: |p| {
                    promise(p);
                    p.send(&resolve(5, |mut c| c.set_none(())));
                },
            },
            Attack {
                name: "a resolve to a third party",
                expect: Abort("third party"),
                run: |p| {
                    promise(p);
                    p.send(&resolve(5, |c| {
                        c.init_third_party_hosted();
                    }));
                },
            },
            Attack {
                name: "a resolve to itself",
                expect: Abort("resolves to itself"),
                run: |p| {
                    promise(p);
                    p.send(&resolve(5, |mut c| c.set_sender_promise(5)));
                },
            },
            Attack {
                name: "a resolve to itself, as settled",
                expect: Abort("resolves to itself"),
                run: |p| {
                    promise(p);
                    p.send(&resolve(5, |mut c| c.set_sender_hosted(5)));
                },
            },
            Attack {
                name: "a resolve to the answer that waits for it",
                expect: Abort("one of our answers"),
                run: |p| {
                    promise(p);
                    p.send(&resolve(5, |c| answer(c.init_receiver_answer(), 4, &[0])));
                },
            },
            Attack {
                name: "two promises that resolve to each other",
                expect: Closed,
                run: |p| {
                    promise(p);
                    p.send(
                        &[
                            resolve(5, |mut c| c.set_sender_promise(6)),
                            resolve(6, |mut c| c.set_sender_promise(5)),
                        ]
                        .concat(),
                    );
                    p.half_close();
                },
            },
            Attack {
                name: "a resolve, twice",
                expect: Closed,
                run: |p| {
                    promise(p);
                    p.send(
                        &[
                            resolve(5, |mut c| c.set_sender_hosted(6)),
                            resolve(5, |mut c| c.set_sender_hosted(7)),
                        ]
                        .concat(),
                    );
                    p.half_close();
                },
            },
            Attack {
                name: "a resolve of what is settled",
                expect: Abort("no open promise"),
                run: |p| {
                    p.send(&session(1));
                    p.send(&with_caps(4, To::Answer(3, 1), 1, |_, mut c| {
                        c.set_sender_hosted(5)
                    }));
                    p.send(&resolve(5, |mut c| c.set_sender_hosted(6)));
                },
            },
            Attack {
                name: "a resolve of no promise",
                expect: Alive,
                run: |p| {
                    p.send(&resolve(77, |mut c| c.set_sender_hosted(6)));
                },
            },
            Attack {
                name: "a row of 200 promises",
                expect: Abort("promises that resolve to promises"),
                run: |p| {
                    promise(p);
                    p.flood(200, |i| resolve(5 + i, |mut c| c.set_sender_promise(6 + i)));
                },
            },
            Attack {
                name: "a row of 60 promises, and the end",
                expect: Closed,
                run: |p| {
                    promise(p);
                    p.flood(60, |i| resolve(5 + i, |mut c| c.set_sender_promise(6 + i)));
                    p.half_close();
                },
            },
            Attack {
                name: "an answer to a resolve that was not sent",
                expect: Abort("was not sent"),
                run: |p| {
                    p.send(&message(|m| {
                        m.init_unimplemented()
                            .init_resolve()
                            .init_cap()
                            .set_sender_hosted(77)
                    }));
                },
            },
            Attack {
                name: "an abort",
                expect: Closed,
                run: |p| {
                    p.send(&abort("goodbye"));
                },
            },
            Attack {
                name: "an abort of 8 MiB",
                expect: Closed,
                run: |p| {
                    promise(p);
                    p.send(&abort(&"x".repeat(8 << 20)));
                },
            },
            Attack {
                name: "a method that panics",
                expect: Alive,
                run: |p| {
                    p.send(&session(1));
                    p.send(&run(
                        4,
                        To::Answer(3, 0),
                        "panic",
                        &[0xff, 0x0f, b'A', 0, b'$', 0, 0],
                    ));
                },
            },
            Attack {
                name: "arguments that are no value",
                expect: Alive,
                run: |p| {
                    p.send(&session(1));
                    p.send(&run(4, To::Answer(3, 0), "run", &[0xa5; 5000]));
                },
            },
            Attack {
                name: "arguments 100,000 arrays deep",
                expect: Alive,
                run: |p| {
                    p.send(&session(1));
                    let mut v = vec![0xff, 0x0f];
                    for _ in 0..100_000 {
                        v.extend([b'A', 1]);
                    }
                    p.send(&run(4, To::Answer(3, 0), "run", &v));
                },
            },
            Attack {
                name: "an argument that claims four billion elements",
                expect: Alive,
                run: |p| {
                    p.send(&session(1));
                    p.send(&run(
                        4,
                        To::Answer(3, 0),
                        "run",
                        &[0xff, 0x0f, b'A', 0xff, 0xff, 0xff, 0xff, 0x0f],
                    ));
                },
            },
            Attack {
                name: "a method of 1 MiB",
                expect: Alive,
                run: |p| {
                    p.send(&session(1));
                    p.send(&run(4, To::Answer(3, 0), &"m".repeat(1 << 20), &[]));
                },
            },
            Attack {
                name: "a method that is a path of 100,000",
                expect: Alive,
                run: |p| {
                    p.send(&session(1));
                    p.send(&run(4, To::Answer(3, 0), &".".repeat(100_000), &[]));
                },
            },
        ],
    );
    report.finish("server");
}

#[test]
fn a_method_that_holds_the_thread_is_seen_each_time() {
    let mut report = Report::default();
    let stall = Attack {
        name: "a method that holds the thread",
        expect: Expect::Alive,
        run: |p| {
            p.send(&session(1));
            let no_args = [0xff, 0x0f, b'A', 0, b'$', 0, 0];
            p.send(&run(4, To::Answer(3, 0), "stall", &no_args));
        },
    };
    all(&mut report, &[stall]);
    let wrong = report.wrong().join("\n");
    assert!(wrong.contains("an honest peer waited ["), "{wrong}");
}
