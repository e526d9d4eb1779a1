//! The binding as a Worker calls it: by JavaScript RPC, or by the plain HTTP of its wrapped binding.

use http::{Request as HttpRequest, Response};
use js_rpc::{
    Args, ByteStream, Context, LARGE, Payload, Service, ServiceResult, async_trait, offload,
    unknown_method,
};
use js_value::{JsError, Value};

use super::error::{Code, VectorizeError};
use super::index::Vectorize;
use super::operation::Operation;
use super::read;
use super::request::Request;
use super::vector::Write;

#[async_trait(?Send)]
impl Service for Vectorize {
    async fn call(&self, method: &str, args: Args, cx: &Context) -> ServiceResult {
        let Some(operation) = Operation::of_method(method) else {
            return unknown_method(method);
        };
        let first_version = self.options().first_version;
        let request = self.read_arguments(operation, args);
        let reply = self
            .perform(operation, cx.client(), cx.scope(), request)
            .await;
        let reply = reply.map_err(|error| thrown(operation, &error))?;
        let json = reply.to_json(self.name(), first_version);
        // Texts, numbers, lists and objects alone are JSON and JavaScript alike.
        Payload::of(&json).map_err(|error| JsError::error(error.to_string()))
    }

    async fn fetch(
        &self,
        request: HttpRequest<ByteStream>,
        cx: &Context,
    ) -> Result<Response<ByteStream>, JsError> {
        Ok(self.answer_http(request, cx.client(), cx.scope()).await)
    }
}

impl Vectorize {
    async fn read_arguments(
        &self,
        operation: Operation,
        args: Args,
    ) -> Result<Request, VectorizeError> {
        let index = self.clone();
        let large = args.values.iter().any(|value| value.is_larger_than(LARGE));
        let read = move || index.arguments(operation, args.values);
        match large {
            false => read(),
            true => offload(read).await.unwrap_or_else(|| {
                Err(VectorizeError::new(
                    Code::Store,
                    "the arguments could not be read",
                ))
            }),
        }
    }

    fn arguments(
        &self,
        operation: Operation,
        values: Vec<Value>,
    ) -> Result<Request, VectorizeError> {
        let (limits, dimensions) = (&self.options().limits, self.shape().dimensions);
        let arguments = read::Arguments::new(&values);
        let first_version = self.options().first_version;
        match operation {
            Operation::Describe => Ok(Request::Describe),
            Operation::Query | Operation::QueryById => {
                let by_id = operation == Operation::QueryById;
                read::query_of(&arguments, by_id, dimensions, limits, first_version)
                    .map(Request::Query)
            }
            Operation::Insert => read::batch_of(&arguments, operation, dimensions, limits)
                .map(|vectors| Request::Write(Write::Insert, vectors)),
            Operation::Upsert => read::batch_of(&arguments, operation, dimensions, limits)
                .map(|vectors| Request::Write(Write::Upsert, vectors)),
            Operation::GetByIds => {
                read::ids_of(&arguments, limits.max_ids_to_get).map(Request::Get)
            }
            Operation::DeleteByIds => {
                read::ids_of(&arguments, limits.max_ids_to_delete).map(Request::Delete)
            }
        }
    }
}

/// What workerd's wrapper of plain HTTP throws for the same error.
fn thrown(operation: Operation, error: &VectorizeError) -> JsError {
    let (prefix, number) = (operation.error(), error.code.number());
    JsError::error(format!("{prefix} (code = {number}): {error}"))
}
