//! The exporter's thread: takes batches from the queue and delivers them, one after the other.
//!
//! It has a runtime of its own, so that neither a slow receiver nor the work of a large batch is felt by
//! the thread that serves calls.

use std::sync::{Arc, mpsc};

use tokio::runtime::{Builder, Runtime};

use super::deliver::Courier;
use super::queue::Queue;
use super::report::Report;
use super::settings::Settings;
use super::stats::OtelStats;
use super::{message, transport};

/// Starts the thread. What comes through the channel is that it is done.
pub(super) fn start(settings: Settings, queue: Arc<Queue>) -> Result<mpsc::Receiver<()>, String> {
    let tls = transport::tls(&settings.target)?;
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("cannot start a runtime: {error}"))?;
    let (done, is_done) = mpsc::channel();
    let work = move || {
        export(&runtime, settings, tls, &queue);
        // A name that is still being looked up is not waited for.
        runtime.shutdown_background();
        let _ = done.send(());
    };
    let thread = std::thread::Builder::new().name("otlp".into());
    thread
        .spawn(work)
        .map_err(|error| format!("cannot start a thread: {error}"))?;
    Ok(is_done)
}

fn export(runtime: &Runtime, settings: Settings, tls: rustls::ClientConfig, queue: &Arc<Queue>) {
    let stats = queue.stats.clone();
    let mut report = Report::new(stats.clone(), settings.target.endpoint.to_string());
    runtime.block_on(async {
        // A client wants to be made where there is a runtime.
        let courier = Courier::new(&settings.target, tls);
        let work = deliver_all(&courier, &settings, queue, &stats);
        let end = async {
            let until = queue.closed().await;
            tokio::time::sleep_until(until.into()).await;
        };
        tokio::select! {
            () = work => {}
            () = end => {}
            () = report.run() => {}
        }
    });
    stats.give_up();
    report.say();
}

async fn deliver_all(courier: &Courier, settings: &Settings, queue: &Queue, stats: &OtelStats) {
    let resource = message::resource(&settings.resource);
    while let Some(batch) = queue.next().await {
        let spans = batch.len() as u64;
        let bytes = batch.iter().map(|span| span.bytes).sum();
        let request = message::request(&resource, batch);
        let outcome = courier.deliver(request, spans, queue).await;
        queue.budget.give_back(bytes);
        match outcome {
            Ok(taken) => {
                let rejected = taken.rejected.min(spans);
                stats.delivered(spans - rejected, rejected, taken.problem);
            }
            Err(problem) => stats.delivered(0, spans, Some(problem)),
        }
    }
}
