//! demo
pub mod callee;
use crate::exit::Failure;
pub(super) async fn run() -> Result<(), Failure> {
    Ok(())
}
