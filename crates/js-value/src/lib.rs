//! js-value
