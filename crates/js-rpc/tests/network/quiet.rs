//! Connections on which nothing happens, and those that have served their time.

use std::time::Duration;

use js_rpc::{NetworkLimits, Reason, RpcLimits};

use crate::messages::{To, bootstrap, finish, nonsense, session};
use crate::on_server::Expect;
use crate::peer::Peer;
use crate::victim::{Victim, limits};

fn with(network: impl FnOnce(NetworkLimits) -> NetworkLimits) -> RpcLimits {
    let limits = limits();
    RpcLimits {
        network: network(limits.network),
        ..limits
    }
}

#[test]
fn a_connection_without_a_session_is_closed_after_the_idle_time() {
    let limits = with(|network| NetworkLimits {
        first_frame: Duration::from_secs(5),
        idle: Duration::from_secs(1),
        ..network
    });
    let stats = limits.network.stats.clone();
    let victim = Victim::start(limits);
    let [idle, busy] = [(), ()].map(|()| Peer::connect(&victim.path).reading());
    for peer in [&idle, &busy] {
        assert!(peer.send(&bootstrap(0)));
    }
    assert!(busy.send(&session(1)));
    Expect::Abort("nothing happened").check(&idle).unwrap();
    // The other has had as many idle times by now, and then some.
    std::thread::sleep(Duration::from_millis(2500));
    Expect::Alive.check(&busy).unwrap();
    assert_eq!(stats.count(Reason::Idle), 1);
    victim.stop();
}

#[test]
fn a_connection_with_many_cancelled_calls_behind_it_is_closed_once_its_sessions_are_over() {
    const CALLS: u32 = 100;
    let limits = with(|network| NetworkLimits {
        recycle: CALLS as usize,
        ..network
    });
    let stats = limits.network.stats.clone();
    let victim = Victim::start(limits);
    let peer = Peer::connect(&victim.path).reading();
    assert!(peer.send(&[bootstrap(0), session(1)].concat()));
    peer.flood(2 * CALLS, |i| {
        [nonsense(10 + i, To::Answer(3, 1)), finish(10 + i)].concat()
    });
    Expect::Alive.check(&peer).unwrap();
    assert_eq!(stats.cancelled(), u64::from(2 * CALLS));
    assert!(peer.send(&[finish(1), finish(2), finish(3)].concat()));
    Expect::Abort("replaced by a new one").check(&peer).unwrap();
    victim.stop();
}
