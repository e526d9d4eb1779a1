//! binding-span
