//! The demo's AI gateway: it names the span when a call begins and adds the token counts when they are
//! known, those of a whole chat as long as that is held. No model runs; it turns words around and counts them.

use std::cell::Cell;

use js_rpc::{
    Args, CallScope, Context, Enrichment, Service, ServiceResult, Stub, async_trait, reply,
    unknown_method,
};

/// The binding `AI`: `open(model)` gives out a chat.
pub(super) struct Gateway;

#[async_trait(?Send)]
impl Service for Gateway {
    async fn call(&self, method: &str, args: Args, cx: &Context) -> ServiceResult {
        match method {
            "open" => {
                let model: String = args.first()?;
                cx.enrich(
                    Enrichment::new()
                        .name("ai_gateway.chat")
                        .attribute("gen_ai.operation.name", "chat")
                        .attribute("gen_ai.request.model", model.clone()),
                );
                reply(&Stub::new(Chat {
                    model,
                    turns: Cell::new(0),
                    tokens: Cell::new(0),
                    opened: cx.scope().clone(),
                }))
            }
            _ => unknown_method(method),
        }
    }
}

/// A chat that the caller holds.
struct Chat {
    model: String,
    turns: Cell<u32>,
    /// Those of all answers.
    tokens: Cell<usize>,
    /// The call that opened the chat, of which more can be said as long as the chat is held.
    opened: CallScope,
}

#[async_trait(?Send)]
impl Service for Chat {
    async fn call(&self, method: &str, args: Args, cx: &Context) -> ServiceResult {
        if method != "say" {
            return unknown_method(method);
        }
        let prompt: String = args.first()?;
        self.turns.set(self.turns.get() + 1);
        // First what is known at once ...
        let model = &self.model;
        cx.enrich(
            Enrichment::new()
                .name(format!("chat {model}"))
                .attribute("gen_ai.request.model", model.clone())
                .attribute("chat.turn", self.turns.get()),
        );
        let answer = generate(&prompt, cx).await;
        // ... then, as the work is done, what it took. Both reach the caller's span in one reply.
        cx.enrich(
            Enrichment::new()
                .attribute("gen_ai.usage.input_tokens", tokens(&prompt))
                .attribute("gen_ai.usage.output_tokens", tokens(&answer)),
        );
        self.tokens.set(self.tokens.get() + tokens(&answer));
        self.opened.enrich(
            Enrichment::new()
                .attribute("chat.turns", self.turns.get())
                .attribute("gen_ai.usage.output_tokens", self.tokens.get()),
        );
        reply(&answer)
    }
}

async fn generate(prompt: &str, cx: &Context) -> String {
    let _span = cx.child_span("model.generate");
    let mut words: Vec<&str> = prompt.split_whitespace().rev().collect();
    // A model takes its time; other calls go on meanwhile.
    tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    words.push("indeed");
    words.join(" ")
}

fn tokens(text: &str) -> usize {
    text.split_whitespace().count()
}
