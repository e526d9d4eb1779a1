"""LiteLLM's proxy, which ends when its standard input does.

serve.py CONFIG PORT
"""

import os
import sys
import threading


def end_with_input():
    sys.stdin.read()
    os._exit(0)


def main(config, port):
    threading.Thread(target=end_with_input, daemon=True).start()
    from litellm.proxy.proxy_cli import run_server

    run_server(["--config", config, "--host", "127.0.0.1", "--port", port, "--telemetry", "False"])


main(*sys.argv[1:])
