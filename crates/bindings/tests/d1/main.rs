//! A D1 database on real files, through the public interface alone.
#![allow(missing_docs)]

mod batches;
mod concurrency;
mod figures;
mod guards;
mod happy_path;
mod http;
mod opening;
mod rows;
mod service;
mod statements;
mod support;
