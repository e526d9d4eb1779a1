//! A callee that no honest program is, against a real caller.

use std::os::unix::net::UnixListener;
use std::sync::mpsc;
use std::time::Duration;

use capnp_rpc::rpc_capnp::return_;
use js_rpc::{Address, CallError, ConnectOptions, Connection};

use crate::alloc;
use crate::clock::{Clock, Thread};
use crate::messages::*;
use crate::peer::{Peer, Sent};
use crate::raw::{self, End};
use crate::report::{Attempt, Cost, Report};
use crate::victim::{Victim, limits, local, thread};

/// What a call to the hostile callee ended with, what it cost, and how long an honest one took.
struct Ended {
    outcome: Result<(), CallError>,
    cost: Cost,
    waited: Duration,
}

/// Calls the hostile callee; meanwhile, on the same thread, the honest one.
async fn caller(hostile: Address, honest: Address, serves: Thread) -> Ended {
    let options = || ConnectOptions {
        limits: limits(),
        ..ConnectOptions::default()
    };
    let connection = Connection::connect(&honest, options())
        .await
        .expect("the honest callee");
    let honest = connection.binding("S");
    honest.call("run", ()).await.expect("an answer");
    let baseline = alloc::baseline();
    let attacked = async {
        let connection = Connection::connect(&hostile, options()).await?;
        let many = (0..8).map(|_| connection.binding("S").call("run", ()).send());
        let mut ended = futures::future::join_all(many).await;
        // Whatever follows the answer has its time as well.
        tokio::time::sleep(Duration::from_millis(20)).await;
        ended.remove(0).map(drop)
    };
    let mut attacked = std::pin::pin!(attacked);
    let mut waited = Duration::ZERO;
    loop {
        let began = Clock::of([serves, Thread::this()]);
        tokio::select! {
            biased;
            outcome = &mut attacked => {
                let memory = alloc::peak() - baseline;
                honest.call("run", ()).await.expect("an answer");
                let cost = Cost { memory, sent: Sent::default() };
                return Ended { outcome, cost, waited };
            }
            () = async {
                honest.call("run", ()).await.expect("an answer");
                waited = waited.max(began.elapsed());
                tokio::time::sleep(Duration::from_millis(2)).await;
            } => {}
        }
    }
}

fn attack(honest: &Victim, script: impl FnOnce(&Peer)) -> Ended {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("hostile");
    let listener = UnixListener::bind(&path).expect("a socket");
    let addresses = (Address::Unix(path), Address::Unix(honest.path.clone()));
    let serves = honest.serves;
    let (done, is_done) = mpsc::channel();
    let victim = thread("caller", move || {
        let ended = local(caller(addresses.0, addresses.1, serves));
        let _ = done.send(());
        ended
    });
    Sent::take();
    let peer = Peer::of(listener.accept().expect("the caller").0).reading();
    // The bootstrap, the entrypoint and the first session.
    assert!(peer.wait(|seen| seen.asked.len() >= 5), "the caller calls");
    script(&peer);
    is_done
        .recv_timeout(crate::peer::PATIENCE)
        .expect("the caller hangs");
    let mut ended = victim.join().expect("the caller lives");
    ended.cost.sent = Sent::take();
    ended
}

impl Ended {
    /// Judges how the call ended: with an error that has this text, or in any way if there is none.
    fn judged(self, says: &str) -> Attempt {
        let outcome = match self.outcome {
            // Whatever it is, it is not waited for.
            Ok(()) if says.is_empty() => Ok("answered".into()),
            Err(error) if error.to_string().contains(says) => {
                let shown: String = error.to_string().chars().take(70).collect();
                Ok(format!("{}: {shown}", error.kind()))
            }
            other => Err(format!("{other:?}, not {says:?}")),
        };
        Attempt {
            outcome,
            cost: self.cost,
            waited: self.waited,
        }
    }
}

#[test]
fn bytes_that_are_no_message() {
    let honest = Victim::start(limits());
    let mut report = Report::default();
    for raw in raw::all() {
        let says = match raw.end {
            End::Closed => "connection lost",
            End::Late => "did not come within",
        };
        report.add(raw.name, || {
            let script = |peer: &Peer| assert!(peer.send(&raw.bytes) || raw.bytes.len() > 4096);
            attack(&honest, script).judged(says)
        });
    }
    report.finish("caller");
    honest.stop();
}

fn returning(id: u32, change: impl FnOnce(return_::Builder<'_>)) -> Vec<u8> {
    message(|m| {
        let mut it = m.init_return();
        it.set_answer_id(id);
        change(it);
    })
}

fn throws(id: u32, reason: &str) -> Vec<u8> {
    returning(id, |r| r.init_exception().set_reason(reason))
}

/// The bootstrap is a capability of the callee's that it hosts, 0.
fn hosted() -> Vec<u8> {
    returns(0, |_, mut cap| cap.set_sender_hosted(0))
}

/// Throws at all that is asked.
fn throw_all(peer: &Peer, reason: &str) {
    for id in peer.seen().asked {
        peer.send(&throws(id, reason));
    }
}

struct Attack {
    name: &'static str,
    /// What the error says.
    says: &'static str,
    run: fn(&Peer),
}

#[test]
fn answers_that_no_callee_gives() {
    const LOST: &str = "connection lost: the peer broke the protocol";
    const DEADLINE: &str = "deadline";
    let attacks = [
        Attack {
            name: "no answer",
            says: DEADLINE,
            run: |_| {},
        },
        Attack {
            name: "the end",
            says: "connection lost",
            run: |p| p.half_close(),
        },
        Attack {
            name: "the end after the bootstrap",
            says: "connection lost",
            run: |p| {
                p.send(&hosted());
                p.half_close();
            },
        },
        Attack {
            name: "a bootstrap that never resolves",
            says: DEADLINE,
            run: |p| {
                p.send(&returns(0, |_, mut c| c.set_sender_promise(0)));
            },
        },
        Attack {
            name: "a bootstrap that resolves to itself",
            says: "resolves to itself",
            run: |p| {
                p.send(&returns(0, |_, mut c| c.set_sender_promise(5)));
                p.send(&resolve(5, |mut c| c.set_sender_promise(5)));
            },
        },
        Attack {
            name: "a bootstrap in a row of 20,000 promises",
            says: "",
            run: |p| {
                p.send(&returns(0, |_, mut c| c.set_sender_promise(5)));
                p.flood(20_000, |i| {
                    resolve(5 + i, |mut c| c.set_sender_promise(6 + i))
                });
            },
        },
        Attack {
            name: "a bootstrap that resolves to an answer",
            says: "one of our answers",
            run: |p| {
                p.send(&returns(0, |_, mut c| c.set_sender_promise(5)));
                p.send(&resolve(5, |c| answer(c.init_receiver_answer(), 0, &[])));
            },
        },
        Attack {
            name: "a bootstrap that is ours",
            says: "",
            run: |p| {
                p.send(&returns(0, |_, mut c| c.set_receiver_hosted(0)));
            },
        },
        Attack {
            name: "a bootstrap that is an answer of ours",
            says: LOST,
            run: |p| {
                p.send(&returns(0, |_, c| answer(c.init_receiver_answer(), 0, &[])));
            },
        },
        Attack {
            name: "a bootstrap that is a third party's",
            says: "third party",
            run: |p| {
                p.send(&returns(0, |_, c| {
                    c.init_third_party_hosted();
                }));
            },
        },
        Attack {
            name: "a bootstrap that is nothing",
            says: "",
            run: |p| {
                p.send(&returns(0, |_, mut c| c.set_none(())));
                throw_all(p, "no");
            },
        },
        Attack {
            name: "a bootstrap that throws",
            says: "no",
            run: |p| {
                p.send(&throws(0, "no"));
                throw_all(p, "no");
            },
        },
        Attack {
            name: "returns without content",
            says: "",
            run: |p| {
                for id in p.seen().asked {
                    p.send(&returning(id, |r| {
                        r.init_results();
                    }));
                }
            },
        },
        Attack {
            name: "a return, twice",
            says: "not asked",
            run: |p| {
                p.send(&[throws(1, "no"), throws(1, "no"), throws(1, "no")].concat());
            },
        },
        Attack {
            name: "a return for no question",
            says: "not asked",
            run: |p| {
                p.send(&throws(7777, "no"));
            },
        },
        Attack {
            name: "a return from another question",
            says: "results are elsewhere",
            run: |p| {
                p.send(&returning(0, |mut r| r.set_take_from_other_question(1)));
            },
        },
        Attack {
            name: "a return whose results went elsewhere",
            says: "results are elsewhere",
            run: |p| {
                p.send(&returning(0, |mut r| r.set_results_sent_elsewhere(())));
            },
        },
        Attack {
            name: "a return from a third party",
            says: "results are elsewhere",
            run: |p| {
                p.send(&returning(0, |r| {
                    r.init_accept_from_third_party();
                }));
            },
        },
        Attack {
            name: "everything is cancelled",
            says: "the peer cancelled the call",
            run: |p| {
                for id in p.seen().asked {
                    p.send(&returning(id, |mut r| r.set_canceled(())));
                }
            },
        },
        Attack {
            name: "everything throws 1 MiB",
            says: "xxxx",
            run: |p| throw_all(p, &"x".repeat(1 << 20)),
        },
        Attack {
            name: "everything throws without a reason",
            says: "",
            run: |p| {
                for id in p.seen().asked {
                    p.send(&returning(id, |r| {
                        r.init_exception();
                    }));
                }
            },
        },
        Attack {
            name: "an abort of 8 MiB",
            says: "xxxx",
            run: |p| {
                p.send(&abort(&"x".repeat(8 << 20)));
            },
        },
        Attack {
            name: "an abort",
            says: "the peer closed the connection: goodbye",
            run: |p| {
                p.send(&abort("goodbye"));
            },
        },
        Attack {
            name: "1,033 capabilities in a result",
            says: "1033 capabilities",
            run: |p| {
                p.send(&returning(0, |r| {
                    caps(r.init_results(), 1033, |i, mut c| c.set_sender_hosted(i))
                }));
            },
        },
        Attack {
            name: "1,032 capabilities in each result",
            says: "",
            run: |p| {
                for id in p.seen().asked {
                    p.send(&returning(id, |r| {
                        caps(r.init_results(), 1032, |i, mut c| {
                            c.set_sender_hosted(2000 * id + i)
                        })
                    }));
                }
            },
        },
        Attack {
            name: "1,032 promises in each result",
            says: "",
            run: |p| {
                for id in p.seen().asked {
                    p.send(&returning(id, |r| {
                        caps(r.init_results(), 1032, |i, mut c| {
                            c.set_sender_promise(2000 * id + i)
                        })
                    }));
                }
            },
        },
        Attack {
            name: "a call of what it does not hold",
            says: "does not hold",
            run: |p| {
                p.send(&nonsense(1, To::Export(0)));
            },
        },
        Attack {
            name: "calls of what is not there",
            says: DEADLINE,
            run: |p| {
                p.flood(10_000, |i| nonsense(i, To::Answer(0x7fff_0000, 0)));
            },
        },
        Attack {
            name: "20,000 bootstraps",
            says: "",
            run: |p| p.flood(20_000, bootstrap),
        },
        Attack {
            name: "a chain of calls on a bootstrap",
            says: DEADLINE,
            run: |p| {
                p.send(&bootstrap(0));
                p.flood(5_000, |i| nonsense(1 + i, To::Answer(i, 0)));
            },
        },
        Attack {
            name: "a release of what it does not hold",
            says: "does not hold",
            run: |p| {
                p.send(&release(3, 1));
            },
        },
        Attack {
            name: "a disembargo that comes back unasked",
            says: "not asked for",
            run: |p| {
                p.send(&message(|m| {
                    let mut d = m.init_disembargo();
                    d.reborrow().init_target().set_imported_cap(0);
                    d.init_context().set_receiver_loopback(9);
                }));
            },
        },
        Attack {
            name: "100,000 finishes of no question",
            says: DEADLINE,
            run: |p| p.flood(100_000, finish),
        },
        Attack {
            name: "resolves of no promise",
            says: DEADLINE,
            run: |p| {
                p.flood(10_000, |i| {
                    resolve(1 << 20, move |mut c| c.set_sender_hosted(i))
                })
            },
        },
    ];
    let honest = Victim::start(limits());
    let mut report = Report::default();
    for it in attacks {
        report.add(it.name, || attack(&honest, it.run).judged(it.says));
    }
    report.finish("caller");
    honest.stop();
}
