"""Orthant for ann-benchmarks: a Node process holds the index, this class speaks with it over pipes."""

import json
import os
import struct
import subprocess

import numpy as np

from ..base.module import BaseANN

METRICS = {"euclidean": "euclidean", "angular": "cosine"}


class Orthant(BaseANN):
    def __init__(self, metric, options):
        if metric not in METRICS:
            raise NotImplementedError(f"orthant: expected euclidean or angular, got {metric}")
        self._options = dict(options, metric=METRICS[metric])
        self._recall = None
        self._batch = None
        server = os.path.join(os.path.dirname(os.path.abspath(__file__)), "server.mjs")
        self._node = subprocess.Popen(["node", server], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.name = f"Orthant({self._options})"

    def fit(self, X):
        self._ask("fit", X, **self._options)

    def set_query_arguments(self, recall):
        self._recall = recall
        # Settings are tuned once for each recall; not in the first query's time.
        self._ask("prepare", None, recall=recall)
        self.name = f"Orthant({self._options}, recall={recall})"

    def query(self, v, n):
        return self._found(self._ask("search", v, k=n, recall=self._recall))

    def batch_query(self, X, n):
        ids = self._ask("search", X, k=n, recall=self._recall).reshape(len(X), n)
        self._batch = [self._found(row) for row in ids]

    def get_batch_results(self):
        return self._batch

    def get_memory_usage(self):
        return float(self._ask("memory", None)[0])

    def done(self):
        self._node.stdin.close()
        self._node.wait()

    def __str__(self):
        return self.name

    @staticmethod
    def _found(ids):
        """Without unfilled places, which are -1: the runner wants every candidate once."""
        return ids[ids >= 0]

    def _ask(self, name, vectors, **options):
        """A call: u32 bytes of JSON, u32 bytes of floats, both; an answer: i32 count (or -bytes of an error), i32 ids."""
        rows = b"" if vectors is None else np.ascontiguousarray(vectors, dtype="<f4").tobytes()
        if vectors is not None:
            options["dimensions"] = int(np.shape(vectors)[-1])
        text = json.dumps(dict(options, call=name)).encode()
        self._node.stdin.write(struct.pack("<II", len(text), len(rows)) + text + rows)
        self._node.stdin.flush()
        (count,) = struct.unpack("<i", self._node.stdout.read(4))
        if count < 0:
            raise RuntimeError(self._node.stdout.read(-count).decode())
        return np.frombuffer(self._node.stdout.read(4 * count), dtype="<i4")
