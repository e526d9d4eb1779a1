"""llama.cpp's own HTTP servers, from the wheel of xllamacpp: one that chats and one that embeds.

serve.py MODEL [KEY]

Prints the base address of each, as a line of JSON, when both answer; ends when its standard input does. With a key, it
answers nobody who has it not.
"""

import json
import os
import sys

import xllamacpp


def serve(model, keys, **options):
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
    params.api_keys = list(keys)
    for name, value in options.items():
        setattr(params, name, value)
    return xllamacpp.Server(params)


def main(model, *keys):
    chat = serve(model, keys)
    embeddings = serve(model, keys, embedding=True, pooling_type=xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN)
    print(json.dumps({"chat": chat.listening_address, "embeddings": embeddings.listening_address}), flush=True)
    sys.stdin.read()
    # At once, whatever it is about to say.
    os._exit(0)


main(*sys.argv[1:])
