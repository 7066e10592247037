"""Vowpal Wabbit over a file: `vw_run.py FILE OPTIONS...` prints events, seconds and the mean progressive loss.

The wheel has no `vw` program, but making a workspace with `-d` runs the same native driver, from its parser thread to the end
of the file; only that is timed, so that Python's start and import do not count.
"""

import json
import sys
import time

import vowpalwabbit

arguments = ["-d", sys.argv[1], "--loss_function", "logistic", "-b", "18", "--quiet", *sys.argv[2:]]
begin = time.perf_counter()
workspace = vowpalwabbit.Workspace(arg_list=arguments)
seconds = time.perf_counter() - begin
events = workspace.get_weighted_examples()
loss = workspace.get_sum_loss() / events
workspace.finish()
print(json.dumps({"events": events, "seconds": seconds, "loss": loss, "version": vowpalwabbit.__version__}))
