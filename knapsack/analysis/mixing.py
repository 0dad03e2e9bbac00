"""The figure of a sweep over mixing ratios: exact match and learned bits against the ratio, with exposures above and web epochs below.

  plot_mixing.py runs/quickstart --out mixing.png

A line a model; several runs at one ratio (seeds) are points around their mean, a single run shows its 95 % interval. The
numbers drawn are written beside the figure as .csv.
"""
from __future__ import annotations

import argparse
import sys
from pathlib import Path
from statistics import mean

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

from knapsack.runs import table as runs

KINDS = {"seen": ("training templates", "#0b6e99", "o"), "heldout": ("held-out wordings", "#d9730d", "s"),
         "question": ("asked as a question", "#6940a5", "^")}


def load(rows: list[runs.Row], source: str, knowledge: str) -> list[runs.Row]:
    rows = [row for row in rows if f"share/{source}" in row and f"know/{knowledge}/accuracy" in row]
    return sorted(rows, key=lambda row: row[f"share/{source}"])


def sources_asked(rows: list[runs.Row]) -> list[str]:
    """Sources of the runs that have a question set of their name."""
    names = dict.fromkeys(name[len("share/"):] for row in rows for name in row if name.startswith("share/"))
    return [name for name in names if any(f"know/{name}/accuracy" in row for row in rows)]


def the_source(rows: list[runs.Row], knowledge: str | None) -> str | None:
    """The one source with a question set; None, with a message, where there is none or a choice. Where --set has another
    name than its source, the only knowledge source (one with exposures) is taken."""
    asked = sources_asked(rows)
    if not asked and knowledge:
        ledgers = (name for row in rows for name in row if name.startswith("exposures/"))
        asked = list(dict.fromkeys(name[len("exposures/"):] for name in ledgers))
    if len(asked) == 1:
        return asked[0]
    several = f"question sets of {len(asked)} sources: {', '.join(asked)}; choose one with --source"
    none = "no source of these runs has a question set of its name; name both with --source and --set"
    print(f"knapsack plot: {several if asked else none}", file=sys.stderr)
    return None


def draw_line(axes, rows: list[runs.Row], x: str, y: str, scale: float, **style) -> None:
    """Mean of y over runs of equal x; whiskers where there is one run with an interval, points where there are several."""
    groups: dict[float, list[runs.Row]] = {}
    for row in rows:
        if row.get(y) is not None:
            groups.setdefault(round(row[x], 4), []).append(row)
    means = [scale * mean(row[y] for row in group) for group in groups.values()]
    axes.plot(list(groups), means, markersize=5, linewidth=1.8, **style)
    for position, group in groups.items():
        if len(group) > 1:
            axes.plot([position] * len(group), [scale * row[y] for row in group], "_", color=style["color"], alpha=0.6)
        elif group[0].get(f"{y}_low") is not None:
            ends = [scale * group[0][f"{y}_{end}"] for end in ("low", "high")]
            axes.plot([position] * 2, ends, color=style["color"], linewidth=1, alpha=0.6)


def label_ratios(axes, rows: list[runs.Row], source: str, web: str) -> None:
    """Ratio and web epochs at the bottom, exposures at the top."""
    by_ratio = {round(row[f"share/{source}"], 4): row for row in rows}
    ratios = list(by_ratio)
    axes.set_xticks(ratios, [f"{ratio:.3g}\n{by_ratio[ratio].get(f'epochs/{web}', 0):.2g}" for ratio in ratios])
    axes.set_xlabel(f"mixing ratio of {source}, and epochs of {web} below")
    above = axes.secondary_xaxis("top")
    above.set_xticks(ratios, [f"{by_ratio[ratio].get(f'exposures/{source}', 0):.0f}" for ratio in ratios])
    above.set_xlabel("exposures per fact")
    axes.grid(alpha=0.25)
    axes.spines[["right"]].set_visible(False)


def draw(rows: list[runs.Row], source: str, web: str, knowledge: str, out: Path) -> None:
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.2), dpi=160)
    x, prefix = f"share/{source}", f"know/{knowledge}"
    models = list(dict.fromkeys(row.get("model", "") for row in rows))
    for number, model in enumerate(models):
        chosen = [row for row in rows if row.get("model", "") == model]
        line = ["-", "--", ":", "-."][number % 4]
        suffix = f", {model}" if len(models) > 1 else ""
        for kind, (label, color, marker) in KINDS.items():
            draw_line(left, chosen, x, f"{prefix}/accuracy_{kind}", 100, label=label + suffix, color=color, marker=marker, linestyle=line)
        draw_line(right, chosen, x, f"{prefix}/bits", 1e-3, label="learned bits" + suffix, color="#0f7b6c", marker="o", linestyle=line)
    chance = [row[f"{prefix}/chance"] for row in rows if row.get(f"{prefix}/chance") is not None]
    if chance:
        left.axhline(100 * mean(chance), color="#787774", linewidth=1, linestyle=":", label=f"chance ({100 * mean(chance):.2g} %)")
    most = [row[f"{prefix}/most_bits"] for row in rows if row.get(f"{prefix}/most_bits")]
    if most:
        right.axhline(max(most) / 1e3, color="#787774", linewidth=1, linestyle=":", label=f"all there is ({max(most) / 1e3:.3g} kbit)")
    left.set(ylabel="exact match (%)", ylim=(-3, 103))
    right.set(ylabel="learned bits (kbit)", ylim=(-0.03 * max(most, default=1) / 1e3, None))
    for axes in (left, right):
        label_ratios(axes, rows, source, web)
        axes.legend(frameon=False, fontsize=8, loc="best")
    figure.tight_layout()
    figure.savefig(out)


def write_csv(rows: list[runs.Row], source: str, web: str, knowledge: str, out: Path) -> None:
    numbers = ("accuracy", "accuracy_seen", "accuracy_heldout", "accuracy_question", "chance", "bits", "most_bits")
    columns = ["run", "model", "seed", f"share/{source}", f"exposures/{source}", f"epochs/{web}", f"val/{web}/loss",
               *(f"know/{knowledge}/{name}" for name in numbers)]
    columns += [column + end for column in columns if f"know/{knowledge}/accuracy" in column for end in ("_low", "_high")]
    out.write_text(runs.format_csv(rows, columns))


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path, metavar="DIR", help="runs, or folders of runs")
    parser.add_argument("--source", help="whose ratio is varied (default: the only one with a question set)")
    parser.add_argument("--web", default="web", help="the other source")
    parser.add_argument("--set", dest="knowledge", help="question set (default: the source's name)")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.png")
    args = parser.parse_args(argv)
    found = runs.read_runs(args.folders)
    if not found:
        print(f"knapsack plot: no run (config.json) below {', '.join(map(str, args.folders))}", file=sys.stderr)
        return 3
    source = args.source or the_source(found, args.knowledge)
    if source is None:
        return 2
    knowledge = args.knowledge or source
    rows = load(found, source, knowledge)
    if not rows:
        print(f"knapsack plot: no run below {', '.join(map(str, args.folders))} with source {source} and question set "
              f"{knowledge}", file=sys.stderr)
        return 3
    draw(rows, source, args.web, knowledge, args.out)
    write_csv(rows, source, args.web, knowledge, args.out.with_suffix(".csv"))
    print(f"{args.out} and {args.out.with_suffix('.csv')}: {len(rows)} runs")
    return 0
