"""Makes docs/benchmarks.md out of what the benches printed: report.py FILE...

In benches/report.md, {{name}} is the median of the figures of that name, and
{{name <= bar}} (or >=) is in bold if the bar is missed. A line that begins with
a comparison in parentheses, {{(name > bar)}}, is there only while that holds: so a
missed bar is explained, and the explanation goes when the bar is met. {{unexplained}}
lists the missed bars without such a line. {{table name}} is the table that the bench of
that name printed last; {{table name; column <= bar}} puts into bold what misses a bar
in the column of that heading, {{table name; column <= bar where other = text}} in the
rows whose other column is that text.
"""

import operator
import os
import platform
import re
import subprocess
import sys
from pathlib import Path
from statistics import median

COMPARE = {"<=": operator.le, ">=": operator.ge, "<": operator.lt, ">": operator.gt}
HOLE = re.compile(r"\{\{(\()?([a-z0-9_.]+)(?: (<=|>=|<|>) ([0-9.]+))?\)?\}\}")
BAR = re.compile(r"(.+) (<=|>=) ([0-9.]+)(?: where (.+) = (.+))?")
NUMBER = re.compile(r"[0-9]+(?:\.[0-9]+)?")


def read(files):
    figures = {}
    for file in files:
        for line in Path(file).read_text().splitlines():
            if line.startswith("row "):
                name, value, *unit = line.split()[1:]
                figures.setdefault(name, ([], unit))[0].append(float(value))
    return figures


def table(name, files):
    lines = [
        line
        for file in files
        if Path(file).stem == name
        for line in Path(file).read_text().splitlines()
        if line.startswith("|")
    ]
    # A run begins with its heading, which is like that of every other run.
    begin = max((at for at, line in enumerate(lines) if line == lines[0]), default=0)
    return lines[begin:] or ["Not measured."]


def cells(line):
    return [cell.strip() for cell in line.strip("|").split("|")]


def marked(name, rows, bars, missed):
    """The table, with each cell in bold that has a number which misses a bar."""
    heads = cells(rows[0])
    for row in rows:
        found = cells(row)
        for column, sign, bar, other, text in (BAR.fullmatch(bar).groups() for bar in bars):
            if row in rows[:2] or other and found[heads.index(other)] != text:
                continue
            at = heads.index(column)
            if not all(COMPARE[sign](float(n), float(bar)) for n in NUMBER.findall(found[at])):
                missed[f"{name}: {column}"] = f"{found[at]}; bar: {sign} {bar}"
                found[at] = f"**{found[at].strip('*')}**"
        yield row if row in rows[:2] else f"| {' | '.join(found)} |"


def number(value):
    if value == int(value) or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}"


def fill(line, figures, missed):
    condition = HOLE.match(line)
    if condition and condition[1]:
        _, name, sign, bar = condition.groups()
        missed.pop(name, None)
        if name not in figures or not COMPARE[sign](median(figures[name][0]), float(bar)):
            return None
        line = line[condition.end() :].lstrip()

    def value(hole):
        _, name, sign, bar = hole.groups()
        if name not in figures:
            return "–"
        middle = median(figures[name][0])
        if not sign or COMPARE[sign](middle, float(bar)):
            return number(middle)
        missed[name] = f"{number(middle)}; bar: {sign} {bar}"
        return f"**{number(middle)}**"

    return HOLE.sub(value, line)


def runs(figures):
    counts = {len(values) for values, _ in figures.values()} or {0}
    low, high = min(counts), max(counts)
    return str(high) if low == high else f"{low} to {high}"


def version(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[0]


def machine():
    cpu = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.M)
    crate = re.search(r'^version = "(.*)"$', Path("Cargo.toml").read_text(), re.M)
    return {
        "cores": os.cpu_count(),
        "cpu": cpu[1] if cpu else platform.machine(),
        "load": number(os.getloadavg()[2]),
        "kernel": f"{platform.system()} {platform.release()}",
        "rustc": version("rustc", "--version").split(" (")[0],
        "consul": version(os.environ["CONSUL_BIN"], "version"),
        "crate": crate[1],
    }


def every(figures):
    for name, (values, unit) in sorted(figures.items()):
        low, middle, high = (number(f(values)) for f in (min, median, max))
        yield f"| `{name}` | {middle} | {low} to {high} | {len(values)} | {' '.join(unit)} |"


def main(*files):
    figures = read(files)
    facts = machine() | {"runs": runs(figures)}
    missed = {}
    for line in Path("benches/report.md").read_text().splitlines():
        if line == "{{every}}":
            print(*every(figures), sep="\n")
            continue
        if line == "{{unexplained}}":
            for name, what in missed.items():
                print(f"- **`{name}`**: {what}. Not explained.")
            continue
        if line.startswith("{{table "):
            name, *bars = line[8:-2].split("; ")
            rows = table(name, files)
            print(*(marked(name, rows, bars, missed) if len(rows) > 2 else rows), sep="\n")
            continue
        line = re.sub(r"\{\{=([a-z]+)\}\}", lambda fact: str(facts[fact[1]]), line)
        line = fill(line, figures, missed)
        if line is not None:
            print(line)


main(*sys.argv[1:])
