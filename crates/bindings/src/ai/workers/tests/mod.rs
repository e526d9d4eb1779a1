//! Inputs, replies and streams, as tables of cases.

mod hostile;
mod inputs;
mod reply;
mod stream;
