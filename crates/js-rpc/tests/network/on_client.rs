//! A callee that no honest program is, against a real caller.

use std::os::unix::net::UnixListener;
use std::sync::mpsc;
use std::time::Duration;

use capnp_rpc::rpc_capnp::{exception, return_};
use js_rpc::{Address, CallError, ConnectOptions, Connection};

use crate::alloc;
use crate::clock::{Clock, Thread};
use crate::messages::*;
use crate::peer::{Peer, Seen, Sent};
use crate::raw::{self, End};
use crate::report::{Attempt, Cost, Report};
use crate::victim::{Victim, limits, local, thread};

/// Calls to the hostile callee.
const CALLS: usize = 8;

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
        let many = (0..CALLS).map(|_| connection.binding("S").call("run", ()).send());
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

/// When the caller is attacked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    /// It has asked how to call, and waits for the answer.
    Asking,
    /// It makes three calls for one, having been told that nothing else is known.
    ThreeCalls,
    /// It calls in one message.
    OneMessage,
}

impl When {
    /// Lets the caller come so far: it has asked for the bootstrap, and then how to call.
    fn prepare(self, peer: &Peer) {
        assert!(peer.wait(|seen| seen.asked.len() >= 2), "the caller asks");
        let ping = peer.seen().asked[1];
        let asked = match self {
            Self::Asking => return,
            Self::ThreeCalls => {
                peer.send(&unimplemented(ping));
                // The entrypoint, and each with its session.
                1 + 3 * CALLS
            }
            Self::OneMessage => {
                peer.send(&returning(ping, |r| _ = r.init_results()));
                CALLS
            }
        };
        // It is answered.
        peer.forget(1);
        let all = |seen: &Seen| seen.asked.len() > asked;
        assert!(peer.wait(all), "the caller calls");
    }
}

fn attack(honest: &Victim, when: When, script: impl FnOnce(&Peer)) -> Ended {
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
    when.prepare(&peer);
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

/// While the caller asks there is no call yet, so each of these comes then, and beside a call.
#[test]
fn bytes_that_are_no_message() {
    let honest = Victim::start(limits());
    for when in [When::Asking, When::OneMessage] {
        let mut report = Report::default();
        for raw in raw::all() {
            let says = match raw.end {
                End::Closed => "connection lost",
                End::Late => "did not come within",
            };
            report.add(raw.name, || {
                let script = |peer: &Peer| assert!(peer.send(&raw.bytes) || raw.bytes.len() > 4096);
                attack(&honest, when, script).judged(says)
            });
        }
        report.finish(&format!("caller ({when:?})"));
    }
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

/// An exception with these words as the pointer to its details, and what it leads to.
fn throws_with(id: u32, details: &[u64]) -> Vec<u8> {
    use raw::at;
    const RETURN: u64 = 3;
    const EXCEPTION: u64 = 1 << 48;
    let message = [
        at(0, 1, 1),
        RETURN,
        at(0, 2, 1),
        u64::from(id) | EXCEPTION,
        0,
    ];
    let exception = [at(0, 1, 3), 0, 0, 0];
    raw::frame(&[&message[..], &exception, details].concat())
}

fn throw_all_with(peer: &Peer, details: &[u64]) {
    answer_all(peer, 0, |id| throws_with(id, details));
}

/// A detail in which workerd has what was thrown, of so many bytes, none of which are a value.
fn thrown(bytes: u64) -> Vec<u64> {
    // How many there are stands where a pointer has its offset.
    let mut words = vec![raw::list(0, 7, 2), raw::at(1, 1, 1)];
    words.extend([0xe802_7292_171b_1646, raw::list(0, 2, bytes)]);
    words.resize(words.len() + bytes.div_ceil(8) as usize, u64::MAX);
    words
}

fn unimplemented(id: u32) -> Vec<u8> {
    returning(id, |r| {
        let mut it = r.init_exception();
        it.set_type(exception::Type::Unimplemented);
        it.set_reason("what is that?");
    })
}

/// The bootstrap is a capability of the callee's that it hosts, 0.
fn hosted() -> Vec<u8> {
    returns(0, |_, mut cap| cap.set_sender_hosted(0))
}

/// Answers all that is asked but for the first `answered`, and what is asked because of that.
fn answer_all(peer: &Peer, mut answered: usize, make: impl Fn(u32) -> Vec<u8>) {
    loop {
        let asked = peer.seen().asked;
        if asked.len() <= answered {
            return;
        }
        for id in &asked[answered..] {
            if !peer.send(&make(*id)) {
                return;
            }
        }
        answered = asked.len();
        std::thread::sleep(Duration::from_millis(50));
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
    const LOST: &str = "the peer broke the protocol";
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
                answer_all(p, 1, |id| throws(id, "no"));
            },
        },
        Attack {
            name: "a bootstrap that throws",
            says: "no",
            run: |p| {
                answer_all(p, 0, |id| throws(id, "no"));
            },
        },
        Attack {
            name: "returns without content",
            says: "",
            run: |p| {
                answer_all(p, 0, |id| returning(id, |r| _ = r.init_results()));
            },
        },
        Attack {
            name: "a return, twice",
            says: "not asked",
            run: |p| {
                let id = *p.seen().asked.last().expect("a question");
                p.send(&[throws(id, "no"), throws(id, "no"), throws(id, "no")].concat());
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
                answer_all(p, 0, |id| returning(id, |mut r| r.set_canceled(())));
            },
        },
        Attack {
            name: "everything throws 1 MiB",
            says: "xxxx",
            run: |p| answer_all(p, 0, |id| throws(id, &"x".repeat(1 << 20))),
        },
        Attack {
            name: "everything throws an error of 4 MiB",
            says: "Error",
            run: |p| throw_all_with(p, &thrown(4 << 20)),
        },
        Attack {
            name: "everything throws an error that is no value",
            says: "Error",
            run: |p| throw_all_with(p, &thrown(900 << 10)),
        },
        Attack {
            name: "everything throws with 500 million details of no size",
            says: "Error",
            run: |p| throw_all_with(p, &[raw::list(0, 7, 0), 500_000_000 << 2]),
        },
        Attack {
            name: "everything throws with details that are nowhere",
            says: "Error",
            run: |p| throw_all_with(p, &[raw::list(0, 7, 1 << 20)]),
        },
        Attack {
            name: "everything throws what looks like an attached error",
            says: "\u{1}0123456789abcdef",
            run: |p| {
                answer_all(p, 0, |id| {
                    throws(
                        id,
                        "\u{1}0123456789abcdef0123456789abcdef:/w9JVA==\njsg.Error: x",
                    )
                })
            },
        },
        Attack {
            name: "everything throws without a reason",
            says: "",
            run: |p| {
                answer_all(p, 0, |id| returning(id, |r| _ = r.init_exception()));
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
                p.send(&nonsense(1, To::Export(7)));
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
    for when in [When::Asking, When::ThreeCalls, When::OneMessage] {
        let mut report = Report::default();
        for it in &attacks {
            report.add(it.name, || attack(&honest, when, it.run).judged(it.says));
        }
        report.finish(&format!("caller ({when:?})"));
    }
    honest.stop();
}
