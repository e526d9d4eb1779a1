//! A relay between two programs that does to a connection what networks do.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, tcp};
use tokio::sync::{oneshot, watch};

use crate::util::LIMIT;

/// What is done to every connection, from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Everything passes.
    Pass,
    /// Everything passes, a byte at a time.
    Dribble,
    /// Nothing passes to whoever connected.
    HoldReplies,
    /// Nothing passes.
    Stall,
    /// Both ends see a reset (RST).
    Reset,
    /// Who was connected to sees the end, and can still answer.
    EndRequests,
    /// Who connected sees the end, and can still ask.
    EndReplies,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    There,
    Back,
}

impl Mode {
    fn holds(self, way: Way) -> bool {
        self.stands() || (self, way) == (Self::HoldReplies, Way::Back)
    }

    /// Whether nothing is even read.
    fn stands(self) -> bool {
        matches!(self, Self::Stall | Self::Reset)
    }

    fn ends(self, way: Way) -> bool {
        match way {
            Way::There => self == Self::EndRequests,
            Way::Back => self == Self::EndReplies,
        }
    }

    /// Bytes that pass at a time.
    fn size(self) -> usize {
        if self == Self::Dribble { 1 } else { 64 * 1024 }
    }
}

/// Replies that are held. Each connection has a share.
type Held = Arc<Mutex<Vec<u8>>>;
/// The shares when there is no connection: the relay's own, and the one of what accepts.
const IDLE: usize = 2;

/// Listens, and connects onwards for each who connects. Ends when it is dropped.
pub struct Relay {
    pub address: String,
    mode: watch::Sender<Mode>,
    held: Held,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Relay {
    pub fn to(target: &str) -> Self {
        let target: SocketAddr = target.parse().unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (mode, modes) = watch::channel(Mode::Pass);
        let (stop, stopped) = oneshot::channel();
        let held = Held::default();
        let is_held = held.clone();
        let run = move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                tokio::select! {
                    _ = stopped => (),
                    _ = accept(listener, target, modes, is_held) => (),
                }
            });
        };
        Self {
            address,
            mode,
            held,
            stop: Some(stop),
            thread: Some(thread::spawn(run)),
        }
    }

    pub fn set(&self, mode: Mode) {
        self.held.lock().unwrap().clear();
        self.mode.send_replace(mode);
    }

    /// Whether each connection that met a fault for good has ended at both ends.
    pub fn is_over(&self) -> bool {
        let for_good = matches!(
            *self.mode.borrow(),
            Mode::Reset | Mode::EndRequests | Mode::EndReplies
        );
        !for_good || Arc::strong_count(&self.held) == IDLE
    }

    /// Lets everything pass, once what broke is over: whoever calls now meets nothing of it.
    #[track_caller]
    pub fn mend(&self) {
        let since = Instant::now();
        while !self.is_over() {
            assert!(
                since.elapsed() < LIMIT,
                "a broken connection is not given up"
            );
            thread::yield_now();
        }
        self.set(Mode::Pass);
    }

    /// Whether the answer to a query is among the replies that are held.
    pub fn holds_answer(&self) -> bool {
        const PART: &[u8] = b"queryResults";
        let held = self.held.lock().unwrap();
        held.windows(PART.len()).any(|part| part == PART)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        drop(self.stop.take());
        let ended = self.thread.take().map(JoinHandle::join);
        if !thread::panicking() {
            ended.unwrap().unwrap();
        }
    }
}

async fn accept(
    listener: std::net::TcpListener,
    target: SocketAddr,
    modes: watch::Receiver<Mode>,
    held: Held,
) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;
    loop {
        let (near, _) = listener.accept().await?;
        let (modes, held) = (modes.clone(), held.clone());
        tokio::spawn(async move {
            // Nobody there: whoever connected sees the end.
            if let Ok(far) = TcpStream::connect(target).await {
                let _ = connection(near, far, modes, held).await;
            }
        });
    }
}

async fn connection(
    mut near: TcpStream,
    mut far: TcpStream,
    modes: watch::Receiver<Mode>,
    held: Held,
) -> io::Result<()> {
    for stream in [&near, &far] {
        stream.set_nodelay(true)?;
    }
    let mut reset = modes.clone();
    let ended = {
        let ((near_read, near_write), (far_read, far_write)) = (near.split(), far.split());
        let both = async {
            let there = Pass {
                from: near_read,
                to: far_write,
                modes: modes.clone(),
                way: Way::There,
                held: Held::default(),
            };
            let back = Pass {
                from: far_read,
                to: near_write,
                modes,
                way: Way::Back,
                held,
            };
            tokio::join!(there.run(), back.run())
        };
        tokio::select! {
            both = both => Some(both),
            _ = reset.wait_for(|mode| *mode == Mode::Reset) => None,
        }
    };
    if let Some((there, back)) = ended {
        return there.and(back);
    }
    for stream in [&near, &far] {
        stream.set_zero_linger()?;
    }
    Ok(())
}

/// One direction of a connection.
struct Pass<'a> {
    from: tcp::ReadHalf<'a>,
    to: tcp::WriteHalf<'a>,
    modes: watch::Receiver<Mode>,
    way: Way,
    held: Held,
}

impl Pass<'_> {
    async fn run(mut self) -> io::Result<()> {
        let (mut waiting, mut buffer, mut ended) = (Vec::new(), vec![0; 64 * 1024], false);
        loop {
            let mode = *self.modes.borrow_and_update();
            if mode.ends(self.way) {
                return self.to.shutdown().await;
            }
            let holds = mode.holds(self.way);
            if !holds {
                self.to.write_all(&waiting).await?;
                waiting.clear();
                if ended {
                    return self.to.shutdown().await;
                }
            }
            let reads = !ended && !mode.stands();
            let changed = async { self.modes.changed().await.is_ok() };
            // What is read while the mode changes is treated by the new one.
            let n = tokio::select! {
                biased;
                true = changed => continue,
                n = self.from.read(&mut buffer[..mode.size()]), if reads => n?,
            };
            ended = n == 0;
            waiting.extend_from_slice(&buffer[..n]);
            if holds {
                self.held.lock().unwrap().extend_from_slice(&buffer[..n]);
            }
        }
    }
}
