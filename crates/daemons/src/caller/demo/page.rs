//! What the demo prints.

use std::io::{ErrorKind, Write};

use anstyle::{AnsiColor, Style};
use tail::{FinishedSpan, Tree, TreeStyle, human_duration};

use crate::exit::Failure;

const TITLE: Style = AnsiColor::Cyan.on_default().bold();
const NEW: Style = AnsiColor::Green.on_default().bold();
const DIM: Style = Style::new().dimmed();

/// Where a step's title ends, and where its outcome says what became of the span.
const DID_AT: usize = 15;
const SPAN_AT: usize = 62;

/// The demo's text on the standard output stream, in colour if that is a terminal.
pub(super) struct Page {
    out: anstream::Stdout,
    step: u32,
}

impl Page {
    pub(super) fn new() -> Self {
        Self {
            out: anstream::stdout(),
            step: 0,
        }
    }

    /// What this is about.
    pub(super) fn introduce(&mut self, callee: Option<u32>) -> Result<(), Failure> {
        let (us, them) = (std::process::id(), callee.unwrap_or_default());
        self.put(&format!(
            "{TITLE}binding-span: a callee names and tags its caller's span{TITLE:#}

A program calls a binding: a database, an AI gateway. Its trace shows one meaningless span,
jsRpcSession; only the callee knows what happened. Here the callee says it in the reply that it sends
anyway, and the caller's own span gets the name and the tags.

  caller   this process, {us}: it makes calls and owns their spans
  callee   process {them}, behind a private unix socket, with two bindings:
           DB, a D1 database on a real SQLite file, and AI, whose model counts words and needs nothing

{:DID_AT$}{DIM}{:<width$}its span{DIM:#}
",
            "",
            "what the program did",
            width = SPAN_AT - DID_AT
        ))
    }

    /// A step begins.
    pub(super) fn step(&mut self, title: &str, did: &str) -> Result<(), Failure> {
        self.step += 1;
        let step = self.step;
        self.put(&format!("{step} {TITLE}{title:<12}{TITLE:#} {did}\n"))
    }

    /// A step goes on.
    pub(super) fn go_on(&mut self, did: &str) -> Result<(), Failure> {
        self.put(&format!("{:DID_AT$}{did}\n", ""))
    }

    /// What came out, and what became of the span.
    pub(super) fn outcome(&mut self, text: &str, span: &FinishedSpan) -> Result<(), Failure> {
        let (old, new) = (&span.original_name, &span.name);
        let took = human_duration(span.duration());
        self.put(&format!(
            "{:DID_AT$}{text:<width$}{DIM}{old} →{DIM:#} {NEW}{new}{NEW:#}  {took}\n",
            "",
            width = SPAN_AT - DID_AT
        ))
    }

    /// The spans of both processes.
    pub(super) fn tree(&mut self, tree: &Tree) -> Result<(), Failure> {
        self.put(&format!(
            "
{TITLE}The trace{TITLE:#}, merged from both processes. The caller's spans have the callee's tags; spans marked
[callee] are the callee's own. (What further spans repeat, and the burst, are left out.)

"
        ))?;
        self.put(&tree.render(TreeStyle::coloured()))
    }

    /// What to do next.
    pub(super) fn end(&mut self) -> Result<(), Failure> {
        self.put(&format!(
            "
All as expected; both processes are done, and the database and the socket are gone. {TITLE}Your turn:{TITLE:#}

  callee --listen unix:./callee.sock --d1 DB=./shop.sqlite --d1-create --ai AI=builtin
  bspan call --connect unix:./callee.sock DB.query '{{\"queries\":[{{\"sql\":\"select 41 + 1 as n\"}}]}}'
  bspan call --connect unix:./callee.sock AI.run '\"word-counter\"' '{{\"prompt\":\"how many are these\"}}'
  caller --help
"
        ))
    }

    fn put(&mut self, text: &str) -> Result<(), Failure> {
        let written = self.out.write_all(text.as_bytes());
        match written.and_then(|()| self.out.flush()) {
            // A reader that went away had enough; the demo goes on as a test.
            Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(Failure::Output(format!(
                "cannot write to the standard output stream: {error}"
            ))),
            _ => Ok(()),
        }
    }
}
