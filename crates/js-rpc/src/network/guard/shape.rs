//! What one message is, and whether this protocol has a use for it: an allow-list of kinds and forms,
//! and bounds on every list that the RPC system would walk.
//!
//! It knows nothing of earlier messages; [tables](super::tables) do. What a call carries is not looked
//! at: whoever reads it bounds it.

use capnp::struct_list;
use capnp_rpc::rpc_capnp::{
    call, cap_descriptor, disembargo, exception, message, message_target, payload, promised_answer,
    resolve, return_,
};

use super::violation::Violation;
use crate::NetworkLimits;
use crate::network::stats::Reason;

/// A message of an allowed shape.
pub(in crate::network) enum Shape<'a> {
    Bootstrap {
        question: u32,
    },
    Call {
        question: u32,
        target: Target,
        class: Class,
        /// Its results are to stay here, for a question of ours to take: it passes on what we wrote, back to us.
        elsewhere: bool,
    },
    Return {
        answer: u32,
        no_finish: bool,
        outcome: Outcome<'a>,
    },
    Finish {
        question: u32,
        release: bool,
    },
    Resolve {
        promise: u32,
        to: Resolution<'a>,
    },
    Release {
        id: u32,
        count: u32,
    },
    /// Its target is the RPC system's to judge: it holds no more than the message. `echo` is the id of
    /// one that we sent.
    Disembargo {
        echo: Option<u32>,
    },
    /// The peer did not know what to do with a resolve of ours, with this capability in it.
    Unresolved(Option<u32>),
    Abort(exception::Reader<'a>),
}

/// What a call is for, as far as it is counted by that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::network) enum Class {
    #[default]
    Other,
    /// It asks where a stream is to be written to, which is told at once and depends on nothing.
    Place,
    /// It is part of a stream, and returns when that was read.
    Stream,
}

impl Class {
    pub(super) const fn of(interface: u64, method: u16) -> Self {
        use binding_span_schema::call_capnp::watched_stream;
        use binding_span_schema::js_rpc_capnp::{byte_stream, external_pusher};
        use capnp::traits::HasTypeId;
        const PUSHER: u64 = external_pusher::Client::TYPE_ID;
        const STREAM: u64 = byte_stream::Client::TYPE_ID;
        const WATCHED: u64 = watched_stream::Client::TYPE_ID;
        match (interface, method) {
            (PUSHER, 0) | (STREAM, 2) => Self::Place,
            (STREAM, 0 | 1) | (WATCHED, 0) => Self::Stream,
            _ => Self::Other,
        }
    }
}

pub(in crate::network) enum Target {
    Export(u32),
    Answer(u32),
}

pub(in crate::network) enum Outcome<'a> {
    /// Its capabilities are in the list that [`judge`] fills.
    Results,
    Exception(exception::Reader<'a>),
    Canceled,
    /// Those of our answer to this question, which the peer asked for that.
    OfAnswer(u32),
}

pub(in crate::network) enum Resolution<'a> {
    Capability(Cap),
    Exception(exception::Reader<'a>),
}

/// A capability in a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::network) enum Cap {
    None,
    /// The sender's.
    Hosted(u32),
    /// The sender's, not settled.
    Promise(u32),
    /// The receiver's.
    Receiver(u32),
    /// The receiver's: in the answer to this question.
    Answer(u32),
}

impl Cap {
    /// Its id, if it is the sender's.
    pub(super) const fn given(self) -> Option<u32> {
        match self {
            Self::Hosted(id) | Self::Promise(id) => Some(id),
            Self::None | Self::Receiver(_) | Self::Answer(_) => None,
        }
    }
}

/// Judges a message. `caps` is filled with the capabilities of a call's parameters or results.
pub(super) fn judge<'a>(
    message: message::Reader<'a>,
    limits: &NetworkLimits,
    caps: &mut Vec<Cap>,
) -> Result<Shape<'a>, Violation> {
    caps.clear();
    let which = message
        .which()
        .map_err(|unknown| kind(&format!("number {}", unknown.0)))?;
    Ok(match which {
        message::Bootstrap(it) => Shape::Bootstrap {
            question: it?.get_question_id(),
        },
        message::Call(it) => call(it?, limits, caps)?,
        message::Return(it) => return_(it?, limits, caps)?,
        message::Finish(it) => {
            let it = it?;
            Shape::Finish {
                question: it.get_question_id(),
                release: it.get_release_result_caps(),
            }
        }
        message::Resolve(it) => resolve(it?, limits)?,
        message::Release(it) => {
            let it = it?;
            Shape::Release {
                id: it.get_id(),
                count: it.get_reference_count(),
            }
        }
        message::Disembargo(it) => disembargo(it?, limits)?,
        message::Unimplemented(it) => unimplemented(it?, limits)?,
        message::Abort(it) => Shape::Abort(it?),
        message::Provide(_) => return Err(kind("provide")),
        message::Accept(_) => return Err(kind("accept")),
        message::Join(_) => return Err(kind("join")),
        message::ObsoleteSave(_) | message::ObsoleteDelete(_) => {
            return Err(kind("save or delete"));
        }
    })
}

fn kind(name: &str) -> Violation {
    let detail = format!("a message of a kind that this protocol has no use for: {name}");
    Violation::new(Reason::Kind, detail)
}

fn form(what: &str) -> Violation {
    Violation::new(Reason::Form, what)
}

fn call<'a>(
    it: call::Reader<'a>,
    limits: &NetworkLimits,
    caps: &mut Vec<Cap>,
) -> Result<Shape<'a>, Violation> {
    let class = Class::of(it.get_interface_id(), it.get_method_id());
    let elsewhere = match it.get_send_results_to().which()? {
        call::send_results_to::Caller(()) => false,
        call::send_results_to::Yourself(()) if class == Class::Stream => true,
        _ => return Err(form("a call whose results go elsewhere than to its caller")),
    };
    if !it.has_target() {
        return Err(form("a call of nothing"));
    }
    let target = target(it.get_target()?, limits)?;
    capabilities(it.get_params()?, limits, caps)?;
    Ok(Shape::Call {
        question: it.get_question_id(),
        target,
        class,
        elsewhere,
    })
}

fn return_<'a>(
    it: return_::Reader<'a>,
    limits: &NetworkLimits,
    caps: &mut Vec<Cap>,
) -> Result<Shape<'a>, Violation> {
    let outcome = match it.which()? {
        return_::Results(results) => {
            capabilities(results?, limits, caps)?;
            Outcome::Results
        }
        return_::Exception(exception) => Outcome::Exception(exception?),
        return_::Canceled(()) => Outcome::Canceled,
        return_::TakeFromOtherQuestion(answer) => Outcome::OfAnswer(answer),
        _ => return Err(form("a return whose results are elsewhere")),
    };
    Ok(Shape::Return {
        answer: it.get_answer_id(),
        no_finish: it.get_no_finish_needed(),
        outcome,
    })
}

fn resolve<'a>(it: resolve::Reader<'a>, limits: &NetworkLimits) -> Result<Shape<'a>, Violation> {
    let to = match it.which()? {
        resolve::Cap(descriptor) => match capability(descriptor?, limits)? {
            Cap::None => return Err(form("a promise that resolves to no capability")),
            cap => Resolution::Capability(cap),
        },
        resolve::Exception(exception) => Resolution::Exception(exception?),
    };
    Ok(Shape::Resolve {
        promise: it.get_promise_id(),
        to,
    })
}

fn disembargo<'a>(
    it: disembargo::Reader<'a>,
    limits: &NetworkLimits,
) -> Result<Shape<'a>, Violation> {
    let echo = match it.get_context().which()? {
        disembargo::context::SenderLoopback(_) => None,
        disembargo::context::ReceiverLoopback(id) => Some(id),
        _ => return Err(form("a disembargo for a third party")),
    };
    target(it.get_target()?, limits)?;
    Ok(Shape::Disembargo { echo })
}

/// Of all that we send, only a resolve may be unknown to a peer.
fn unimplemented<'a>(
    it: message::Reader<'a>,
    limits: &NetworkLimits,
) -> Result<Shape<'a>, Violation> {
    let message::Resolve(resolve) = it.which()? else {
        return Err(form("the peer does not implement a message that is needed"));
    };
    Ok(Shape::Unresolved(match resolve?.which()? {
        resolve::Cap(descriptor) => match capability(descriptor?, limits)? {
            Cap::Hosted(id) | Cap::Promise(id) => Some(id),
            _ => None,
        },
        resolve::Exception(_) => None,
    }))
}

fn target(it: message_target::Reader<'_>, limits: &NetworkLimits) -> Result<Target, Violation> {
    Ok(match it.which()? {
        message_target::ImportedCap(id) => Target::Export(id),
        message_target::PromisedAnswer(answer) => Target::Answer(promised(answer?, limits)?),
    })
}

fn promised(it: promised_answer::Reader<'_>, limits: &NetworkLimits) -> Result<u32, Violation> {
    let steps = it.get_transform()?;
    if steps.len() > limits.transform {
        let detail = format!("{} steps to a capability", steps.len());
        return Err(Violation::new(Reason::TooLong, detail));
    }
    for step in steps {
        step.which()?;
    }
    Ok(it.get_question_id())
}

fn capabilities(
    it: payload::Reader<'_>,
    limits: &NetworkLimits,
    caps: &mut Vec<Cap>,
) -> Result<(), Violation> {
    if !it.has_cap_table() {
        return Ok(());
    }
    let table: struct_list::Reader<'_, cap_descriptor::Owned> = it.get_cap_table()?;
    if table.len() > limits.capabilities {
        let detail = format!("{} capabilities in one message", table.len());
        return Err(Violation::new(Reason::TooLong, detail));
    }
    for descriptor in table {
        caps.push(capability(descriptor, limits)?);
    }
    Ok(())
}

fn capability(it: cap_descriptor::Reader<'_>, limits: &NetworkLimits) -> Result<Cap, Violation> {
    Ok(match it.which()? {
        cap_descriptor::None(()) => Cap::None,
        cap_descriptor::SenderHosted(id) => Cap::Hosted(id),
        cap_descriptor::SenderPromise(id) => Cap::Promise(id),
        cap_descriptor::ReceiverHosted(id) => Cap::Receiver(id),
        cap_descriptor::ReceiverAnswer(answer) => Cap::Answer(promised(answer?, limits)?),
        cap_descriptor::ThirdPartyHosted(_) => {
            return Err(form("a capability of a third party"));
        }
    })
}
