//! The path of every call that leaves this process, whoever makes it: a permit, the message, the answer, its
//! enrichment, and how the call ended. One deadline for all of it.
//!
//! What travels in it differs: values for services of this process, bytes for calls that are passed on.

use std::cell::{Cell, OnceCell};
use std::rc::Rc;

use binding_span::StatedError;
use binding_span_schema::call_capnp::call_target;
use binding_span_schema::js_rpc_capnp::external_pusher;
use binding_span_schema::js_rpc_capnp::js_rpc_target::{self, call_params, call_results};
use capnp::capability::{FromClientHook, Promise, Response};
use futures::channel::oneshot;
use futures::future::{Either, select};
use js_value::Value;
use tokio::time::Instant;

use super::observer;
use super::permit::{Ask, Permit};
use super::remote::{Ahead, Remote, Target, Via};
use super::route::{Route, Way};
use crate::beside::{Beside, Inward, Outward};
use crate::deadlines::Deadline;
use crate::error::{read_failure, reason};
use crate::object::Operation;
use crate::object::{Args, Call, Method, Payload, PendingCall, Pipeline, Reply, Stub};
use crate::shared::{InFlight, KeepAlive};
use crate::streaming::{Flow, Transfer};
use crate::wire::{self, EncodedValue};
use crate::{CallError, ClientId};

/// What a call carries there, and what is made of what comes back.
pub(crate) trait Content {
    /// What the call returns.
    type Output;
    /// The same as far as it can be read at once.
    type Read;

    /// Bytes that it takes in a message, but for what is small.
    fn size(&self) -> usize;

    /// Writes what is called and with what. `pusher` gives what takes streams there.
    fn write(
        &self,
        params: call_params::Builder<'_>,
        route: &Route,
        pusher: &dyn Fn() -> external_pusher::Client,
    ) -> Result<(), CallError>;

    /// Reads the result, or takes what is needed to.
    fn read(
        &mut self,
        results: call_results::Reader<'_>,
        route: &Route,
    ) -> Result<Self::Read, CallError>;

    /// Reads what was only taken.
    fn finish(
        &self,
        read: Self::Read,
        route: &Route,
    ) -> impl Future<Output = Result<Self::Output, CallError>>;
}

/// A call that leaves.
pub(crate) struct Outgoing<C> {
    route: Route,
    pub(crate) content: C,
    deadline: Deadline,
    /// Whether its result will be called before it is there.
    pipeline: bool,
    made: Made,
    _in_flight: Option<InFlight>,
}

/// How a call came to be made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Made {
    /// On whose behalf: where it has to wait, that is whose turn it waits for.
    pub(crate) client: ClientId,
    /// It had begun to arrive before a shutdown did, which lets it finish.
    pub(crate) begun: bool,
}

/// A call that was sent.
pub(crate) struct Sent {
    answer: Answer,
    /// What its result will be.
    pub(crate) pipeline: Option<js_rpc_target::Client>,
    /// Completes when the observer that the callee was given is not needed any more.
    observed: Option<oneshot::Receiver<()>>,
}

enum Answer {
    ThreeCalls(Promise<Response<call_results::Owned>, capnp::Error>),
    OneMessage(Promise<Response<call_target::response::Owned>, capnp::Error>),
}

impl<C: Content> Outgoing<C> {
    pub(crate) fn new(
        route: Route,
        content: C,
        deadline: Deadline,
        pipeline: bool,
        made: Made,
    ) -> Self {
        // What came in an argument is called as part of a call that counts already.
        let in_flight = route.session().map(|session| session.shared().enter());
        Self {
            route,
            content,
            deadline,
            pipeline,
            made,
            _in_flight: in_flight,
        }
    }

    /// Sends the call, if it need not wait.
    pub(crate) fn try_send(&self) -> Option<Result<Sent, CallError>> {
        let refuses = self.route.shared().is_draining() && !self.made.begun;
        if refuses && self.route.opens().is_some() {
            let why = "it is shutting down".into();
            return Some(Err(CallError::Overloaded(why)));
        }
        let permit = self.route.permit(self.ask())?;
        Some(self.send_with(permit))
    }

    /// Sends the call, when it is its turn.
    pub(crate) async fn send(&self) -> Result<Sent, CallError> {
        let deadlines = &self.route.shared().deadlines;
        let waited = self.route.wait(self.ask());
        let permit = match self.deadline.hold(deadlines, waited).await {
            Ok(permit) => permit?,
            Err(error) => {
                self.route.given_up(&error);
                return Err(error);
            }
        };
        self.send_with(permit)
    }

    fn ask(&self) -> Ask {
        Ask {
            client: self.made.client,
            bytes: self.content.size(),
        }
    }

    fn send_with(&self, mut permit: Permit) -> Result<Sent, CallError> {
        match self.route.way(&mut permit).ok_or(CallError::Canceled)? {
            Way::ThreeCalls(target) => {
                let mut request = target.call_request();
                let mut params = request.get();
                self.fill(params.reborrow(), &|| target.clone().cast_to())?;
                if let Some(streams) = self.route.streams() {
                    let mut handler = params.init_results_stream_handler();
                    handler.set_external_pusher(streams.pusher());
                }
                let sent = request.send();
                let pipeline = self.pipeline.then(|| sent.pipeline.get_call_pipeline());
                Ok(Sent {
                    answer: Answer::ThreeCalls(sent.promise),
                    pipeline,
                    observed: None,
                })
            }
            Way::OneMessage(target, name) => {
                let mut request = target.invoke_request();
                let mut message = request.get();
                if let Some(name) = name {
                    message.set_binding(name);
                }
                let params = message.reborrow().init_params();
                self.fill(params, &|| target.clone().cast_to())?;
                message.set_time_left(self.deadline.millis_left());
                message.set_wants_pipeline(self.pipeline);
                let call = self.route.call();
                let observed = call.is_live().then(|| {
                    let (observer, over) = observer::observe(call);
                    message.set_observer(observer);
                    over
                });
                let sent = request.send();
                let pipeline = self
                    .pipeline
                    .then(|| sent.pipeline.get_returned().get_call_pipeline());
                Ok(Sent {
                    answer: Answer::OneMessage(sent.promise),
                    pipeline,
                    observed,
                })
            }
        }
    }

    fn fill(
        &self,
        mut params: call_params::Builder<'_>,
        pusher: &dyn Fn() -> external_pusher::Client,
    ) -> Result<(), CallError> {
        self.content.write(params.reborrow(), &self.route, pusher)?;
        if let Some(context) = self.route.call().span().context() {
            binding_span::wire::write_span_context(&context, params.init_caller_span());
        }
        Ok(())
    }

    /// Waits for the answer, and settles the call with it.
    pub(crate) async fn receive(&mut self, sent: Sent) -> Result<C::Output, CallError> {
        let deadlines = Rc::clone(&self.route.shared().deadlines);
        let outcome = match sent.answer {
            Answer::ThreeCalls(promise) => match self.deadline.hold(&deadlines, promise).await {
                Ok(answer) => self.read_three_calls(answer),
                Err(error) => Err(error),
            },
            Answer::OneMessage(promise) => match self.deadline.hold(&deadlines, promise).await {
                Ok(answer) => self.read_one_message(answer, sent.observed),
                Err(error) => Err(error),
            },
        };
        let outcome = match outcome {
            Ok(read) => self.content.finish(read, &self.route).await,
            Err(error) => Err(error),
        };
        self.route.settle(outcome.as_ref().err());
        outcome
    }

    /// What the callee says went wrong in a call that returned.
    fn stated_error(&self) -> Option<Box<StatedError>> {
        self.route.call().stated_error().map(Box::new)
    }

    /// What it carried.
    pub(crate) fn into_content(self) -> C {
        self.content
    }

    /// The call failed before it was sent.
    pub(crate) fn fail(&self, error: CallError) -> CallError {
        self.route.settle(Some(&error));
        error
    }

    fn read_three_calls(
        &mut self,
        answer: capnp::Result<Response<call_results::Owned>>,
    ) -> Result<C::Read, CallError> {
        let answer = answer?;
        let results = answer.get()?;
        let output = self.content.read(results, &self.route);
        let said = results.has_binding_span_enrichment();
        let said = said.then(|| results.get_binding_span_enrichment());
        self.route.call().hear_answer(said, output.is_ok());
        output
    }

    fn read_one_message(
        &mut self,
        answer: capnp::Result<Response<call_target::response::Owned>>,
        observed: Option<oneshot::Receiver<()>>,
    ) -> Result<C::Read, CallError> {
        let answer = answer?;
        let response = answer.get()?;
        let output = match response.has_failure() {
            true => Err(self.read_failure(response)),
            false => {
                let results = response.get_returned();
                results
                    .map_err(unreadable)
                    .and_then(|results| self.content.read(results, &self.route))
            }
        };
        if response.has_session() && self.route.call().is_wanted() {
            // More may follow, within the caps of the whole.
            self.route.call().expect_parts();
        }
        let said = response.has_enrichment();
        let said = said.then(|| response.get_enrichment());
        self.route.call().hear_answer(said, output.is_ok());
        if response.has_session()
            && let Ok(held) = response.get_session()
        {
            self.route.hold(held, observed);
        }
        output
    }

    fn read_failure(&self, response: call_target::response::Reader<'_>) -> CallError {
        let limits = &self.route.shared().limits.decode;
        match response.get_failure() {
            Ok(failure) => read_failure(failure, self.deadline.limit(), limits),
            Err(error) => unreadable(error),
        }
    }
}

fn unreadable(error: capnp::Error) -> CallError {
    CallError::Result(reason(&error))
}

/// The streams of a call's arguments, which break off if it fails.
#[derive(Default)]
pub(crate) struct ArgumentStreams {
    transfer: OnceCell<Rc<Transfer>>,
    returned: Cell<bool>,
}

impl ArgumentStreams {
    pub(crate) fn transfer(&self, route: &Route, keep: Option<KeepAlive>) -> Rc<Transfer> {
        Rc::clone(self.transfer.get_or_init(|| route.transfer(keep)))
    }

    /// The call returned: whoever has them may go on reading.
    pub(crate) fn keep(&self) {
        self.returned.set(true);
    }
}

impl Drop for ArgumentStreams {
    fn drop(&mut self) {
        if let Some(transfer) = self.transfer.get()
            && !self.returned.get()
        {
            transfer.cut();
        }
    }
}

/// A call of values.
struct Values {
    method: Method,
    streams: ArgumentStreams,
    args: Option<EncodedValue>,
    /// Arguments that are large and are still to be written.
    unwritten: Option<Args>,
}

impl Values {
    /// Writes arguments elsewhere that are large.
    async fn prepare(&mut self) -> Result<(), CallError> {
        if let Some(args) = self.unwritten.take() {
            let encoded = wire::encode_large_args(args).await;
            self.args = encoded.map_err(CallError::Arguments)?;
        }
        Ok(())
    }
}

/// A result that is there, or the bytes of one that is large.
enum Read {
    Done(Reply),
    Bytes(Box<Unread>),
}

struct Unread {
    bytes: Vec<u8>,
    beside: Vec<Beside>,
    disposer: Option<Stub>,
}

/// A reply of a value and what came with it.
fn reply_of(
    value: Value,
    beside: Vec<Beside>,
    disposer: Option<Stub>,
    route: &Route,
) -> Result<Reply, CallError> {
    // Whoever keeps a stub of a result keeps what the result's disposer would end.
    let stub = |target| Remote::stub(Target::There(target), route.via(), disposer.clone());
    let mut externals = Vec::new();
    if !beside.is_empty() {
        let inward = Inward {
            streams: route.streams().ok_or(CallError::Canceled)?,
            wire: route.wire(),
            transfer: &|| route.transfer(None),
        };
        let beside = beside.into_iter();
        externals = beside.map(|it| inward.import(it, stub)).collect();
    }
    Ok(Reply {
        payload: Payload { value, externals },
        disposer,
        stated: None,
    })
}

impl Content for Values {
    type Output = Reply;
    type Read = Read;

    fn size(&self) -> usize {
        self.args.as_ref().map_or(0, EncodedValue::size)
    }

    fn write(
        &self,
        mut params: call_params::Builder<'_>,
        route: &Route,
        pusher: &dyn Fn() -> external_pusher::Client,
    ) -> Result<(), CallError> {
        wire::write_method(&self.method.name, params.reborrow());
        let mut operation = params.init_operation();
        match (&self.method.operation, &self.args) {
            (Operation::Get, _) => operation.set_get_property(()),
            (Operation::Call, None) => {}
            (Operation::Call, Some(args)) => {
                let outward = Outward {
                    streams: route.streams().ok_or(CallError::Canceled)?,
                    wire: route.wire(),
                    pusher: &|| Some(pusher()),
                    transfer: &|| self.streams.transfer(route, None),
                    flow: Flow::Sent,
                };
                let home = OnceCell::new();
                let home = || home.get_or_init(|| route.home()).as_ref();
                let export = |stub: &Stub| match home() {
                    Some(home) => crate::serve::export(stub, home),
                    None => crate::serve::failed(&CallError::Canceled),
                };
                let written = args.write(operation.init_call_with_args(), |external, to| {
                    outward.export(external, to, export)
                });
                written.map_err(|error| CallError::Arguments(reason(&error)))?;
            }
        }
        Ok(())
    }

    fn read(
        &mut self,
        results: call_results::Reader<'_>,
        route: &Route,
    ) -> Result<Read, CallError> {
        self.streams.keep();
        let result = results.get_result().map_err(unreadable)?;
        let disposer = match results.get_has_disposer() {
            true => results.get_call_pipeline().ok(),
            false => None,
        };
        let disposer =
            disposer.map(|target| Remote::stub(Target::There(target), route.via(), None));
        if let Some((bytes, beside)) = wire::large_value(result).map_err(unreadable)? {
            return Ok(Read::Bytes(Box::new(Unread {
                bytes,
                beside,
                disposer,
            })));
        }
        let limits = &route.shared().limits.decode;
        let (value, beside) = wire::read_value(result, limits).map_err(unreadable)?;
        Ok(Read::Done(reply_of(value, beside, disposer, route)?))
    }

    async fn finish(&self, read: Read, route: &Route) -> Result<Reply, CallError> {
        let unread = match read {
            Read::Done(reply) => return Ok(reply),
            Read::Bytes(unread) => *unread,
        };
        let limits = &route.shared().limits.decode;
        let value = wire::read_large_value(unread.bytes, &unread.beside, limits);
        // Apart, since few calls need it.
        let value = Box::pin(value).await.map_err(unreadable)?;
        reply_of(value, unread.beside, unread.disposer, route)
    }
}

/// Waits for the answer to a call of values.
async fn reply(mut outgoing: Outgoing<Values>, sent: Sent) -> Result<Reply, CallError> {
    let mut reply = outgoing.receive(sent).await?;
    reply.stated = outgoing.stated_error();
    Ok(reply)
}

/// Makes a call of values.
pub(super) fn start(route: Route, call: Call, pipeline: bool) -> PendingCall {
    let Call {
        method,
        args,
        deadline,
        since,
        client,
        begun,
        ..
    } = call;
    let began = since.map_or_else(Instant::now, Instant::from_std);
    let deadline = Deadline::since(began, deadline.unwrap_or_else(|| route.deadline()));
    let mut content = Values {
        method,
        streams: ArgumentStreams::default(),
        args: None,
        unwritten: None,
    };
    let mut unsent = None;
    match args.map_err(|error| error.to_string()) {
        // Calls of one object leave in the order in which they are made.
        Ok(args) if route.opens().is_some() && wire::are_large(&args) => {
            content.unwritten = Some(args);
        }
        args => match args.and_then(wire::encode_args) {
            Ok(args) => content.args = args,
            Err(error) => unsent = Some(CallError::Arguments(error)),
        },
    }
    let made = Made { client, begun };
    let outgoing = Outgoing::new(route, content, deadline, pipeline, made);
    let sent = match unsent {
        Some(error) => Some(Err(error)),
        None if outgoing.content.unwritten.is_some() => None,
        None => outgoing.try_send(),
    };
    match sent {
        Some(Ok(mut sent)) => {
            let via = || outgoing.route.via();
            let pipeline = sent.pipeline.take().map(|target| Early::of(target, via()));
            PendingCall::new(reply(outgoing, sent), pipeline)
        }
        Some(Err(error)) => {
            let error = outgoing.fail(error);
            PendingCall::new(async { Err(error) }, None)
        }
        None => wait(outgoing),
    }
}

/// A call that waits for its turn, and is sent then, also if nobody looks at it.
fn wait(mut outgoing: Outgoing<Values>) -> PendingCall {
    let via = outgoing.route.via();
    let (target, is_sent) = oneshot::channel();
    let pipeline = outgoing.pipeline.then(|| {
        // Calls of its result fail as it does.
        let unsent = |_| crate::serve::failed(&CallError::Canceled);
        let ahead = async move { Ok(is_sent.await.unwrap_or_else(unsent)) };
        let ahead = capnp_rpc::new_future_client(ahead);
        Early::of(ahead, via)
    });
    let (mut tell, told) = oneshot::channel();
    tokio::task::spawn_local(async move {
        let mut sent = {
            let sent = std::pin::pin!(async {
                outgoing.content.prepare().await?;
                outgoing.send().await
            });
            // In this order: one that was dropped does not leave because its turn has come as well.
            match select(tell.cancellation(), sent).await {
                Either::Left(_) => return,
                Either::Right((sent, _)) => sent,
            }
        };
        let pipeline = match &mut sent {
            Ok(sent) => sent.pipeline.take(),
            Err(error) => {
                outgoing.route.never_sent(error);
                Some(crate::serve::failed(error))
            }
        };
        if let Some(pipeline) = pipeline {
            // Nobody may want it. Who does need not look at the call itself.
            let _ = target.send(pipeline);
        }
        // Whoever gave up meanwhile drops what was sent, which cancels it.
        let _ = tell.send((outgoing, sent));
    });
    let future = async move {
        match told.await {
            Ok((outgoing, Ok(sent))) => reply(outgoing, sent).await,
            Ok((outgoing, Err(error))) => Err(outgoing.fail(error)),
            // Its task ends without a word when the runtime does.
            Err(_) => Err(CallError::Canceled),
        }
    };
    PendingCall::new(future, pipeline)
}

/// The result of a call that is not there.
struct Early {
    target: js_rpc_target::Client,
    via: Via,
    /// What was given out of it, if anything.
    ahead: OnceCell<Ahead>,
}

impl Early {
    fn of(target: js_rpc_target::Client, via: Via) -> Box<dyn Pipeline> {
        let ahead = OnceCell::new();
        Box::new(Self { target, via, ahead })
    }
}

impl Pipeline for Early {
    fn stub(&self) -> Stub {
        let ahead = self.ahead.get_or_init(|| Ahead::of(self.target.clone()));
        Remote::stub(Target::Ahead(ahead.clone()), self.via.clone(), None)
    }

    fn end(&self) {
        if let Some(ahead) = self.ahead.get() {
            ahead.end();
        }
    }
}
