//! The vectors: clusters from a fixed seed, or embeddings of real sentences.

use std::error::Error;
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Queries, which are not among the vectors.
pub const QUERIES: usize = 1000;

const CLUSTERS: usize = 400;
const DIRECTIONS: usize = 48;
/// Embeddings, the queries included.
const REAL: usize = 10_000 + QUERIES;
/// Of all-MiniLM-L6-v2.
const REAL_DIMENSIONS: usize = 384;

pub struct Data {
    pub dimensions: usize,
    pub values: Vec<f32>,
    queries: Vec<f32>,
    classes: Vec<u64>,
}

impl Data {
    fn new(dimensions: usize, mut values: Vec<f32>) -> Self {
        let queries = values.split_off(values.len() - QUERIES * dimensions);
        let mut random = fastrand::Rng::with_seed(7);
        let classes = values.chunks_exact(dimensions).map(|_| random.u64(..));
        Self {
            dimensions,
            classes: classes.collect(),
            values,
            queries,
        }
    }

    /// 400 clusters of different sizes and spreads. Members differ from their centre mostly along 48 directions that all
    /// clusters share, the first of them most, as embeddings do.
    pub fn clusters(count: usize, dimensions: usize) -> Self {
        let mut random = fastrand::Rng::with_seed(42);
        // about normally distributed, variance 1
        let noise =
            |random: &mut fastrand::Rng| (0..4).map(|_| random.f32()).sum::<f32>() * 1.732 - 3.464;
        let many = |random: &mut fastrand::Rng, count: usize| -> Vec<f32> {
            (0..count * dimensions).map(|_| noise(random)).collect()
        };
        let directions = many(&mut random, DIRECTIONS);
        let centres = many(&mut random, CLUSTERS);
        let spreads: Vec<f32> = (0..CLUSTERS).map(|_| 0.2 + random.f32()).collect();
        let mut values = Vec::with_capacity((count + QUERIES) * dimensions);
        for _ in 0..count + QUERIES {
            // squared: low clusters are larger
            let cluster = (random.f32().powi(2) * CLUSTERS as f32) as usize % CLUSTERS;
            let mut one = centres[cluster * dimensions..(cluster + 1) * dimensions].to_vec();
            for (at, direction) in directions.chunks_exact(dimensions).enumerate() {
                let along = noise(&mut random) * spreads[cluster] / (1.0 + at as f32).sqrt();
                one.iter_mut()
                    .zip(direction)
                    .for_each(|(value, d)| *value += along * d);
            }
            for value in &mut one {
                *value += noise(&mut random) * spreads[cluster] * 0.3;
            }
            values.extend(one);
        }
        Self::new(dimensions, values)
    }

    /// Sentences of the docstrings of Python's standard library, as all-MiniLM-L6-v2 embeds them: made once, which takes
    /// minutes, and kept below the target folder.
    pub fn real() -> Result<Self, Box<dyn Error>> {
        let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
        let executable = std::env::current_exe()?;
        let target = executable.ancestors().nth(3).ok_or("no target folder")?;
        let folder = target.join("embeddings");
        fs::create_dir_all(&folder)?;
        let made = folder.join(format!("docstrings-{REAL}.f32"));
        if !made.exists() {
            let minilm = here.join("../../tests/util/minilm");
            eprintln!("embedding {REAL} sentences; this takes minutes, once");
            let venv = folder.join("venv");
            run(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
            let python = venv.join("bin/python");
            let mut install = Command::new(&python);
            install.args([
                "-m",
                "pip",
                "install",
                "--disable-pip-version-check",
                "--no-deps",
                "-q",
                "-r",
            ]);
            run(install.arg(minilm.join("requirements.txt")))?;
            let lines = folder.join("sentences.txt");
            let mut sentences = Command::new(&python);
            sentences
                .arg(here.join("benches/vectorize/sentences.py"))
                .arg(REAL.to_string());
            run(sentences.stdout(File::create(&lines)?))?;
            let part = made.with_extension("part");
            let mut embed = Command::new(&python);
            embed.arg(minilm.join("minilm.py")).arg("embed").arg(&part);
            run(embed.stdin(File::open(&lines)?).stdout(Stdio::null()))?;
            fs::rename(&part, &made)?;
        }
        let values: Vec<f32> = fs::read(&made)?
            .chunks_exact(4)
            .map(|bytes| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
            .collect();
        if values.len() != REAL * REAL_DIMENSIONS {
            return Err(
                format!("{} has {} values; delete it", made.display(), values.len()).into(),
            );
        }
        // in any order, so that queries are of all modules
        let mut rows: Vec<&[f32]> = values.chunks_exact(REAL_DIMENSIONS).collect();
        fastrand::Rng::with_seed(42).shuffle(&mut rows);
        Ok(Self::new(REAL_DIMENSIONS, rows.concat()))
    }

    pub fn len(&self) -> usize {
        self.classes.len()
    }

    pub fn row(&self, row: usize) -> &[f32] {
        &self.values[row * self.dimensions..(row + 1) * self.dimensions]
    }

    pub fn query(&self, at: usize) -> &[f32] {
        &self.queries[at * self.dimensions..(at + 1) * self.dimensions]
    }

    /// A random number that filters go by.
    pub fn class(&self, row: usize) -> u64 {
        self.classes[row]
    }
}

fn run(command: &mut Command) -> Result<(), String> {
    let program = command.get_program().to_owned();
    let status = command
        .status()
        .map_err(|error| format!("{}: {error}", program.display()))?;
    if status.success() {
        return Ok(());
    }
    Err(format!("{} failed: {status}", program.display()))
}
