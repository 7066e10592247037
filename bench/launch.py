"""Runs a command and prints what it took, as one line of JSON: `launch.py COMMAND...`, its output to standard error.

A process of its own, because a child's peak memory starts at that of the process which started it: the measuring
program, with its libraries and results, is larger than what it measures.
"""

import json
import os
import sys
import time

begin = time.perf_counter()
child = os.posix_spawnp(sys.argv[1], sys.argv[1:], os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, 2, 1)])
_, status, usage = os.wait4(child, 0)
seconds = time.perf_counter() - begin
print(
    json.dumps(
        {
            "status": os.waitstatus_to_exitcode(status),
            "seconds": seconds,
            "cpu_seconds": usage.ru_utime + usage.ru_stime,
            "peak_rss_mb": usage.ru_maxrss / 1024,
        }
    )
)
