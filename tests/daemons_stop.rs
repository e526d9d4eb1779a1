//! daemons_stop
