//! What a call sets on its caller's span: OpenTelemetry's `db.*`, and `cloudflare.vectorize.*` for what those lack.
//!
//! Names of properties are on spans; values, ids and texts of metadata are not.

use binding_span::{ERROR_MESSAGE, ERROR_TYPE, Enrichment};

use super::error::VectorizeError;
use super::operation::Operation;
use super::options::{Limits, Shape};
use super::reply::Reply;
use super::request::Request;
use super::vector::{MetadataLevel, Query};

/// What is known of a call by its method, before its arguments are read.
pub(super) fn begun(operation: Operation, index: &str, shape: Shape) -> Enrichment {
    Enrichment::new()
        .name(operation.span())
        .attribute("db.system.name", "cloudflare-vectorize")
        .attribute("db.namespace", index.to_owned())
        .attribute("db.operation.name", operation.name())
        .attribute("cloudflare.binding.type", "Vectorize")
        .attribute(
            "cloudflare.vectorize.index.dimensions",
            shape.dimensions as i64,
        )
        .attribute("cloudflare.vectorize.index.metric", shape.metric.name())
}

/// What it asks for, before it runs.
pub(super) fn asked(request: &Request, limits: &Limits) -> Enrichment {
    let batch = |size: usize| Enrichment::new().attribute("db.operation.batch.size", size as i64);
    match request {
        Request::Describe => Enrichment::new(),
        Request::Query(query) => of_query(query, limits),
        Request::Write(_, vectors) => batch(vectors.len()),
        Request::Get(ids) | Request::Delete(ids) => batch(ids.len()),
    }
}

fn of_query(query: &Query, limits: &Limits) -> Enrichment {
    let metadata = match query.metadata {
        MetadataLevel::None => "none",
        MetadataLevel::Indexed => "indexed",
        MetadataLevel::All => "all",
    };
    let mut asked = Enrichment::new()
        .attribute("cloudflare.vectorize.query.top_k", query.top_k as i64)
        .attribute("cloudflare.vectorize.query.return_values", query.values)
        .attribute("cloudflare.vectorize.query.return_metadata", metadata);
    // It is not checked yet, and one that is too long is refused.
    if let Some(namespace) = &query.namespace
        && namespace.len() <= limits.max_namespace_bytes
    {
        asked.set_attribute("cloudflare.vectorize.query.namespace", namespace.clone());
    }
    if let Some(filter) = &query.filter {
        asked.set_attribute("cloudflare.vectorize.query.filter_keys", filter.keys());
    }
    asked
}

/// What came of it.
pub(super) fn answered(reply: &Reply) -> Enrichment {
    let answered = Enrichment::new();
    match reply {
        Reply::Info(info) => {
            answered.attribute("cloudflare.vectorize.index.vectors", info.vectors as i64)
        }
        Reply::Found(found) => {
            let mut answered = answered
                .attribute("db.response.returned_rows", found.matches.len() as i64)
                .attribute("cloudflare.vectorize.response.search", found.search.name());
            if let Some(scanned) = found.scanned {
                let key = "cloudflare.vectorize.response.vectors_scanned";
                answered.set_attribute(key, scanned as i64);
            }
            answered
        }
        Reply::Mutation(mutation) => answered
            .attribute(
                "cloudflare.vectorize.response.mutation_id",
                mutation.id.clone(),
            )
            .attribute(
                "cloudflare.vectorize.response.vectors_changed",
                mutation.ids.len() as i64,
            ),
        Reply::Vectors(vectors) => {
            answered.attribute("db.response.returned_rows", vectors.len() as i64)
        }
    }
}

/// Why it failed. The text for the caller may name ids, so a span has another one.
pub(super) fn failed(operation: Operation, error: &VectorizeError) -> Enrichment {
    let number = error.code.number();
    Enrichment::new()
        .attribute("db.response.status_code", number.to_string())
        .attribute(ERROR_TYPE, error.code.name())
        .attribute(ERROR_MESSAGE, stated(operation, error))
}

/// What went wrong, without anything that the caller sent.
pub(super) fn stated(operation: Operation, error: &VectorizeError) -> String {
    let (prefix, number) = (operation.error(), error.code.number());
    format!(
        "{prefix} (code = {number}): {}",
        error.code.name().replace('_', " ")
    )
}
