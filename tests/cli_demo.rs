//! cli_demo
