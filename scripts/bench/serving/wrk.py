"""Load from wrk, if this machine has it: a loader in C, which uses less of its core than ours."""

import json
import shutil
import subprocess
from pathlib import Path

from scripts.bench.serving.loader import Plan, Seen

SCRIPT = """
local bodies, number = {}, 0
for line in io.lines("%s") do bodies[#bodies + 1] = line end
local headers = {["Content-Type"] = "application/json"}
request = function()
  number = number + 1
  return wrk.format("POST", "%s", headers, bodies[number %% #bodies + 1])
end
done = function(summary, latency)
  local line = '{"requests": %%d, "microseconds": %%d, "refused": %%d, "broken": %%d, "p50": %%f, "p99": %%f}'
  io.stderr:write(line:format(summary.requests, summary.duration, summary.errors.status,
    summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout,
    latency:percentile(50), latency:percentile(99)))
end
"""


def wrk_version() -> str | None:
    """Return the version of wrk; None where it is not installed."""
    program = shutil.which("wrk")
    if program is None:
        return None
    output = subprocess.run([program, "-v"], capture_output=True, text=True, check=False).stdout  # its status is 1
    return " ".join(output.split()[:2])


def run_wrk(plan: Plan, core: int | None) -> Seen:
    """Carry out a plan that has a duration and no rate. Raises ConnectionError if answers were lost."""
    script = Path(plan.bodies).with_suffix(f".{plan.path.strip('/').replace('/', '-')}.lua")
    script.write_text(SCRIPT % (plan.bodies, plan.path), encoding="utf-8")
    command = [
        "wrk",
        "-t1",
        f"-c{plan.connections}",
        f"-d{round(plan.seconds or 1)}s",
        "--timeout",
        "30s",
        "-s",
        str(script),
    ]
    pinned = [] if core is None else ["taskset", "-c", str(core)]
    done = subprocess.run(
        [*pinned, *command, f"http://127.0.0.1:{plan.port}"], capture_output=True, text=True, check=True
    )
    counts = json.loads(done.stderr)
    if counts["broken"]:
        raise ConnectionError(f"wrk lost {counts['broken']} answers of port {plan.port}")
    seconds = (counts[name] / 1e6 for name in ("microseconds", "p50", "p99"))
    return Seen(counts["requests"], counts["refused"], *seconds)
