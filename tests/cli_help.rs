//! cli_help
