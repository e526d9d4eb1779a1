//! js-rpc
