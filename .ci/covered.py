"""Line and branch coverage of the tests, from the output of `coverage json -o -`; fails below LEAST."""

import json
import sys

LEAST = 95.0  # percent

totals = json.load(sys.stdin)["totals"]
lines = 100 * totals["covered_lines"] / totals["num_statements"]
branches = 100 * totals["covered_branches"] / totals["num_branches"]
print(f"{lines:.1f} % of the lines and {branches:.1f} % of the branches; at least {LEAST:g} % of each are required")
sys.exit(min(lines, branches) < LEAST)
