//! SQL that no honest client sends, to the real `callee` within an address space, beside honest clients of the same
//! database: every call ends in time with the answer that it should have, no process takes more than it may, the
//! callee stays, and the honest clients do not notice.
//!
//! One test, in order, since it measures. `HOSTILE_SQL_VERBOSE=1` prints each call; `HOSTILE_SQL_ONLY=memory,time`
//! runs some themes. Figures: `cargo test -p binding-span-daemons --test hostile_sql -- --nocapture`.

mod case;
mod disk;
mod greedy;
mod honest;
mod kills;
mod memory;
mod refused;
mod scene;
mod schemas;
mod table;
mod time;
#[path = "../util.rs"]
mod util;

use std::time::{Duration, Instant};

use case::Case;
use greedy::Greedy;
use honest::{Honest, Samples};
use scene::Scene;
use table::{Row, Table};

/// What an honest call may take, of a hundred but one.
pub const P99: f64 = 100.0;

type Theme = (&'static str, fn() -> Vec<Case>);

const THEMES: &[Theme] = &[
    ("memory", memory::cases),
    ("time", time::cases),
    ("disk", disk::cases),
    ("temp schema", schemas::temporary),
    ("functions", refused::functions),
    ("schema", schemas::tricks),
    ("windows", refused::windows),
    ("parameters", refused::parameters),
    ("transactions", refused::transactions),
    ("texts", refused::texts),
];

/// Whether a part of the suite is to run.
fn wanted(name: &str) -> bool {
    let only = std::env::var("HOSTILE_SQL_ONLY").unwrap_or_default();
    only.is_empty() || only.split(',').any(|part| part == name)
}

#[test]
fn hostile_sql_costs_nobody_else_anything() {
    let began = Instant::now();
    let mut table = Table::default();
    statements(&mut table);
    if wanted("greedy") {
        greedy(&mut table);
    }
    if wanted("kills") {
        kills::run(&mut table);
    }
    println!("{table}");
    println!("{:.0} s in all", began.elapsed().as_secs_f64());
    assert!(table.wrong.is_empty(), "{}", table.wrong.join("\n"));
}

fn statements(table: &mut Table) {
    let themes: Vec<_> = THEMES.iter().filter(|(name, _)| wanted(name)).collect();
    if themes.is_empty() {
        return;
    }
    let scene = Scene::new(util::World::in_memory());
    let (reader, writer) = (Honest::reader(&scene), Honest::writer(&scene, 1));
    warm_up(&scene, &reader, &writer);
    let mut all = [Samples::default(), Samples::default()];
    for (name, cases) in themes {
        let began = Instant::now();
        let done = case::run(&scene, cases(), |pause| {
            reader.pause(pause);
            writer.pause(pause);
        });
        let honest = [reader.take(), writer.take()];
        let row = Row {
            theme: name,
            took: began.elapsed(),
            done,
            peaks: scene.watch.take(),
            honest: honest.each_ref().map(Samples::figures),
        };
        println!("{row}");
        table.add(row);
        for (all, samples) in all.iter_mut().zip(honest) {
            all.extend(samples);
        }
    }
    for samples in all {
        table.bounded("beside statements", &samples.figures());
    }
    end(table, scene, reader, writer);
}

fn warm_up(scene: &Scene, reader: &Honest, writer: &Honest) {
    std::thread::sleep(Duration::from_millis(300));
    let _ = (scene.watch.take(), reader.take(), writer.take());
}

fn end(table: &mut Table, scene: Scene, reader: Honest, writer: Honest) {
    let _ = reader.stop();
    let written = writer.stop();
    table.check_log(&scene, &written);
    if util::read(std::path::Path::new(&format!("/proc/{}/comm", scene.pid))) != "callee\n" {
        table.wrong("the callee is gone".to_owned());
    }
    assert!(scene.callee.stop().success());
}

fn greedy(table: &mut Table) {
    let scene = Scene::new(util::World::in_memory());
    let (reader, writer) = (Honest::reader(&scene), Honest::writer(&scene, 1));
    warm_up(&scene, &reader, &writer);
    let mut all = [Samples::default(), Samples::default()];
    for kind in greedy::ALL {
        let mut honest = beside(table, &scene, kind, [&reader, &writer]);
        let good = honest.iter().all(|samples| samples.figures().is_good());
        if !good && !kind.many {
            // Others may have had the machine for a while; they do not twice.
            table.note("    once more".to_owned());
            honest = beside(table, &scene, kind, [&reader, &writer]);
        }
        let bounded = all.iter_mut().filter(|_| !kind.many);
        for (all, samples) in bounded.zip(honest) {
            all.extend(samples);
        }
    }
    for samples in all {
        table.bounded("beside greedy clients", &samples.figures());
    }
    end(table, scene, reader, writer);
}

/// How it went beside a greedy client.
fn beside(table: &mut Table, scene: &Scene, kind: &Greedy, honest: [&Honest; 2]) -> [Samples; 2] {
    let came = greedy::run(scene, *kind);
    table.greedy(kind.name, &came, scene.watch.take());
    honest.map(|honest| {
        let samples = honest.take();
        table.note(format!("    honest {}", samples.figures()));
        samples
    })
}
