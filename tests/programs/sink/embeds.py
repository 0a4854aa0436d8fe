"""An embedder that notes what it is given, a text a line."""

import json
import pathlib


def embed(texts):
    with pathlib.Path(__file__).with_name("texts").open("a") as file:
        file.writelines(json.dumps(text) + "\n" for text in texts)
    return [[float(len(text)), 1.0] for text in texts]
