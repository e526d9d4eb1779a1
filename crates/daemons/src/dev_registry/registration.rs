//! Keeps entries in registries: written whole, touched while the process runs, removed at its end.
//!
//! All of it happens on a thread of its own, since files may be slow and calls must not wait for them. An entry of
//! somebody else who lives is left alone and said; when its owner is gone, ours takes its place.

use std::cell::Cell;
use std::collections::HashMap;
use std::fs::{File, FileTimes, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::oneshot;

use super::entry::{Entry, Found};

/// How often entries are touched.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// How long the end of a process may wait for its entries to be removed.
const REMOVAL: Duration = Duration::from_secs(1);

/// How long another process may have the directory for itself.
const LOCK: Duration = Duration::from_secs(1);

/// What goes to the thread.
enum Order {
    /// These names and no others, each with its binding; then what could not be entered, and why.
    Enter(Vec<(String, String)>, oneshot::Sender<Vec<Blocked>>),
    /// The end.
    Leave(Sender<()>),
}

/// Entries that are there until this is dropped.
pub(super) struct Registration {
    orders: Sender<Order>,
    thread: Cell<Option<JoinHandle<()>>>,
}

impl Registration {
    /// Starts to keep entries in these directories, of a process that has this address and is described by `owner`.
    pub(super) fn start(
        directories: Vec<PathBuf>,
        address: String,
        owner: String,
    ) -> io::Result<Self> {
        let (orders, ordered) = mpsc::channel();
        let registrar = Registrar {
            directories,
            address,
            owner,
            instance: instance(),
            names: Vec::new(),
            blocked: HashMap::new(),
        };
        let thread = std::thread::Builder::new().name("dev-registry".into());
        let thread = thread.spawn(move || registrar.run(&ordered))?;
        Ok(Self {
            orders,
            thread: Cell::new(Some(thread)),
        })
    }

    /// Makes these the entries; what could not be entered, and why.
    pub(super) async fn enter(&self, names: Vec<(String, String)>) -> Vec<Blocked> {
        let (done, is_done) = oneshot::channel();
        let sent = self.orders.send(Order::Enter(names, done));
        match sent {
            Ok(()) => is_done.await.unwrap_or_default(),
            Err(_) => Vec::new(),
        }
    }

    /// Removes the entries. Waits for it, but not for long: others find out that nobody listens.
    pub(super) fn leave(&self) {
        let Some(thread) = self.thread.take() else {
            return;
        };
        let (done, is_done) = mpsc::channel();
        let sent = self.orders.send(Order::Leave(done));
        if sent.is_ok() && is_done.recv_timeout(REMOVAL).is_ok() {
            let _ = thread.join();
        }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.leave();
    }
}

/// An id that no other process has.
fn instance() -> String {
    let id = format!("{:032x}", fastrand::u128(..));
    let parts = [&id[..8], &id[8..12], &id[12..16], &id[16..20], &id[20..]];
    parts.join("-")
}

/// What the thread knows.
struct Registrar {
    directories: Vec<PathBuf>,
    address: String,
    owner: String,
    instance: String,
    names: Vec<(String, String)>,
    /// What is in the way of those entries that are not there.
    blocked: HashMap<PathBuf, Blocked>,
}

/// An entry that is not there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Blocked {
    pub(super) name: String,
    why: String,
}

/// What became of an entry.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    /// It is there, as it was.
    Touched,
    /// It is there, anew.
    Written,
    /// It is there instead of one whose owner is gone.
    Replaced(String),
    /// It is not there, because of this.
    Blocked(String),
}

impl Registrar {
    fn run(mut self, orders: &Receiver<Order>) {
        let mut next = Instant::now() + HEARTBEAT;
        loop {
            let left = next.saturating_duration_since(Instant::now());
            match orders.recv_timeout(left) {
                Ok(Order::Enter(names, done)) => {
                    self.enter(names);
                    let _ = done.send(self.blocked());
                }
                Ok(Order::Leave(done)) => {
                    self.enter(Vec::new());
                    let _ = done.send(());
                    return;
                }
                Err(RecvTimeoutError::Timeout) => {
                    self.keep();
                    next = Instant::now() + HEARTBEAT;
                }
                // Whoever wanted the entries is gone without a word.
                Err(RecvTimeoutError::Disconnected) => return self.enter(Vec::new()),
            }
        }
    }

    fn enter(&mut self, names: Vec<(String, String)>) {
        let before = std::mem::replace(&mut self.names, names);
        for (name, binding) in before {
            let stays = self.names.iter().find(|(other, _)| *other == name);
            if stays.is_some_and(|(_, now)| *now == binding) {
                continue;
            }
            for directory in &self.directories {
                let path = directory.join(&name);
                self.blocked.remove(&path);
                if let Err(error) = self.remove(&path) {
                    tracing::warn!("{}: the entry stays: {error}", path.display());
                }
            }
        }
        self.keep();
    }

    fn blocked(&self) -> Vec<Blocked> {
        let mut blocked: Vec<Blocked> = self.blocked.values().cloned().collect();
        blocked.sort_unstable();
        blocked
    }

    /// Looks after each entry, and says what is new.
    fn keep(&mut self) {
        let names = self.names.clone();
        for directory in self.directories.clone() {
            for (name, binding) in &names {
                let path = directory.join(name);
                let shown = path.display();
                let kept = self.keep_one(&directory, &path, binding);
                match kept.unwrap_or_else(|error| Outcome::Blocked(format!("{shown}: {error}"))) {
                    Outcome::Blocked(why) => {
                        let blocked = Blocked {
                            name: name.clone(),
                            why,
                        };
                        if self.blocked.get(&path) != Some(&blocked) {
                            let why = &blocked.why;
                            tracing::warn!(
                                "{name} is not entered in the development registry: {why}"
                            );
                        }
                        self.blocked.insert(path, blocked);
                        continue;
                    }
                    Outcome::Replaced(whose) => {
                        tracing::info!("took the place of {whose}, which has ended, at {shown}");
                    }
                    Outcome::Written | Outcome::Touched => {}
                }
                if self.blocked.remove(&path).is_some() {
                    tracing::info!("{name} is entered in the development registry, at {shown}");
                }
            }
        }
    }

    fn keep_one(&self, directory: &Path, path: &Path, binding: &str) -> io::Result<Outcome> {
        let found = Entry::read(path)?;
        if let Some(found) = &found
            && self.is_ours(found)
        {
            let now = FileTimes::new().set_modified(SystemTime::now());
            File::options().write(true).open(path)?.set_times(now)?;
            return Ok(Outcome::Touched);
        }
        // It may take a moment, during which nobody needs to wait.
        if let Some(found) = &found
            && !is_over(found)
        {
            let whose = found.describe();
            return Ok(Outcome::Blocked(format!(
                "{} is that of {whose}; ours comes when that has ended, or under another name: \
                 --dev-name '{binding}=NAME'",
                path.display()
            )));
        }
        std::fs::create_dir_all(directory)?;
        let _lock = lock(directory)?;
        // Others of ours have had their turn meanwhile.
        if Entry::read(path)? != found {
            return Ok(Outcome::Blocked(format!(
                "{} has just changed",
                path.display()
            )));
        }
        if found.is_some() {
            std::fs::remove_file(path)?;
        }
        self.write(directory, path, binding)?;
        Ok(match found {
            Some(found) => Outcome::Replaced(found.describe()),
            None => Outcome::Written,
        })
    }

    /// Writes an entry that is not there. Whoever reads it finds it whole or not at all.
    fn write(&self, directory: &Path, path: &Path, binding: &str) -> io::Result<()> {
        let entry = Entry {
            address: self.address.clone(),
            default_service: binding.to_owned(),
            user_service: binding.to_owned(),
            instance: self.instance.clone(),
            owner: Some(self.owner.clone()),
        };
        // In a directory, since whoever reads the registry takes every file for a Worker.
        let aside = tempfile::Builder::new()
            .prefix(".bspan-")
            .tempdir_in(directory)?;
        let mut file = tempfile::NamedTempFile::new_in(aside.path())?;
        file.write_all(entry.text().as_bytes())?;
        file.persist_noclobber(path).map_err(|error| error.error)?;
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        match Entry::read(path)? {
            Some(found) if self.is_ours(&found) => std::fs::remove_file(path),
            _ => Ok(()),
        }
    }

    fn is_ours(&self, found: &Found) -> bool {
        let entry = found.entry.as_ref();
        entry.is_some_and(|entry| entry.instance == self.instance)
    }
}

/// Whether whoever wrote it has ended. Processes of ours listen for as long as they have an entry; a session of others
/// may be starting its runtime again, but touches its entry meanwhile.
fn is_over(found: &Found) -> bool {
    let Some(entry) = &found.entry else {
        return found.stale().is_some();
    };
    let age = found.touched.elapsed().unwrap_or_default();
    let may_be = entry.owner.is_some() || age > HEARTBEAT * 2;
    found.stale().is_some() || (may_be && entry.is_abandoned())
}

/// One of our processes at a time changes what another has left behind. Who holds a directory for long is not
/// waited for: then two may do the same, and see it at their next heartbeat.
fn lock(directory: &Path) -> io::Result<File> {
    let file = File::open(directory)?;
    let until = Instant::now() + LOCK;
    while let Err(TryLockError::WouldBlock) = file.try_lock() {
        if Instant::now() > until {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keep(directory: &Path, port: u16, names: &[(&str, &str)]) -> (Registration, Vec<String>) {
        let address = format!("127.0.0.1:{port}");
        let owner = format!("process {port}");
        let registration = Registration::start(vec![directory.to_owned()], address, owner).unwrap();
        let blocked = enter(&registration, names);
        (registration, blocked)
    }

    fn enter(registration: &Registration, names: &[(&str, &str)]) -> Vec<String> {
        let owned = |(name, binding): &(&str, &str)| ((*name).to_owned(), (*binding).to_owned());
        let entering = registration.enter(names.iter().map(owned).collect());
        let blocked = futures::executor::block_on(entering);
        blocked.into_iter().map(|blocked| blocked.why).collect()
    }

    fn entry(directory: &Path, name: &str) -> Option<Entry> {
        Entry::read(&directory.join(name)).unwrap()?.entry
    }

    fn files(directory: &Path) -> Vec<String> {
        let files = std::fs::read_dir(directory).unwrap();
        let mut files: Vec<String> = files
            .map(|file| file.unwrap().file_name().into_string().unwrap())
            .collect();
        files.sort();
        files
    }

    #[test]
    fn entries_follow_the_names_and_go_with_the_registration() {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path().join("a/registry");
        let (registration, blocked) = keep(&at, 1, &[("DB", "DB"), ("shop", "SHOP")]);
        assert_eq!(blocked, [""; 0]);
        assert_eq!(files(&at), ["DB", "shop"]);
        let shop = entry(&at, "shop").unwrap();
        assert_eq!(
            (shop.default_service.as_str(), shop.user_service.as_str()),
            ("SHOP", "SHOP")
        );
        assert_eq!(shop.owner.as_deref(), Some("process 1"));
        enter(&registration, &[("shop", "OTHER"), ("LOG", "LOG")]);
        assert_eq!(files(&at), ["LOG", "shop"]);
        assert_eq!(entry(&at, "shop").unwrap().default_service, "OTHER");
        drop(registration);
        assert_eq!(files(&at), [""; 0]);
    }

    #[test]
    fn an_entry_of_somebody_who_lives_stays_until_its_owner_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (first, _) = keep(folder.path(), port, &[("DB", "DB")]);
        let (second, blocked) = keep(folder.path(), 1, &[("DB", "DB"), ("LOG", "LOG")]);
        assert!(
            blocked[0].contains(&format!("process {port} at 127.0.0.1:{port}")),
            "{blocked:?}"
        );
        assert_eq!(files(folder.path()), ["DB", "LOG"]);
        assert_eq!(
            entry(folder.path(), "DB").unwrap().address,
            format!("127.0.0.1:{port}")
        );
        // Nor is it removed by somebody else.
        drop(second);
        assert_eq!(files(folder.path()), ["DB"]);
        let (third, _) = keep(folder.path(), 1, &[("DB", "DB")]);
        drop(first);
        assert_eq!(enter(&third, &[("DB", "DB")]), [""; 0]);
        assert_eq!(entry(folder.path(), "DB").unwrap().address, "127.0.0.1:1");
    }

    #[test]
    fn what_a_killed_process_left_is_replaced_when_nobody_listens_or_it_is_old() {
        let folder = tempfile::tempdir().unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let left = |address: String| {
            let entry = Entry {
                address,
                default_service: "X".into(),
                user_service: "X".into(),
                instance: "another".into(),
                owner: None,
            };
            std::fs::write(folder.path().join("DB"), entry.text()).unwrap();
        };
        let age = |seconds| {
            let then = SystemTime::now() - Duration::from_secs(seconds);
            let file = File::options().write(true).open(folder.path().join("DB"));
            file.unwrap()
                .set_times(FileTimes::new().set_modified(then))
                .unwrap();
        };
        // Somebody listens there, so only its age tells.
        left(format!("127.0.0.1:{port}"));
        age(80);
        let (registration, blocked) = keep(folder.path(), 1, &[("DB", "DB")]);
        assert_eq!(blocked.len(), 1, "{blocked:?}");
        age(100);
        assert_eq!(enter(&registration, &[("DB", "DB")]), [""; 0]);
        assert_eq!(entry(folder.path(), "DB").unwrap().default_service, "DB");
        drop(registration);
        drop(listener);
        left(format!("127.0.0.1:{port}"));
        let (registration, blocked) = keep(folder.path(), 1, &[("DB", "DB")]);
        // It may be about to listen again, if it touches its entry.
        assert_eq!(blocked.len(), 1, "{blocked:?}");
        age(25);
        assert_eq!(enter(&registration, &[("DB", "DB")]), [""; 0]);
        assert_eq!(files(folder.path()), ["DB"]);
    }

    #[test]
    fn of_several_who_enter_a_name_at_once_one_has_it_and_the_others_hear_whose_it_is() {
        for _ in 0..20 {
            let folder = tempfile::tempdir().unwrap();
            let at = folder.path();
            // What somebody else left behind is in their way.
            let listeners: Vec<_> = (0..8)
                .map(|_| std::net::TcpListener::bind("127.0.0.1:0").unwrap())
                .collect();
            std::fs::write(
                at.join("DB"),
                r#"{"debugPortAddress":"127.0.0.1:1","owner":"x"}"#,
            )
            .unwrap();
            let entered = std::thread::scope(|scope| {
                let threads: Vec<_> = listeners
                    .iter()
                    .map(|listener| {
                        let port = listener.local_addr().unwrap().port();
                        scope.spawn(move || {
                            let (registration, blocked) = keep(at, port, &[("DB", "DB")]);
                            let address = format!("127.0.0.1:{port}");
                            // Its end would make room for others.
                            std::mem::forget(registration);
                            blocked.is_empty().then_some(address)
                        })
                    })
                    .collect();
                let done = threads
                    .into_iter()
                    .filter_map(|thread| thread.join().unwrap());
                done.collect::<Vec<_>>()
            });
            let there = entry(at, "DB").unwrap().address;
            assert_eq!(entered, [there]);
            assert_eq!(files(at), ["DB"]);
        }
    }

    #[test]
    fn what_is_touched_is_young_and_what_was_removed_is_written_again() {
        let folder = tempfile::tempdir().unwrap();
        let (registration, _) = keep(folder.path(), 1, &[("DB", "DB")]);
        let path = folder.path().join("DB");
        let then = SystemTime::now() - Duration::from_secs(80);
        let file = File::options().write(true).open(&path).unwrap();
        file.set_times(FileTimes::new().set_modified(then)).unwrap();
        enter(&registration, &[("DB", "DB")]);
        let found = Entry::read(&path).unwrap().unwrap();
        assert!(found.touched.elapsed().unwrap() < Duration::from_secs(60));
        std::fs::remove_file(&path).unwrap();
        enter(&registration, &[("DB", "DB")]);
        assert!(entry(folder.path(), "DB").is_some());
        // What is in the way and no entry is said, and left alone.
        std::fs::create_dir(folder.path().join("LOG")).unwrap();
        let blocked = enter(&registration, &[("DB", "DB"), ("LOG", "LOG")]);
        assert!(blocked[0].contains("directory"), "{blocked:?}");
    }
}
