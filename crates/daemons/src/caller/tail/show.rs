//! What is done with events: those of wanted spans are printed.

use std::sync::Arc;

use tail::{Event, LineStyle, Notice, Passed, Selection, SpanLines};

use super::args::FollowArgs;
use super::writer::{Piece, Writer};
use super::{Stop, terminal};
use crate::exit::Failure;

/// Bytes that are gathered before they are written.
const GATHERED: usize = 64 * 1024;

pub(super) struct Show {
    selection: Selection,
    /// Lines for people, unless it is for programs.
    lines: Option<SpanLines>,
    passed: Vec<Passed>,
    text: String,
    count: Option<u64>,
    writer: Writer,
    /// Events that were lost, as far as we were told.
    lost: u64,
    /// Lines of a file that are no events.
    strange: u64,
}

impl Show {
    pub(super) fn new(args: &FollowArgs) -> Result<Self, Failure> {
        let style = LineStyle {
            colour: terminal::colour(),
            verbose: args.verbose,
            width: terminal::width(),
        };
        Ok(Self {
            selection: Selection::new(&args.filter()),
            lines: (!args.json).then(|| SpanLines::new(style)),
            passed: Vec::new(),
            text: String::new(),
            count: args.count,
            writer: Writer::start()?,
            lost: 0,
            strange: 0,
        })
    }

    /// Something happened.
    pub(super) async fn event(&mut self, event: Event) -> Result<(), Stop> {
        self.selection.event(Arc::new(event), &mut self.passed);
        for Passed {
            event,
            programs,
            people,
        } in self.passed.drain(..)
        {
            match &mut self.lines {
                Some(lines) if people => lines.event(&event),
                None if programs => {
                    self.text += &event.to_line();
                    self.text.push('\n');
                }
                _ => {}
            }
        }
        if self
            .count
            .is_some_and(|count| self.selection.ended() >= count)
        {
            self.flush().await?;
            return Err(Stop::Done);
        }
        if self.text.len() >= GATHERED {
            self.flush().await?;
        }
        Ok(())
    }

    /// Events were lost here.
    pub(super) fn lost(&mut self, count: u64) {
        self.lost += count;
        match &mut self.lines {
            Some(lines) => lines.note(&format!(
                "{count} events were lost: this reader is too slow"
            )),
            None => {
                self.text += &Notice::DroppedEvents { count }.to_line();
                self.text.push('\n');
            }
        }
    }

    /// A line of a file is no event; how many are told at the end.
    pub(super) fn left_out(&mut self) {
        self.strange += 1;
    }

    /// Says something about the source, on the standard error stream.
    pub(super) async fn say(&mut self, text: &str) -> Result<(), Stop> {
        self.flush().await?;
        let line = format!("caller: {}\n", tail::escape(text));
        self.writer.write(Piece::Err(line)).await
    }

    /// Nothing more is there for the moment.
    pub(super) async fn flush(&mut self) -> Result<(), Stop> {
        if let Some(lines) = &mut self.lines {
            self.text += &lines.take();
            lines.set_width(terminal::width());
        }
        if self.text.is_empty() {
            return Ok(());
        }
        let text = std::mem::take(&mut self.text);
        self.writer.write(Piece::Out(text)).await
    }

    /// How many spans ended, and how many are wanted.
    pub(super) fn counted(&self) -> (u64, Option<u64>) {
        (self.selection.ended(), self.count)
    }

    /// Writes what is left.
    pub(super) async fn finish(&mut self) -> Stop {
        let forgotten = self.selection.forgotten();
        if forgotten > 0 {
            let says = format!(
                "too many spans were open at a time to keep them until it was known whether they are \
                 wanted: {forgotten} were not looked at to their end"
            );
            let _ = self.say(&says).await;
        }
        if self.strange > 0 {
            let says = format!(
                "lines that are no tail events were left out: {}",
                self.strange
            );
            let _ = self.say(&says).await;
        }
        match self.flush().await {
            Ok(()) => self.writer.finish().await,
            Err(stop) => stop,
        }
    }

    /// Writes what is left, if that can be done soon.
    pub(super) async fn hurry(&mut self) {
        self.writer.hurry().await;
    }
}
