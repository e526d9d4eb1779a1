//! Shell completions and manual pages, from the definitions that the programs are run by, so that they
//! are never older than the program: `callee --generate bash`, `callee --generate man DIR`.
//!
//! It is not an option among the others: a daemon's file cannot have it, and nothing else is needed with it.

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::Path;

use clap::Command;
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};

use crate::exit::Failure;

const FORM: &str =
    "write --generate bash, zsh or fish for completions, or --generate man DIR for manual pages";

/// Writes what `line` asks for, if it asks for that and nothing else: the program's name stands first.
pub(crate) fn requested(
    line: &[OsString],
    command: impl FnOnce() -> Command,
) -> Option<Result<(), Failure>> {
    let said: Vec<_> = line.iter().skip(1).map(|word| word.to_str()).collect();
    let (first, rest) = said.split_first()?;
    if *first != Some("--generate") {
        return None;
    }
    Some(match (rest, line.get(3)) {
        ([Some("bash")], _) => completions(Shell::Bash, command()),
        ([Some("zsh")], _) => completions(Shell::Zsh, command()),
        ([Some("fish")], _) => completions(Shell::Fish, command()),
        ([Some("man"), _], Some(folder)) => pages(Path::new(folder), command()),
        _ => Err(Failure::Usage(FORM.into())),
    })
}

fn completions(shell: Shell, mut command: Command) -> Result<(), Failure> {
    let name = command.get_name().to_owned();
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut command, name, &mut text);
    let written = io::stdout()
        .write_all(&text)
        .and_then(|()| io::stdout().flush());
    written.map_err(|error| Failure::Output(format!("cannot write the completions: {error}")))
}

/// A page for the program and one for each of its commands.
fn pages(folder: &Path, command: Command) -> Result<(), Failure> {
    let failed = |error: io::Error| {
        let folder = folder.display();
        Failure::Output(format!("cannot write manual pages to {folder}: {error}"))
    };
    std::fs::create_dir_all(folder).map_err(failed)?;
    let mut command = command.disable_help_subcommand(true);
    command.build();
    let commands: Vec<Command> = command.get_subcommands().cloned().collect();
    let shown = commands
        .into_iter()
        .filter(|command| !command.is_hide_set());
    for command in std::iter::once(command).chain(shown) {
        let page = page(command).map_err(failed)?;
        std::fs::write(folder.join(page.0), page.1).map_err(failed)?;
    }
    Ok(())
}

/// The name of a page's file and its text.
fn page(command: Command) -> io::Result<(String, Vec<u8>)> {
    let examples = command.get_after_long_help().map(ToString::to_string);
    let has_version = command.get_version().is_some();
    let man = Man::new(command);
    let version = concat!("binding-span ", env!("CARGO_PKG_VERSION"));
    let man = man.manual("binding-span").source(version).date(version);
    let mut text = Vec::new();
    man.render_title(&mut text)?;
    man.render_name_section(&mut text)?;
    man.render_synopsis_section(&mut text)?;
    man.render_description_section(&mut text)?;
    man.render_options_section(&mut text)?;
    let name = man.get_filename();
    if name == "caller.1" || name == "bspan.1" {
        man.render_subcommands_section(&mut text)?;
    }
    if let Some(examples) = examples {
        // As they stand: shell commands do not survive being filled.
        let mut roff = Roff::default();
        roff.control("SH", ["EXTRA"]).control("nf", []);
        for line in examples.lines() {
            roff.text([roman(line)]);
        }
        roff.control("fi", []);
        roff.to_writer(&mut text)?;
    }
    if has_version {
        man.render_version_section(&mut text)?;
    }
    Ok((name, text))
}
