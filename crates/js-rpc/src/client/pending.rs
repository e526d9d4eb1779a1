//! A call on its way: its result, its deadline, and what does not wait for it.

use std::cell::OnceCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use binding_span::CallScope;
use binding_span_schema::js_rpc_capnp::js_rpc_target;
use capnp::capability::{RemotePromise, Response};
use futures::channel::oneshot;
use futures::future::{Either, LocalBoxFuture, select};
use tokio::time::Instant;

use crate::client::method::Method;
use crate::client::reply::Reply;
use crate::client::route::{Owner, Route};
use crate::deadlines::Deadlines;
use crate::payload::{Args, ConvertError, Payload};
use crate::service::Service;
use crate::stub::{Ahead, Stub, Target, Via};
use crate::wire::{self, Operation};
use crate::{CallError, service};

type Answer = Response<js_rpc_target::call_results::Owned>;

/// A call on its way. Await it for the result; drop it to cancel it.
#[must_use = "dropping a pending call cancels it"]
pub struct PendingCall {
    future: LocalBoxFuture<'static, Result<Reply, CallError>>,
    /// What pipelined calls go to. It holds the answer open, so it goes when the result is there.
    pipeline: Option<Pipeline>,
}

struct Pipeline {
    source: Source,
    via: Via,
    /// What was given out of it, if anything.
    ahead: OnceCell<Ahead>,
}

enum Source {
    Sent(js_rpc_target::call_results::Pipeline),
    /// The call waits to be sent.
    Waiting(js_rpc_target::Client),
}

impl Pipeline {
    fn of(source: Source, via: Via) -> Option<Self> {
        Some(Self {
            source,
            via,
            ahead: OnceCell::new(),
        })
    }

    fn ahead(&self) -> &Ahead {
        self.ahead.get_or_init(|| {
            Ahead::of(match &self.source {
                Source::Sent(pipeline) => pipeline.get_call_pipeline(),
                Source::Waiting(target) => target.clone(),
            })
        })
    }
}

impl PendingCall {
    pub(crate) fn remote(
        owner: Owner,
        sent: RemotePromise<js_rpc_target::call_results::Owned>,
        limit: Duration,
    ) -> Self {
        let via = owner.via();
        Self {
            future: Box::pin(receive(owner, sent.promise, Deadline::after(limit))),
            pipeline: Pipeline::of(Source::Sent(sent.pipeline), via),
        }
    }

    /// A call that waits for room on its connection, and is sent then, also if nobody looks at it.
    pub(crate) fn waiting(route: Route, method: Method, args: Args, limit: Duration) -> Self {
        let deadline = Deadline::after(limit);
        let via = route.owner.via();
        let (target, is_sent) = oneshot::channel();
        let ahead = capnp_rpc::new_future_client(async move {
            let unsent = |_| capnp::Error::failed("jsg.Error: the call was not sent".into());
            is_sent.await.map_err(unsent)
        });
        let (mut tell, told) = oneshot::channel();
        tokio::task::spawn_local(async move {
            let room = {
                let deadlines = &route.owner.shared().deadlines;
                let room = std::pin::pin!(deadline.hold(deadlines, route.wait()));
                match select(room, tell.cancellation()).await {
                    Either::Left((room, _)) => room.and_then(|room| room),
                    Either::Right(_) => return,
                }
            };
            let sent = room.and_then(|room| route.send(room, &method, &args));
            // Whoever gave up meanwhile drops what was sent, which cancels it.
            let _ = tell.send((route.owner, sent));
        });
        let future = async move {
            match told.await {
                Ok((owner, Ok(sent))) => {
                    // Nobody may want it.
                    let _ = target.send(sent.pipeline.get_call_pipeline());
                    drop(sent.pipeline);
                    receive(owner, sent.promise, deadline).await
                }
                Ok((mut owner, Err(error))) => {
                    owner.settle(Some(&error));
                    Err(error)
                }
                // Its task ends without a word when the runtime does.
                Err(_) => Err(CallError::Canceled),
            }
        };
        Self {
            future: Box::pin(future),
            pipeline: Pipeline::of(Source::Waiting(ahead), via),
        }
    }

    pub(crate) fn failed(mut owner: Owner, error: CallError) -> Self {
        owner.settle(Some(&error));
        Self {
            future: Box::pin(async { Err(error) }),
            pipeline: None,
        }
    }

    /// A call of an object in this process: no wire, no span of its own and so nothing for its context
    /// to enrich. It runs as part of whatever is current, which the ambient `enrich` still means.
    pub(crate) fn local(
        service: Rc<dyn Service>,
        method: Method,
        args: Result<Args, ConvertError>,
        limit: Option<Duration>,
    ) -> Self {
        let deadline = limit.map(Deadline::after);
        let future = async move {
            let args = args.map_err(|error| CallError::Arguments(error.to_string()))?;
            let cx = service::Context {
                scope: CallScope::outside(),
                binding: "".into(),
                caller: None,
            };
            let call = async {
                match method.operation {
                    Operation::Call => service.call(&method.name, args, &cx).await,
                    Operation::Get => service.get(&method.name, &cx).await,
                }
            };
            let outcome = match deadline {
                Some(deadline) => deadline.hold_alone(call).await?,
                None => call.await,
            };
            let payload = outcome.map_err(|error| CallError::Thrown(Box::new(error)))?;
            Ok(Reply {
                payload,
                disposer: None,
            })
        };
        Self {
            future: Box::pin(future),
            pipeline: None,
        }
    }

    /// The result as an object, before it is there: calls of it are sent at once. Fails later, in
    /// those calls, if the result is nothing that can be called. `None` if the call was never sent, or
    /// has its result.
    ///
    /// When the call's deadline passes, this ends with it: the callee is told to stop, and calls of it fail
    /// as [`CallError::Canceled`].
    pub fn pipelined(&self) -> Option<Stub> {
        let pipeline = self.pipeline.as_ref()?;
        let target = Target::Ahead(pipeline.ahead().clone());
        Some(Stub::ahead(target, pipeline.via.clone()))
    }
}

impl Future for PendingCall {
    type Output = Result<Reply, CallError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let outcome = std::task::ready!(self.future.as_mut().poll(cx));
        let ahead = self.pipeline.take().and_then(|mut it| it.ahead.take());
        if let (Some(ahead), Err(CallError::Deadline(_))) = (ahead, &outcome) {
            ahead.end();
        }
        Poll::Ready(outcome)
    }
}

/// Until when a call may take, counted from when it was sent and not from when it is awaited.
#[derive(Clone, Copy)]
struct Deadline {
    limit: Duration,
    /// `None`: too far away for a clock.
    at: Option<Instant>,
}

impl Deadline {
    fn after(limit: Duration) -> Self {
        let at = Instant::now().checked_add(limit);
        Self { limit, at }
    }

    async fn hold<F: Future>(
        self,
        deadlines: &Deadlines,
        future: F,
    ) -> Result<F::Output, CallError> {
        match self.at {
            None => Ok(future.await),
            Some(at) => deadlines
                .hold(at, future)
                .await
                .ok_or(CallError::Deadline(self.limit)),
        }
    }

    /// The same for a call that has no connection.
    async fn hold_alone<F: Future>(self, future: F) -> Result<F::Output, CallError> {
        match self.at {
            None => Ok(future.await),
            Some(at) => tokio::time::timeout_at(at, future)
                .await
                .map_err(|_| CallError::Deadline(self.limit)),
        }
    }
}

async fn receive(
    mut owner: Owner,
    promise: capnp::capability::Promise<Answer, capnp::Error>,
    deadline: Deadline,
) -> Result<Reply, CallError> {
    let deadlines = Rc::clone(&owner.shared().deadlines);
    let outcome = match deadline.hold(&deadlines, promise).await {
        Ok(Ok(answer)) => read(&owner, &answer),
        Ok(Err(error)) => Err(CallError::from(error)),
        Err(error) => Err(error),
    };
    owner.settle(outcome.as_ref().err());
    outcome
}

/// Reads the result, then applies the enrichment, also if the result cannot be read. In this order: how
/// much of a message may be read is limited, and a hostile enrichment must not use that up.
fn read(owner: &Owner, answer: &Answer) -> Result<Reply, CallError> {
    let results = answer.get()?;
    let reply = read_reply(owner, results);
    if results.has_binding_span_enrichment() {
        let said = results.get_binding_span_enrichment();
        owner.enrich_from(said, reply.is_ok());
    }
    reply
}

fn read_reply(
    owner: &Owner,
    results: js_rpc_target::call_results::Reader<'_>,
) -> Result<Reply, CallError> {
    let unreadable = |error: capnp::Error| CallError::Result(crate::error::reason(&error));
    let result = results.get_result().map_err(unreadable)?;
    let limits = &owner.shared().limits.decode;
    let (value, targets) = wire::read_value(result, limits).map_err(unreadable)?;
    let disposer = match results.get_has_disposer() {
        true => results.get_call_pipeline().ok(),
        false => None,
    };
    let disposer = disposer.map(|target| Stub::imported(target, owner.via()));
    // Whoever keeps a stub of a result keeps what the result's disposer would end.
    let import = |target| Stub::part_of_result(target, owner.via(), disposer.clone());
    Ok(Reply {
        payload: Payload {
            value,
            stubs: targets.into_iter().map(import).collect(),
        },
        disposer,
    })
}
