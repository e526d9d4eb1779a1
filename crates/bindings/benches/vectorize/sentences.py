"""Sentences of the docstrings of Python's standard library, a line each, every one once.

    sentences.py COUNT
"""

import ast
import pathlib
import re
import sys
import sysconfig

LENGTHS = range(40, 300)


def docstrings(tree):
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            yield ast.get_docstring(node) or ""


def sentences():
    seen = set()
    for path in sorted(pathlib.Path(sysconfig.get_path("stdlib")).rglob("*.py")):
        if {"test", "tests", "idlelib", "site-packages", "dist-packages"} & set(path.parts):
            continue
        try:
            tree = ast.parse(path.read_bytes())
        except (SyntaxError, ValueError):
            continue
        for text in docstrings(tree):
            for sentence in re.split(r"(?<=[.?!])\s+|\n\s*\n", text):
                sentence = " ".join(sentence.split())
                if len(sentence) in LENGTHS and sentence.isprintable() and sentence not in seen:
                    seen.add(sentence)
                    yield sentence


def main():
    count = int(sys.argv[1])
    all_of_them = list(sentences())
    # Evenly from all modules.
    step = max(1, len(all_of_them) // count)
    for sentence in all_of_them[::step][:count]:
        print(sentence)


main()
