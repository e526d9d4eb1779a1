//! Moving an index from one store to another.

use std::collections::HashMap;

use js_rpc::ClientId;

use super::backend::Backend;
use super::error::{Code, VectorizeError};
use super::index::Vectorize;
use super::vector::{Vector, Write};

/// Vectors that are read, written and compared at a time.
const PAGE: usize = 500;

/// How far a copy is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// So many vectors are copied, of about so many.
    Copied(u64, u64),
    /// So many vectors are found to be the same in both stores, of so many.
    Compared(u64, u64),
}

impl Vectorize {
    /// Copies all vectors to another index, then reads both and compares each vector. The number of vectors, if both
    /// have the same ones.
    ///
    /// A copy that was interrupted goes on where it was: what is there already, and the same, is not written again.
    /// Nothing is ever deleted. Nobody may write to either meanwhile.
    ///
    /// # Errors
    /// A store fails, their shapes are not the same, or the other index has a vector that this one has not.
    pub async fn copy_to(
        &self,
        to: &Self,
        progress: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<u64, VectorizeError> {
        copy(self.store(), to.store(), progress).await
    }
}

/// Copies all vectors that are not there, then reads both stores and compares each vector: every bit of its values, its namespace and its
/// metadata. The shapes must be the same. A copy that was interrupted is begun again without harm. Where the other store
/// has a vector that this one has not, the copy fails, and says which; nothing is ever deleted.
pub(super) async fn copy(
    from: &dyn Backend,
    to: &dyn Backend,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<u64, VectorizeError> {
    let (source, target) = (from.info().await?, to.info().await?);
    if (source.dimensions, source.metric) != (target.dimensions, target.metric) {
        return Err(VectorizeError::new(
            Code::Store,
            format!(
                "an index of {} dimensions by {} cannot be copied into one of {} by {}",
                source.dimensions, source.metric, target.dimensions, target.metric
            ),
        ));
    }
    let mut after: Option<String> = None;
    let mut copied = 0;
    loop {
        let page = from.page(after.as_deref(), PAGE).await?;
        let Some(last) = page.last() else { break };
        after = Some(last.id.clone());
        let count = page.len() as u64;
        let page = missing(to, page, target.vectors > 0).await?;
        if !page.is_empty() {
            to.write(ClientId::LOCAL, Write::Upsert, page).await?;
        }
        copied += count;
        progress(Progress::Copied(copied, source.vectors.max(copied)));
    }
    let compared = compare(from, to, copied, progress).await?;
    let counts = (from.info().await?.vectors, to.info().await?.vectors);
    match counts == (compared, compared) {
        true => Ok(compared),
        false => Err(differ(format!(
            "{compared} vectors were compared, but the one says that it has {}, the other {}",
            counts.0, counts.1
        ))),
    }
}

/// Those that the other store does not have just so.
async fn missing(
    to: &dyn Backend,
    mut page: Vec<Vector>,
    has_some: bool,
) -> Result<Vec<Vector>, VectorizeError> {
    if has_some {
        let ids = page.iter().map(|vector| vector.id.clone()).collect();
        let there = to.get(ClientId::LOCAL, ids).await?.into_iter();
        let there: HashMap<_, _> = there.map(|vector| (vector.id.clone(), vector)).collect();
        page.retain(|vector| {
            !there
                .get(&vector.id)
                .is_some_and(|other| same(vector, other))
        });
    }
    Ok(page)
}

/// The number of vectors, if both stores have the same ones.
pub(super) async fn compare(
    from: &dyn Backend,
    to: &dyn Backend,
    of: u64,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<u64, VectorizeError> {
    let mut after: Option<String> = None;
    let mut compared = 0;
    loop {
        let ours = from.page(after.as_deref(), PAGE).await?;
        let theirs = to.page(after.as_deref(), PAGE).await?;
        for pair in 0..ours.len().max(theirs.len()) {
            match (ours.get(pair), theirs.get(pair)) {
                (Some(our), Some(their)) if same(our, their) => compared += 1,
                (Some(our), Some(their)) if our.id == their.id => {
                    return Err(differ(format!(
                        "the vector {:?} is another one there",
                        our.id
                    )));
                }
                (Some(our), their) if their.is_none_or(|their| our.id < their.id) => {
                    return Err(differ(format!("the vector {:?} is missing there", our.id)));
                }
                (_, their) => {
                    let id = their.map_or("", |their| their.id.as_str());
                    return Err(differ(format!("the vector {id:?} is there only")));
                }
            }
        }
        let Some(last) = ours.last() else {
            return Ok(compared);
        };
        after = Some(last.id.clone());
        progress(Progress::Compared(compared, of.max(compared)));
    }
}

fn differ(text: String) -> VectorizeError {
    VectorizeError::new(
        Code::Store,
        format!(
            "the copy is not the same as what was copied: {text}; were they written to meanwhile?"
        ),
    )
}

/// Bit by bit; keys of metadata in their order.
fn same(a: &Vector, b: &Vector) -> bool {
    let bits = |vector: &Vector| {
        vector
            .values
            .iter()
            .map(|value| value.to_bits())
            .collect::<Vec<_>>()
    };
    let text = |vector: &Vector| {
        vector
            .metadata
            .as_ref()
            .map(|of| serde_json::to_string(of).ok())
    };
    a.id == b.id && a.namespace == b.namespace && bits(a) == bits(b) && text(a) == text(b)
}
