//! demo
use crate::exit::Failure;
pub(crate) async fn run(_folder: &std::path::Path) -> Result<(), Failure> {
    Ok(())
}
