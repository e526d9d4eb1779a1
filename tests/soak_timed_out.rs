//! Calls that time out leave nothing behind in `caller serve`, on either of its sides. The long run is the
//! bench `soak`.

#[path = "soak/measure.rs"]
mod measure;
#[path = "soak/timed_out.rs"]
mod timed_out;
mod util;

use measure::Watched;
use util::World;

/// So many that what each leaves behind on one connection, some hundred bytes, would show.
const CALLS: usize = 8_000;

const AT_ONCE: usize = 24;

#[test]
fn memory_is_flat_over_many_calls_that_time_out() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(Default::default())
        .unwrap();
    runtime.block_on(async {
        let world = World::new();
        let (swallow, serve) = (world.unix("swallow.sock"), world.unix("caller.sock"));
        tokio::task::spawn_local(timed_out::swallow(swallow.parse().unwrap()));
        while !world.path("swallow.sock").exists() {
            tokio::task::yield_now().await;
        }
        let bind = format!("S={swallow}");
        let args = ["serve", "--listen", &serve, "--bind", &bind];
        let caller = world.start(util::caller(), &args).ready();
        let mut watched = [Watched::new("caller serve", caller.id())];
        timed_out::run(&serve.parse().unwrap(), CALLS, AT_ONCE, &mut watched).await;
        let more = timed_out::more(&watched[0]);
        assert!(more <= 2048.0, "{more} KiB more");
        assert!(caller.stop().success());
    });
}
