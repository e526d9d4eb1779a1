//! Much of what is allowed, against a real server: every table has its bound.
//!
//! Whether the abort that says why still arrives is a race against everything else that is to be read.

use crate::messages::*;
use crate::on_server::Expect::*;
use crate::on_server::{Attack, Expect, all, attack, promise};
use crate::peer::Peer;
use crate::report::Report;

/// Questions beyond those of a session.
const FIRST: u32 = 10;

/// The session of the session: calls of it wait until it is over, which it never is.
const WAITS: To = To::Answer(3, 1);

/// More of something than there may be.
pub const CALLS: &[Attack] = &[
    Attack {
        name: "20,000 calls, each on the result of the one before",
        expect: Refused("depends on was refused"),
        run: |p| {
            p.send(&session(1));
            p.send(&nonsense(FIRST, WAITS));
            p.flood(15_000, |i| {
                nonsense(FIRST + 1 + i, To::Answer(FIRST + i, 0))
            });
        },
    },
    Attack {
        name: "65 calls, each on the result of the one before",
        expect: Refused("pipelined on each other"),
        run: |p| {
            p.send(&session(1));
            p.send(&nonsense(FIRST, WAITS));
            p.flood(65, |i| nonsense(FIRST + 1 + i, To::Answer(FIRST + i, 0)));
        },
    },
    Attack {
        name: "64 calls, each on the result of the one before, and the end",
        expect: Closed,
        run: |p| {
            p.send(&session(1));
            p.send(&nonsense(FIRST, WAITS));
            p.flood(63, |i| nonsense(FIRST + 1 + i, To::Answer(FIRST + i, 0)));
            p.half_close();
        },
    },
    Attack {
        name: "calls, each with the result of the one before",
        expect: Refused("pipelined on each other"),
        run: |p| {
            p.send(&session(1));
            p.send(&nonsense(FIRST, WAITS));
            p.flood(100, |i| {
                with_caps(FIRST + 1 + i, WAITS, 1, move |_, c| {
                    answer(c.init_receiver_answer(), FIRST + i, &[0])
                })
            });
        },
    },
    Attack {
        name: "5,000 calls that wait",
        expect: Refused("too many calls in flight"),
        run: |p| {
            p.send(&session(1));
            p.flood(5_000, |i| nonsense(FIRST + i, WAITS));
        },
    },
    Attack {
        name: "20,000 calls that wait",
        expect: Closed,
        run: |p| {
            p.send(&session(1));
            p.flood(20_000, |i| nonsense(FIRST + i, WAITS));
        },
    },
    Attack {
        name: "20,000 calls that are not finished",
        expect: Closed,
        run: |p| {
            p.flood(20_000, |i| nonsense(FIRST + i, To::Answer(0, 0)));
        },
    },
    Attack {
        name: "20,000 bootstraps",
        expect: Closed,
        run: |p| {
            p.flood(20_000, |i| bootstrap(FIRST + i));
        },
    },
    Attack {
        name: "calls with random ids",
        expect: Closed,
        run: |p| {
            p.flood(20_000, |i| {
                nonsense(
                    (FIRST + i).wrapping_mul(0x9e37_79b1) | 0x8000_0000,
                    To::Answer(0, 0),
                )
            });
        },
    },
    Attack {
        name: "40 waiting calls of 1 MiB",
        expect: Refused("too large together"),
        run: |p| {
            p.send(&session(1));
            let big = vec![0; 1 << 20];
            for i in 0..40 {
                p.send(&run(FIRST + i, WAITS, "m", &big));
            }
        },
    },
    Attack {
        name: "66,000 calls that are cancelled",
        expect: Closed,
        run: |p| {
            p.send(&session(1));
            p.flood(66_000, |i| {
                [nonsense(FIRST + i, WAITS), finish(FIRST + i)].concat()
            });
        },
    },
    Attack {
        name: "30,000 finishes of no question",
        expect: Alive,
        run: |p| p.flood(30_000, |i| finish(FIRST + i)),
    },
    Attack {
        name: "30,000 releases of nothing",
        expect: Alive,
        run: |p| p.flood(30_000, |_| release(0, 0)),
    },
    Attack {
        name: "sessions whose capabilities are kept, until there are too many",
        expect: Refused("depends on was refused"),
        run: |p| {
            for i in 0..6_000 {
                let first = FIRST + 3 * i;
                let keep = |q| {
                    message(|m| {
                        let mut f = m.init_finish();
                        f.set_question_id(q);
                        f.set_release_result_caps(false);
                    })
                };
                p.send(&session(first));
                p.wait(|s| s.returned.contains(&(first + 2)) || s.over);
                p.send(&[keep(first), keep(first + 1), keep(first + 2)].concat());
                if p.seen().overloaded > 0 {
                    return;
                }
            }
        },
    },
    Attack {
        name: "20,000 capabilities passed",
        expect: Refused("capabilities were passed"),
        run: |p| {
            p.send(&session(1));
            p.flood(20, |i| {
                with_caps(FIRST + i, WAITS, 1000, move |n, mut c| {
                    c.set_sender_hosted(1000 * i + n)
                })
            });
        },
    },
    Attack {
        name: "5,000 promises passed",
        expect: Refused("too many promises"),
        run: |p| {
            p.send(&session(1));
            p.flood(5, |i| {
                with_caps(FIRST + i, WAITS, 1000, move |n, mut c| {
                    c.set_sender_promise(1000 * i + n)
                })
            });
        },
    },
    Attack {
        name: "one capability a million times",
        expect: Alive,
        run: |p| {
            p.send(&session(1));
            p.flood(1000, |i| {
                with_caps(FIRST + i, WAITS, 1000, move |_, mut c| {
                    c.set_sender_hosted(7)
                })
            });
        },
    },
    Attack {
        name: "17,000 resolves of no promise",
        expect: Alive,
        run: |p| {
            p.flood(17_000, |i| {
                resolve(1 << 20, move |mut c| c.set_sender_promise(i))
            })
        },
    },
];

#[test]
fn floods_of_calls() {
    let mut report = Report::default();
    all(&mut report, CALLS);
    report.finish("server");
}

/// Replies that are not read.
pub const UNREAD: &[Attack] = &[
    Attack {
        name: "bootstraps, and nothing is read",
        expect: Dropped,
        run: |p| p.flood(300_000, |i| bootstrap(FIRST + i)),
    },
    Attack {
        name: "bootstraps that are finished, and nothing is read",
        expect: Dropped,
        run: |p| {
            p.flood(300_000, |i| {
                [bootstrap(FIRST + i), finish(FIRST + i)].concat()
            })
        },
    },
    Attack {
        name: "calls, and nothing is read",
        expect: Dropped,
        run: |p| {
            p.flood(300_000, |i| {
                [nonsense(FIRST + i, To::Answer(0, 0)), finish(FIRST + i)].concat()
            })
        },
    },
    Attack {
        name: "capabilities that are let go of, and nothing is read",
        expect: Dropped,
        run: |p| {
            p.flood(300, |i| {
                [
                    with_caps(FIRST + i, To::Answer(0, 0), 1000, |n, mut c| {
                        c.set_sender_hosted(n)
                    }),
                    finish(FIRST + i),
                ]
                .concat()
            })
        },
    },
    Attack {
        name: "a broken protocol with replies unread",
        expect: Dropped,
        run: |p| {
            p.flood(10_000, |i| bootstrap(FIRST + i));
            p.send(&release(77, 1));
        },
    },
    Attack {
        name: "the end with replies unread",
        expect: Dropped,
        run: |p| {
            promise(p);
            p.flood(10_000, |i| bootstrap(FIRST + i));
            p.half_close();
        },
    },
];

#[test]
fn peers_that_do_not_read() {
    let mut report = Report::default();
    all(&mut report, UNREAD);
    report.finish("server");
}

pub fn come_and_go(path: &std::path::Path) {
    for _ in 0..1000 {
        Peer::connect(path).send(&bootstrap(0));
    }
}

#[test]
fn connections_that_say_little() {
    let mut report = Report::default();
    let hold = |path: &std::path::Path, count: usize, bytes: &[u8]| {
        let peers: Vec<Peer> = (0..count).map(|_| Peer::connect(path).reading()).collect();
        peers.iter().for_each(|peer| assert!(peer.send(bytes)));
        peers
            .iter()
            .try_for_each(|peer| Expect::Closed.check(peer).map(drop))?;
        Ok(format!("{count} closed"))
    };
    let http: [(&str, Vec<u8>); 7] = [
        ("GET", b"GET / HTTP/1.1\r\n\r\n".to_vec()),
        (
            "CONNECT with 9 KiB of headers",
            [b"CONNECT S HTTP/1.1\r\n".to_vec(), vec![b'x'; 9 << 10]].concat(),
        ),
        ("CONNECT that stops", b"CONNECT S HTT".to_vec()),
        (
            "CONNECT that is not text",
            b"CONNECT \xff\xfe HTTP/1.1\r\n\r\n".to_vec(),
        ),
        (
            "CONNECT, and nothing",
            b"CONNECT S HTTP/1.1\r\n\r\n".to_vec(),
        ),
        (
            "CONNECT, and noise",
            [b"CONNECT S HTTP/1.1\r\n\r\n".to_vec(), vec![0xa5; 9000]].concat(),
        ),
        ("nothing", Vec::new()),
    ];
    for (name, bytes) in http {
        attack(&mut report, name, |path| hold(path, 1, &bytes));
    }
    let claims = [0u32.to_le_bytes(), (4u32 << 20).to_le_bytes()].concat();
    attack(&mut report, "100 connections that claim 32 MiB", |path| {
        hold(path, 100, &claims)
    });
    attack(&mut report, "300 connections that say nothing", |path| {
        hold(path, 300, &[])
    });
    attack(
        &mut report,
        "300 connections that begin, and nothing",
        |path| {
            // Each at once: a first message that comes late is another input.
            let begin = |_| {
                let peer = Peer::connect(path).reading();
                peer.send(&bootstrap(0));
                peer
            };
            let peers: Vec<Peer> = (0..300).map(begin).collect();
            peers
                .iter()
                .try_for_each(|peer| Expect::Alive.check(peer).map(drop))?;
            Ok("open".into())
        },
    );
    attack(&mut report, "a byte at a time", |path| {
        let peer = Peer::connect(path).reading();
        for byte in bootstrap(0) {
            peer.send(&[byte]);
            // Others may have the processor, but time is not to pass: there is a deadline.
            std::thread::yield_now();
        }
        Expect::Alive.check(&peer)
    });
    attack(&mut report, "1,000 connections that come and go", |path| {
        come_and_go(path);
        Ok("gone".into())
    });
    report.finish("server");
}
