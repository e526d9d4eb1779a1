//! Doors for this crate's own fuzz targets. No part of the interface.

use std::fmt::Display;

use clap::CommandFactory;
use js_rpc::Address;

use crate::caller::serve::{self, settings};
use crate::cli::{self, Size, Switch};
use crate::listen::Endpoint;
use crate::telemetry::TailPeer;

/// A reader of one option's text; what was read, or why it cannot be.
pub type Reader = fn(&str) -> Result<String, String>;

/// What is said of a text as the file of a `callee`.
///
/// # Errors
/// As the program says it, before it is escaped.
pub fn callee_file(text: &str) -> Result<(), String> {
    crate::callee::check_text(text).map_err(|failure| failure.to_string())
}

/// The same, of a `caller serve`.
///
/// # Errors
/// As the program says it, before it is escaped.
pub fn caller_file(text: &str) -> Result<(), String> {
    serve::check_text(text).map_err(|failure| failure.to_string())
}

/// The keys that the files of both programs can have.
pub fn keys() -> Vec<String> {
    let callee = crate::callee::CalleeArgs::command();
    let caller = crate::caller::CallerArgs::command();
    let serve = caller.find_subcommand("serve").cloned();
    let commands = [Some(callee), serve];
    let arguments = commands
        .iter()
        .flatten()
        .flat_map(clap::Command::get_arguments);
    let keys = arguments.filter_map(|arg| arg.get_long().map(str::to_owned));
    keys.chain(["to", "connect-name", "path", "create"].map(String::from))
        .collect()
}

/// What `caller serve --http` answers to bytes; where it would call, it says what.
pub async fn http(bytes: &[u8]) -> Vec<u8> {
    serve::http::fuzzed::answers(bytes).await
}

/// What peers' words and paths look like where people read them.
pub fn shown(text: &str) -> String {
    tail::escape(text).to_string()
}

/// The readers of options, by what they read. What can be written again is written.
pub const READERS: [(&str, Reader); 10] = [
    ("address", |text| said(text.parse::<Address>())),
    ("endpoint", |text| {
        let read = text.parse::<Endpoint>();
        read.map(|endpoint| format!("{endpoint:?}"))
            .map_err(|error| error.to_string())
    }),
    ("target", |text| {
        settings::target("B", text).map(|target| format!("{target:?}"))
    }),
    ("http", |text| said(settings::http(text))),
    ("host", cli::host),
    ("rename", |text| {
        settings::rename(text).map(|rename| format!("{rename:?}"))
    }),
    ("peer", |text| {
        said(
            text.parse::<TailPeer>()
                .map(|peer| peer.address.to_string()),
        )
    }),
    ("time", |text| {
        cli::deadline(text).map(|time| format!("{time:?}"))
    }),
    ("size", |text| {
        said(text.parse::<Size>().map(|size| size.bytes()))
    }),
    ("switch", |text| {
        said(text.parse::<Switch>().map(|switch| switch.0))
    }),
];

fn said<T: Display, E: Display>(read: Result<T, E>) -> Result<String, String> {
    read.map(|it| it.to_string())
        .map_err(|error| error.to_string())
}
