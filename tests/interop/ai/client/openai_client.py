"""OpenAI's client library for Python does what it is asked to and prints what came of it, as a line of JSON each.

openai_client.py REQUESTS, a list of {"operation", "base", "key", "model", "retries", "usage", ...more of the request};
"usage": false does not ask a stream for its usage.
"""

import json
import sys

import openai

MESSAGES = [{"role": "user", "content": "Say something."}]


def usage(answer):
    return answer.usage.to_dict() if answer.usage else None


def chat(client, model, more):
    answer = client.chat.completions.create(model=model, messages=MESSAGES, **more)
    message = answer.choices[0].message
    calls = [call.function.to_dict() for call in message.tool_calls or []]
    return {
        "text": message.content or "",
        "calls": calls,
        "finish": answer.choices[0].finish_reason,
        "usage": usage(answer),
    }


def stream(client, model, more):
    seen = {"text": "", "calls": [], "finish": None, "usage": None, "chunks": 0}
    if more.pop("usage", True):
        more["stream_options"] = {"include_usage": True}
    for chunk in client.chat.completions.create(model=model, messages=MESSAGES, stream=True, **more):
        seen["chunks"] += 1
        seen["usage"] = usage(chunk) or seen["usage"]
        for choice in chunk.choices:
            seen["text"] += choice.delta.content or ""
            seen["finish"] = choice.finish_reason or seen["finish"]
            for part in choice.delta.tool_calls or []:
                if part.index == len(seen["calls"]):
                    seen["calls"].append({"name": "", "arguments": ""})
                call = seen["calls"][part.index]
                call["name"] += part.function.name or ""
                call["arguments"] += part.function.arguments or ""
    return seen


def leave(client, model, more):
    """Goes away after the first piece of text."""
    with client.chat.completions.create(model=model, messages=MESSAGES, stream=True, **more) as chunks:
        for chunk in chunks:
            if chunk.choices and chunk.choices[0].delta.content:
                return {"text": chunk.choices[0].delta.content}
    return {"text": None}


def embeddings(client, model, more):
    answer = client.embeddings.create(model=model, **more)
    lengths = [len(entry.embedding) for entry in answer.data]
    return {"lengths": lengths, "first": answer.data[0].embedding[0], "usage": usage(answer)}


def models(client, model, more):
    return [entry.id for entry in client.models.list()]


def answer(options):
    operation, base, key = (options.pop(name) for name in ("operation", "base", "key"))
    client = openai.OpenAI(base_url=base, api_key=key, max_retries=options.pop("retries", 0))
    try:
        return OPERATIONS[operation](client, options.pop("model", None), options)
    except openai.OpenAIError as error:
        return {
            "error": {
                "kind": type(error).__name__,
                "status": getattr(error, "status_code", None),
                "type": getattr(error, "type", None),
                "message": str(error),
            }
        }


OPERATIONS = {function.__name__: function for function in (chat, stream, leave, embeddings, models)}

for request in json.loads(sys.argv[1]):
    print(json.dumps(answer(request)))
