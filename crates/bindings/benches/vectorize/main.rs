//! Vectorize over its public interface: one file and PostgreSQL with pgvector, by the same vectors and queries.
//!
//! `cargo bench -p binding-span-bindings --bench vectorize [-- VECTORS]`; 100,000 vectors of 768 dimensions from a fixed seed
//! without an argument. Then 10,000 real embeddings (see `data`). `-- N --no-postgres` and `-- N --no-real` leave parts out.
//!
//! The plain loop is what one thread needs to read all vectors' values once.

mod data;
#[path = "../../tests/common/postgres.rs"]
#[allow(dead_code)]
mod postgres;

use std::collections::HashSet;
use std::error::Error;
use std::fs;
use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

use bindings::vectorize::{
    Filter, IndexOptions, Limits, MetadataIndex, MetadataLevel, MetadataType, Metric, Nearest,
    PostgresOptions, Query, Search, Store, Vector, Vectorize, Write,
};
use data::{Data, QUERIES};
use rustix::time::{ClockId, clock_gettime};
use serde_json::json;

/// As in the programs.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Failure = Box<dyn Error>;

const K: usize = 10;
const BATCH: usize = 1000;
/// Queries that are answered exactly.
const EXACT_QUERIES: usize = 200;
/// A filter takes one vector of so many.
const FILTERS: [u64; 2] = [10, 100];

/// Milliseconds, in order.
struct Times(Vec<f64>);

impl Times {
    fn at(&self, share: f64) -> f64 {
        self.0[((self.0.len() - 1) as f64 * share) as usize]
    }
}

/// Seconds that this process has had of a processor; those of other processes are not in it.
fn cpu() -> f64 {
    let now = clock_gettime(ClockId::ProcessCPUTime);
    now.tv_sec as f64 + now.tv_nsec as f64 / 1e9
}

fn resident() -> f64 {
    let pages = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = pages
        .split(' ')
        .nth(1)
        .and_then(|pages| pages.parse::<f64>().ok());
    pages.unwrap_or(0.0) * 4096.0 / 1e6
}

fn size(path: &Path) -> f64 {
    fs::metadata(path).map_or(0.0, |file| file.len() as f64 / 1e6)
}

/// What one kind of query gave.
struct Run {
    found: Vec<Vec<String>>,
    wall: Times,
    /// CPU time of a query, ms.
    cpu: f64,
    by_index: usize,
}

async fn run(
    index: &Vectorize,
    data: &Data,
    filter: Option<u64>,
    count: usize,
) -> Result<Run, Failure> {
    let mut run = Run {
        found: Vec::new(),
        wall: Times(Vec::new()),
        cpu: 0.0,
        by_index: 0,
    };
    let limits = Limits::default();
    let filter = filter.map(|of| Filter::parse(&json!({ format!("of{of}"): 0 }), &limits));
    let filter = filter.transpose()?;
    let query = |at: usize| Query {
        nearest: Nearest::To(data.query(at).to_vec()),
        top_k: K,
        namespace: None,
        filter: filter.clone(),
        values: false,
        metadata: MetadataLevel::None,
    };
    for at in 0..count.min(5) {
        index.query(query(at)).await?; // so that caches are warm
    }
    let start = cpu();
    for at in 0..count {
        let query = query(at);
        let began = Instant::now();
        let found = index.query(query).await?;
        run.wall.0.push(began.elapsed().as_secs_f64() * 1e3);
        run.by_index += usize::from(found.search == Search::Index);
        run.found
            .push(found.matches.into_iter().map(|found| found.id).collect());
    }
    run.cpu = (cpu() - start) / count as f64 * 1e3;
    run.wall.0.sort_by(f64::total_cmp);
    Ok(run)
}

fn recall(found: &Run, right: &Run) -> f64 {
    let (mut hits, mut all) = (0, 0);
    for (found, right) in found.found.iter().zip(&right.found) {
        let right: HashSet<_> = right.iter().collect();
        hits += found.iter().filter(|id| right.contains(id)).count();
        all += right.len();
    }
    hits as f64 / all.max(1) as f64
}

fn options(data: &Data, exact_below: u64) -> IndexOptions {
    let property = |of: &u64| MetadataIndex {
        property: format!("of{of}"),
        kind: MetadataType::Number,
    };
    IndexOptions {
        create: true,
        dimensions: Some(data.dimensions),
        metric: Some(Metric::Cosine),
        metadata_indexes: FILTERS.iter().map(property).collect(),
        exact_below,
        timeout: Duration::from_secs(600),
        ..IndexOptions::default()
    }
}

async fn fill(index: &Vectorize, data: &Data) -> Result<f64, Failure> {
    let start = Instant::now();
    for first in (0..data.len()).step_by(BATCH) {
        let rows = first..(first + BATCH).min(data.len());
        let batch = rows.map(|row| {
            let of = |of: &u64| (format!("of{of}"), json!(data.class(row) % of));
            Vector {
                id: format!("v{row}"),
                values: data.row(row).to_vec(),
                namespace: None,
                metadata: Some(FILTERS.iter().map(of).collect()),
            }
        });
        index.write(Write::Insert, batch.collect()).await?;
    }
    Ok(data.len() as f64 / start.elapsed().as_secs_f64())
}

/// Until all vectors are in the approximate index.
async fn indexed(index: &Vectorize) -> Result<f64, Failure> {
    let start = Instant::now();
    let mut reported = Instant::now();
    loop {
        let status = index.status();
        if let Some(failing) = status.failing {
            return Err(failing.into());
        }
        if status.indexed >= status.vectors {
            return Ok(start.elapsed().as_secs_f64());
        }
        if reported.elapsed() > Duration::from_secs(30) {
            reported = Instant::now();
            eprintln!("  ({} of {} indexed)", status.indexed, status.vectors);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn header() {
    println!(
        "| {:34} | p50 ms | p99 ms | CPU ms | of exact | recall@{K} | by index |\n|{:-<36}|--------|--------|--------|----------|-----------|----------|",
        "query", ""
    );
}

fn line(name: &str, run: &Run, exact: &Run, right: &Run) {
    println!(
        "| {name:34} | {:6.2} | {:6.2} | {:6.2} | {:7.1}x | {:9.4} | {:7.0}% |",
        run.wall.at(0.5),
        run.wall.at(0.99),
        run.cpu,
        exact.wall.at(0.5) / run.wall.at(0.5),
        recall(run, right),
        run.by_index as f64 / run.found.len() as f64 * 100.0,
    );
}

/// Without a filter, then with each.
async fn runs(index: &Vectorize, data: &Data, count: usize) -> Result<Vec<Run>, Failure> {
    let mut all = vec![run(index, data, None, count).await?];
    for of in FILTERS {
        all.push(run(index, data, Some(of), count.min(EXACT_QUERIES)).await?);
    }
    Ok(all)
}

fn lines(name: &str, runs: &[Run], exact: &[Run]) {
    for (at, (run, exact)) in runs.iter().zip(exact).enumerate() {
        let filter = match at.checked_sub(1) {
            None => String::new(),
            Some(at) => format!(", filter of {}%", 100 / FILTERS[at]),
        };
        line(&format!("{name}{filter}"), run, exact, exact);
    }
}

/// A loop over all values, GB/s.
#[inline(never)]
fn plain(values: &[f32]) -> f64 {
    let mut best = f64::INFINITY;
    for _ in 0..10 {
        let start = Instant::now();
        let values = black_box(values).iter();
        black_box(values.fold(0u32, |sum, value| sum.wrapping_add(value.to_bits())));
        best = best.min(start.elapsed().as_secs_f64());
    }
    values.len() as f64 * 4e-9 / best
}

async fn file(data: &Data) -> Result<Vec<Run>, Failure> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("vectors.sqlite");
    let open = |exact_below| {
        Vectorize::open(
            "bench",
            Store::File(path.clone()),
            options(data, exact_below),
            None,
        )
    };
    let before = resident();
    let index = open(u64::MAX).await?;
    let rate = fill(&index, data).await?;
    println!("file: {rate:.0} vectors/s inserted, in batches of {BATCH}");
    index.close().await;
    drop(index);
    println!("  {:.0} MB of file", size(&path));
    let start = Instant::now();
    let index = open(u64::MAX).await?;
    println!("  opened in {:.2} s", start.elapsed().as_secs_f64());
    let exact = runs(&index, data, EXACT_QUERIES).await?;
    let gigabytes = data.values.len() as f64 * 4e-9;
    let (plain, speed) = (plain(&data.values), gigabytes / exact[0].wall.at(0.5) * 1e3);
    println!(
        "  exact at {speed:.1} GB/s, the plain loop at {plain:.1} GB/s: {:.2} of it",
        speed / plain
    );
    index.close().await;
    drop(index);

    let (index, start) = (open(1).await?, cpu());
    let seconds = indexed(&index).await?;
    println!(
        "  graph built in {seconds:.1} s, {:.1} s of CPU",
        cpu() - start
    );
    let graph = runs(&index, data, QUERIES).await?;
    let accounted = index.status().memory_bytes as f64 / 1e6;
    println!(
        "  memory: {:.0} MB resident more, {accounted:.0} MB accounted",
        resident() - before
    );
    index.close().await;
    drop(index);
    let all: f64 = fs::read_dir(folder.path())?
        .flatten()
        .map(|file| size(&file.path()))
        .sum();
    println!("  {all:.0} MB of files with the saved graph");
    let start = Instant::now();
    let index = open(1).await?;
    let opened = start.elapsed().as_secs_f64();
    let share = index.status().indexed as f64 / data.len() as f64;
    println!(
        "  opened in {opened:.2} s with the saved graph, {:.0}% indexed",
        share * 100.0
    );
    index.close().await;
    header();
    lines("file, exact", &exact, &exact);
    lines("file, index", &graph, &exact);
    Ok(exact)
}

async fn pgvector(data: &Data, exact: &[Run]) -> Result<(), Failure> {
    let server = postgres::Server::start(
        "maintenance_work_mem = '1GB'\nshared_buffers = '1GB'\nmax_wal_size = '4GB'",
    );
    let url = server.url(&server.database("bench"));
    let place = || Store::Postgres(PostgresOptions::new(&url, "vectors"));
    let index = Vectorize::open("bench", place(), options(data, u64::MAX), None).await?;
    let rate = fill(&index, data).await?;
    println!("pgvector: {rate:.0} vectors/s inserted, in batches of {BATCH}");
    let scans = runs(&index, data, 20).await?;
    index.close().await;
    let start = Instant::now();
    let index = Vectorize::open("bench", place(), options(data, 1), None).await?;
    indexed(&index).await?;
    println!("  hnsw built in {:.1} s", start.elapsed().as_secs_f64());
    let graph = runs(&index, data, QUERIES).await?;
    index.close().await;
    let size = server.psql("bench", "SELECT pg_database_size('bench') / 1000000");
    println!("  {size} MB of database");
    header();
    lines("pgvector, exact", &scans, exact);
    lines("pgvector, hnsw", &graph, exact);
    Ok(())
}

async fn measure(name: &str, data: &Data, with_postgres: bool) -> Result<(), Failure> {
    println!(
        "\n{name}: {} vectors of {} dimensions, {:.0} MB",
        data.len(),
        data.dimensions,
        data.values.len() as f64 * 4e-6
    );
    let exact = file(data).await?;
    if with_postgres {
        pgvector(data, &exact).await?;
    }
    Ok(())
}

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let given = |name: &str| arguments.iter().any(|argument| argument == name);
    let count = arguments.iter().find_map(|argument| argument.parse().ok());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let with_postgres = !given("--no-postgres");
        let data = Data::clusters(count.unwrap_or(100_000), 768);
        measure("clusters", &data, with_postgres).await?;
        drop(data);
        if !given("--no-real") {
            measure("all-MiniLM-L6-v2", &Data::real()?, with_postgres).await?;
        }
        Ok(())
    })
}
