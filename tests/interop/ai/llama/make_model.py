"""Writes a tiny language model, with random weights from a fixed seed, as a GGUF file.

make_model.py FILE

It is a whole one of the architecture "llama", two layers deep; what it says means nothing, and is always the same. One
thing it knows: where tools are offered, it calls one, and leaves its strings empty.
"""

import sys

import gguf
import numpy as np

LAYERS, WIDTH, HEADS, HIDDEN, CONTEXT = 2, 64, 4, 128, 4096

# Places in its state that hold nothing random: always the same; what a token says of tools to call and of a call
# begun; and what all tokens so far say of both.
SAME, SAYS, SEEN = WIDTH - 5, [WIDTH - 4, WIDTH - 3], [WIDTH - 2, WIDTH - 1]
SAID = {"</tools>": (1, 0), "<tool_call>": (-1, 1), "</tool_response>": (0, -1)}

# What its answers are made of. All other text that it can read comes as bytes.
WORDS = """the a of to and in is it that was for on are with as his they be at one have this from or had by hot but
some what there we can out other were all your when up use word how said an each she which do their time if will way
about many then them would write like so these her long make thing see him two has look more day could go come did my
sound no most number who over know water than call first people may down side been now find any new work part take get
place made live where after back little only round man year came show every good me give our under name""".split()

# Calls are written as many open models write them, which llama.cpp recognizes from the template.
TEMPLATE = """{%- if tools %}<tools>{{ tools | tojson }}</tools>
{% endif %}{%- for message in messages %}{{ message.role }}: {{ message.content or '' }}
{%- for call in message.tool_calls or [] %}<tool_call>{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}}</tool_call>{% endfor %}
{%- if message.role == 'tool' %}</tool_response>{% endif %}
{% endfor %}{%- if add_generation_prompt %}assistant: {% endif %}"""


def tokens():
    """The vocabulary, as (text, score, type); the first three are special."""
    kind = gguf.TokenType
    yield "<unk>", 0.0, kind.UNKNOWN
    yield "<s>", 0.0, kind.CONTROL
    yield "</s>", 0.0, kind.CONTROL
    for byte in range(256):
        yield f"<0x{byte:02X}>", 0.0, kind.BYTE
    yield "</tools>", 0.0, kind.USER_DEFINED
    yield "</tool_response>", 0.0, kind.USER_DEFINED
    yield "<tool_call>", 0.0, kind.USER_DEFINED
    yield "\u2581", -1000.0, kind.NORMAL
    for rank, word in enumerate(WORDS):
        yield "\u2581" + word, -float(rank), kind.NORMAL


def main(path):
    vocabulary = list(tokens())
    random = np.random.default_rng(12)

    def matrix(rows, columns, scale=1.0):
        values = random.standard_normal((rows, columns)) * scale / np.sqrt(columns)
        return values.astype(np.float32)

    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("random words")
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_vocab_size(len(vocabulary))
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(HIDDEN)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_tokenizer_model("llama")
    writer.add_token_list([text for text, _, _ in vocabulary])
    writer.add_token_scores([score for _, score, _ in vocabulary])
    writer.add_token_types([kind for _, _, kind in vocabulary])
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_space_prefix(False)
    writer.add_chat_template(TEMPLATE)

    at = {text: token for token, (text, _, _) in enumerate(vocabulary)}
    quote, brace = at["<0x22>"], at["<0x7D>"]
    embedding = matrix(len(vocabulary), WIDTH, 8.0)
    embedding[:, [SAME, *SAYS, *SEEN]] = [1, 0, 0, 0, 0]
    for text, said in SAID.items():
        embedding[at[text]] = 0.0
        # All of one length, that what they say cancels.
        embedding[at[text], [SAME, *SAYS]] = [0 if all(said) else 1, *said]
    writer.add_tensor("token_embd.weight", embedding)
    writer.add_tensor("output_norm.weight", np.ones(WIDTH, np.float32))
    output = matrix(len(vocabulary), WIDTH, 8.0)
    # Readable: a byte comes only where a grammar lets nothing else. Endless: its answers end at max_tokens.
    output[: len(vocabulary) - len(WORDS)] = 0.0
    # What is whole ends, as </tool_call> does, before anything else that is no word.
    output[at["</s>"], SAME] = 2e-3
    output[[brace, at["<0x3C>"]], SAME] = 1e-3
    output[[at[f"<0x{byte:02X}>"] for byte in b"\t\n "] + [at["\u2581"]], SAME] = -1e-3
    output[at["<tool_call>"], [SAME, *SEEN]] = [-1.0, 9.0, 0.0]
    output[quote, SEEN] = [0.0, 9.0]
    output[brace, SEEN] = [0.0, 8.0]
    writer.add_tensor("output.weight", output)
    for layer in range(LAYERS):
        block = f"blk.{layer}"
        for norm in ("attn_norm", "ffn_norm"):
            writer.add_tensor(f"{block}.{norm}.weight", np.ones(WIDTH, np.float32))
        attention = {name: matrix(WIDTH, WIDTH) for name in ("q", "k", "v", "output")}
        down = matrix(WIDTH, HIDDEN)
        for written in (attention["output"], down):
            written[[SAME, *SAYS, *SEEN]] = 0.0
        if layer == 0:
            # The first head looks at all tokens alike.
            attention["q"][: WIDTH // HEADS] = 0.0
            attention["v"][[0, 1]] = 0.0
            attention["v"][[0, 1], SAYS] = 1.0
            attention["output"][:, [0, 1]] = 0.0
            attention["output"][SEEN, [0, 1]] = 5000.0
        for name, values in attention.items():
            writer.add_tensor(f"{block}.attn_{name}.weight", values)
        for name in ("ffn_gate", "ffn_up"):
            writer.add_tensor(f"{block}.{name}.weight", matrix(HIDDEN, WIDTH))
        writer.add_tensor(f"{block}.ffn_down.weight", down)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


main(sys.argv[1])
