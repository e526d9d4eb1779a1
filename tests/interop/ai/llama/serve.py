"""llama.cpp's own HTTP servers, from the wheel of xllamacpp: one that chats and one that embeds.

serve.py MODEL

Prints the base address of each, as a line of JSON, when both answer; ends when its standard input does.
"""

import json
import os
import sys

import xllamacpp


def serve(model, **options):
    params = xllamacpp.CommonParams()
    params.model.path = model
    params.model_alias = {"tiny"}
    params.n_ctx = 4096 * 4
    params.n_parallel = 4
    params.n_gpu_layers = 0
    params.fit_params = False
    params.cache_ram_mib = 0
    params.cpuparams.n_threads = 1
    params.cpuparams_batch.n_threads = 1
    params.ui = False
    params.offline = True
    for name, value in options.items():
        setattr(params, name, value)
    return xllamacpp.Server(params)


def main(model):
    chat = serve(model)
    embeddings = serve(model, embedding=True, pooling_type=xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN)
    print(json.dumps({"chat": chat.listening_address, "embeddings": embeddings.listening_address}), flush=True)
    sys.stdin.read()
    # At once, whatever it is about to say.
    os._exit(0)


main(sys.argv[1])
