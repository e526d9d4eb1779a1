//! The index on disk.
//!
//! `usearch`'s graph, then for each entry its row and the row's state (u32 and u64, little-endian), then a footer whose last
//! part is a checksum of all before it. `usearch` trusts what it reads, so the checksum is verified first. A file that is
//! not as it was written, of another version or for another shape, is ignored: the index is built again.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ring::digest::{Context, SHA256, SHA256_OUTPUT_LEN};

use super::super::Shape;
use super::graph::Graph;
use super::members::Members;
use super::{Shared, lock};

const MAGIC: &[u8; 8] = b"bspanidx";
const VERSION: u32 = 1;
/// Magic, version, metric, `usearch`'s version, dimensions, length of the graph, entries, and the checksum.
const FOOTER: usize = 8 + 4 + 4 + 16 + 8 + 8 + 8 + SHA256_OUTPUT_LEN;
const ENTRY: usize = 4 + 8;

/// The graph that is loaded; the thread's own ones have larger numbers.
const EPOCH: u64 = 1;

/// The footer without the checksum.
fn footer(shape: Shape, graph_bytes: u64, entries: u64) -> Vec<u8> {
    let mut footer = Vec::with_capacity(FOOTER);
    footer.extend_from_slice(MAGIC);
    footer.extend_from_slice(&VERSION.to_le_bytes());
    let mut metric = [0; 4];
    let name = shape.metric.name().as_bytes();
    metric.copy_from_slice(&name[..4]);
    footer.extend_from_slice(&metric);
    let mut version = [0; 16];
    let name = usearch::version().as_bytes();
    let len = name.len().min(16);
    version[..len].copy_from_slice(&name[..len]);
    footer.extend_from_slice(&version);
    footer.extend_from_slice(&(shape.dimensions as u64).to_le_bytes());
    footer.extend_from_slice(&graph_bytes.to_le_bytes());
    footer.extend_from_slice(&entries.to_le_bytes());
    footer
}

/// Writes a graph and its table to a file that is not there or not complete until then.
fn write(path: &Path, shape: Shape, graph: &Graph, table: &[(u32, u64)]) -> io::Result<()> {
    graph.save(path).map_err(io::Error::other)?;
    let mut file = File::options().read(true).write(true).open(path)?;
    let graph_bytes = file.seek(SeekFrom::End(0))?;
    let mut out = BufWriter::new(&mut file);
    for (row, changed) in table {
        out.write_all(&row.to_le_bytes())?;
        out.write_all(&changed.to_le_bytes())?;
    }
    out.write_all(&footer(shape, graph_bytes, table.len() as u64))?;
    out.flush()?;
    drop(out);
    file.rewind()?;
    let mut checksum = Context::new(&SHA256);
    digest(&mut file, u64::MAX, &mut checksum)?;
    file.write_all(checksum.finish().as_ref())?;
    file.sync_all()
}

/// The next `len` bytes of a file, or all that there are.
fn digest(file: &mut impl Read, len: u64, into: &mut Context) -> io::Result<()> {
    let mut buffer = vec![0; 256 << 10];
    let mut file = file.take(len);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(()),
            read => into.update(&buffer[..read]),
        }
    }
}

/// The table of a file that is as it was written. `None`: there is no file.
fn verify(path: &Path, shape: Shape) -> Result<Option<Vec<(u32, u64)>>, String> {
    let mut file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => BufReader::new(opened.map_err(|error| error.to_string())?),
    };
    let io = |error: io::Error| error.to_string();
    let len = file.seek(SeekFrom::End(0)).map_err(io)?;
    let body = len.checked_sub(FOOTER as u64).ok_or("it is too short")?;
    file.seek(SeekFrom::Start(body)).map_err(io)?;
    let mut end = [0; FOOTER];
    file.read_exact(&mut end).map_err(io)?;
    let (head, checksum) = end.split_at(FOOTER - SHA256_OUTPUT_LEN);
    let number = |at: usize| {
        head[at..at + 8]
            .iter()
            .rev()
            .fold(0u64, |number, &byte| number << 8 | u64::from(byte))
    };
    let (graph_bytes, entries) = (number(head.len() - 16), number(head.len() - 8));
    if head != footer(shape, graph_bytes, entries) {
        return Err("it is of another version or another index, or damaged".into());
    }
    let table_bytes = entries.checked_mul(ENTRY as u64);
    if table_bytes.and_then(|table| table.checked_add(graph_bytes)) != Some(body) {
        return Err("its length is wrong".into());
    }
    file.rewind().map_err(io)?;
    let mut digested = Context::new(&SHA256);
    digest(&mut file, body, &mut digested).map_err(io)?;
    digested.update(head);
    if digested.finish().as_ref() != checksum {
        return Err("its checksum is wrong".into());
    }
    file.seek(SeekFrom::Start(graph_bytes)).map_err(io)?;
    let mut table = Vec::new();
    let mut entry = [0; ENTRY];
    for _ in 0..entries {
        file.read_exact(&mut entry).map_err(io)?;
        let [a, b, c, d, changed @ ..] = entry;
        table.push((
            u32::from_le_bytes([a, b, c, d]),
            u64::from_le_bytes(changed),
        ));
    }
    Ok(Some(table))
}

impl Shared {
    /// The saved index, as far as it matches the rows. Nothing is indexed meanwhile.
    pub(super) fn load_index(&self) {
        let Some(path) = &self.index_file else { return };
        match self.try_load(path) {
            Ok(loaded) => tracing::debug!(file = %path.display(), loaded, "index of vectors"),
            Err(reason) => {
                let file = path.display();
                tracing::warn!(%file, reason, "the saved index of vectors is not used; it is made again");
            }
        }
    }

    fn try_load(&self, path: &Path) -> Result<bool, String> {
        let enough = lock::read(&self.rows).matrix.len() as u64 >= (self.exact_below / 2).max(1);
        if !enough {
            return Ok(false);
        }
        let Some(table) = verify(path, self.shape)? else {
            return Ok(false);
        };
        let members = Members::of(EPOCH, &lock::read(&self.rows).matrix, &table);
        let graph = Graph::load(self.shape, EPOCH, Arc::clone(&members.entries), path)?;
        let _writer = lock::lock(&self.writer);
        let mut rows = lock::write(&self.rows);
        if rows.members.is_some()
            || rows.next.is_some()
            || rows.matrix.len() as u64 != members.rows()
        {
            return Ok(false); // it was loaded twice, or is changed by others
        }
        self.graph_bytes
            .store(graph.bytes(), std::sync::atomic::Ordering::Relaxed);
        *lock::write(&self.graph) = Some(graph);
        rows.members = Some(members);
        drop(rows);
        self.note_saved();
        Ok(true)
    }

    pub(super) fn save_index(&self) -> io::Result<()> {
        let Some(path) = &self.index_file else {
            return Ok(());
        };
        let _writer = lock::lock(&self.writer); // nothing is added meanwhile, and nobody waits to do so
        let graph = lock::read(&self.graph);
        let Some(graph) = &*graph else {
            return Ok(());
        };
        let temporary = with_suffix(path, ".tmp");
        let table = {
            let rows = lock::read(&self.rows);
            let members = rows
                .members
                .as_ref()
                .filter(|members| members.epoch == graph.epoch);
            members.map(|members| members.table(&rows.matrix, graph.len()))
        };
        let Some(table) = table else { return Ok(()) };
        let written = write(&temporary, self.shape, graph, &table)
            .and_then(|()| fs::rename(&temporary, path))
            .and_then(|()| sync_folder(path));
        if written.is_err() {
            drop(fs::remove_file(&temporary)); // the first error is the one that matters
        } else {
            self.note_saved();
        }
        written
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}
