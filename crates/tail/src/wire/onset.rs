//! How an invocation or a span begins, as it is read.

use binding_span::SpanId;
use binding_span_schema::tail_stream_capnp::{
    fetch_info, hibernatable_web_socket_info, js_rpc_info, onset,
};

use super::read::{LIST, Reading};
use super::{METHODS, MODELS};
use crate::json::date;
use crate::{
    FetchInfo, Header, JsonText, Onset, OnsetInfo, Preview, ScriptVersion, WebSocketEvent,
};

/// Labels of a service that are read.
const TAGS: u32 = 256;

impl Reading<'_> {
    pub(super) fn method(
        &mut self,
        call: js_rpc_info::Reader<'_>,
    ) -> capnp::Result<Option<String>> {
        self.optional(call.get_method_name())
    }

    pub(super) fn onset(&mut self, onset: onset::Reader<'_>) -> capnp::Result<Onset> {
        let tags = onset.get_script_tags()?;
        let mut script_tags = Vec::new();
        for i in 0..self.count(tags.len(), TAGS) {
            script_tags.push(self.text(tags.get(i)?));
        }
        let mut script_version = None;
        if onset.has_script_version() {
            let version = onset.get_script_version()?;
            let id = (u128::from(version.get_id_high()) << 64) | u128::from(version.get_id_low());
            script_version = Some(Box::new(ScriptVersion {
                id: Some(id).filter(|id| *id != 0),
                tag: match version.has_tag() {
                    true => Some(self.text(version.get_tag()?)),
                    false => None,
                },
                message: match version.has_message() {
                    true => Some(self.text(version.get_message()?)),
                    false => None,
                },
            }));
        }
        let mut preview = None;
        if onset.has_preview() {
            let from = onset.get_preview()?;
            preview = Some(Box::new(Preview {
                id: self.text(from.get_id()?),
                slug: self.text(from.get_slug()?),
                name: self.text(from.get_name()?),
            }));
        }
        Ok(Onset {
            execution_model: self.word("executionModel", &MODELS, onset.get_execution_model()),
            span_id: SpanId(onset.get_span_id()),
            dispatch_namespace: self.optional(onset.get_dispatch_namespace())?,
            entrypoint: self.optional(onset.get_entry_point())?,
            durable_object_id: self.optional(onset.get_durable_object_id())?,
            script_name: self.optional(onset.get_script_name())?,
            script_id: self.optional(onset.get_script_id())?,
            script_tags,
            script_version,
            preview,
            info: self.onset_info(onset.get_info()?)?,
            attributes: self.attributes(onset.get_attributes()?)?,
        })
    }

    fn onset_info(&mut self, info: onset::info::Reader<'_>) -> capnp::Result<OnsetInfo> {
        use onset::info;
        let which = match info.which() {
            Ok(which) => which,
            Err(other) => return Ok(self.unknown("onset.info", other, OnsetInfo::Unknown)),
        };
        Ok(match which {
            info::Fetch(fetch) => OnsetInfo::Fetch(Box::new(self.fetch(fetch?)?)),
            info::JsRpc(call) => OnsetInfo::Jsrpc {
                method: self.method(call?)?,
            },
            info::Scheduled(scheduled) => {
                let scheduled = scheduled?;
                OnsetInfo::Scheduled {
                    scheduled_time: date::of_millis(scheduled.get_scheduled_time()),
                    cron: self.text(scheduled.get_cron()?),
                }
            }
            info::Alarm(alarm) => OnsetInfo::Alarm {
                scheduled_time: date::of_millis(alarm?.get_scheduled_time_ms() as f64),
            },
            info::Queue(queue) => {
                let queue = queue?;
                OnsetInfo::Queue {
                    queue_name: self.text(queue.get_queue_name()?),
                    batch_size: queue.get_batch_size(),
                }
            }
            info::Email(email) => {
                let email = email?;
                OnsetInfo::Email {
                    mail_from: self.text(email.get_mail_from()?),
                    rcpt_to: self.text(email.get_rcpt_to()?),
                    raw_size: email.get_raw_size(),
                }
            }
            info::Trace(trace) => {
                let items = trace?.get_traces()?;
                let mut traces = Vec::new();
                for i in 0..self.count(items.len(), LIST) {
                    let item = items.get(i);
                    traces.push(match item.has_script_name() {
                        true => Some(self.text(item.get_script_name()?)),
                        false => None,
                    });
                }
                OnsetInfo::Trace { traces }
            }
            info::HibernatableWebSocket(event) => OnsetInfo::HibernatableWebSocket {
                info: self.web_socket(event?),
            },
            info::Connect(_) => OnsetInfo::Connect,
            info::Custom(_) => OnsetInfo::Custom,
        })
    }

    fn web_socket(&mut self, from: hibernatable_web_socket_info::Reader<'_>) -> WebSocketEvent {
        use hibernatable_web_socket_info::type_;
        match from.get_type().which() {
            Ok(type_::Message(())) => WebSocketEvent::Message,
            Ok(type_::Error(())) => WebSocketEvent::Error,
            Ok(type_::Close(close)) => WebSocketEvent::Close {
                code: close.get_code(),
                was_clean: close.get_was_clean(),
            },
            Err(other) => self.unknown("hibernatableWebSocket", other, WebSocketEvent::Unknown),
        }
    }

    pub(super) fn fetch(&mut self, from: fetch_info::Reader<'_>) -> capnp::Result<FetchInfo> {
        let list = from.get_headers()?;
        let mut fetch = FetchInfo {
            method: self.word("method", &METHODS, from.get_method()),
            url: self.text(from.get_url()?),
            cf_json: self.optional(from.get_cf_json())?.map(JsonText),
            headers: Vec::new(),
        };
        for i in 0..self.count(list.len(), LIST) {
            let header = list.get(i);
            fetch.headers.push(Header {
                name: self.text(header.get_name()?),
                value: self.text(header.get_value()?),
            });
        }
        self.headers.apply(&mut fetch);
        Ok(fetch)
    }
}
