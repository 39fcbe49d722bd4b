"""What `w2s compare` writes: log directories on the same questions, arm by arm.

Another prompt, a new version of a model, a rerun, imported answers against one's own: each later
directory is held against the first, paired by question and by draw.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from string import ascii_uppercase
from typing import Any, NamedTuple

import pandas as pd

from w2s_icl.analysis import figures
from w2s_icl.analysis.experiment import Experiment
from w2s_icl.analysis.logs import Logs, read_logs
from w2s_icl.analysis.report import template, writable, write_texts
from w2s_icl.analysis.sentences import listed, p_value, percent, points
from w2s_icl.analysis.stats.paired import holm, paired_difference
from w2s_icl.analysis.tables.cells import scope, share, table
from w2s_icl.errors import W2SError
from w2s_icl.record import BANNER, IDENTITY
from w2s_icl.words import arm_name

ARM = ("model", "labels", "weak", "shots", "prompt")
PLAIN = "plain"  # how --as names the prompt that is "" in the logs


class Comparison(NamedTuple):
    """Two log directories on the same questions."""

    first: str
    second: str
    table: pd.DataFrame  # as compare.csv: a row per arm of either
    names: Mapping[str, str]  # models and prompts of the first that have another name in the second
    notes: Sequence[str]  # what else differs, and what the two do not share

    def texts(self) -> pd.DataFrame:
        """The arms that are compared, as texts."""
        done = self.table[self.table["state"] == "compared"].set_index("arm")
        return pd.DataFrame(
            {
                "first": done["accuracy_first"].map(percent),
                "second": done["accuracy_second"].map(percent),
                "points": done["diff"].map(points),
                "95% CI": done["lo"].map(points) + " to " + done["hi"].map(points),
                "p (Holm)": done["p_holm"].map(p_value),
                "n": done["n"].astype("Int64"),
            }
        )

    @property
    def sentence(self) -> str:
        """How many differences are established."""
        sure, shared = self.table.loc[self.table["p_holm"] < 0.05, "diff"], len(self.texts())
        return (
            f"{self.second} against {self.first}, after Holm's adjustment: {(sure > 0).sum()} of "
            f"{shared} shared arms are better, {(sure < 0).sum()} are worse, and "
            f"{shared - len(sure)} are not distinguishable from equal."
        )


def compare(one: Logs, two: Logs, renamed: Iterable[str] = ()) -> Comparison:
    """Hold the arms of a directory against those of another: second minus first.

    An arm is the same where model, labels, weak model, shots and prompt are. A name in `renamed`
    (OLD=NEW, of models or prompts) stands for another; so do the two models, or the two prompts,
    where the directories differ in one alone. Means are over the draws that both have; `p_holm` is
    adjusted for the arms that are compared. Directories on other questions are a W2SError.
    """
    mine, theirs = Experiment(one), Experiment(two)
    notes, only = _questions(mine, theirs)
    old, new = _arms(mine), _arms(theirs)
    models = [{name for arm in arms for name in (arm[0], arm[2]) if name} for arms in (old, new)]
    prompts = [{arm[4] for arm in arms} for arms in (old, new)]
    names = _names(renamed, *models, guess=True)
    names |= _names(renamed, *prompts, guess=len(set.union(*prompts)) < 3)
    short = figures.display_names(list(dict.fromkeys([*mine.models, *theirs.models])))

    def row_of(arm: tuple[Any, ...], state: str) -> dict[str, Any]:
        model, labels, weak, shots, prompt = arm
        how = arm_name(labels, short.get(weak) or weak, prompt.removeprefix(PLAIN))
        text = f"{short[model]}, {f'{shots} ' if shots else ''}{how}"
        row = {"first": one.directory, "second": two.directory, "arm": text, "state": state}
        return row | dict(zip(ARM, arm, strict=True))

    rows: list[dict[str, Any]] = []
    twins = {arm: tuple(names.get(value, value) for value in arm) for arm in old}
    for arm, runs in old.items():
        its = new.get(twins[arm], {})
        pairs = [(run, its[draw]) for draw, run in runs.items() if draw in its]
        rows.append(row := row_of(arm, "compared" if pairs else "only in first"))
        if not pairs:
            continue
        row |= zip(("model_second", "weak_second", "prompt_second"), twins[arm][::2], strict=True)
        row |= _difference(mine, theirs, pairs)
        for which, lone in ("first", runs.keys() - its), ("second", its.keys() - runs):
            if lone:
                only.append(f"only in {which}: draw {listed(sorted(lone))} of {row['arm']}")
        for a, b in pairs:
            x, y = one.runs["settings"].iloc[a], two.runs["settings"].iloc[b]
            notes += [f"differs: {k}, {x[k]!r} and {y.get(k)!r}" for k in x if x[k] != y.get(k)]
    rows += [row_of(arm, "only in second") for arm in new if arm not in twins.values()]
    made = table(
        rows,
        *("first second arm", *ARM, "model_second weak_second prompt_second state shown n n_union"),
        "draws scope accuracy_first± accuracy_second± diff lo hi n10 n01 p p_exact p_holm",
    )
    made["p_holm"] = holm(made["p"])
    made = made.replace({name: {PLAIN: ""} for name in ("prompt", "prompt_second")})
    same = [f"{a!r} of the first is compared with {b!r}" for a, b in names.items() if a != b]
    only += [f"{row['state']}: {row['arm']}" for row in rows if row["state"] != "compared"]
    notes = list(dict.fromkeys([*same, *notes, *only]))
    return Comparison(one.directory, two.directory, made, names, notes)


def _questions(one: Experiment, two: Experiment) -> tuple[list[str], list[str]]:
    """In what the directories differ as a whole, and which test questions one alone asked."""
    a, b = one.asked.to_dict("index"), two.asked.to_dict("index")
    other = f"{two.logs.directory} and {one.logs.directory} ask different questions"
    shared = [id_ for id_ in a if id_ in b]
    if not shared:
        raise W2SError(f"{other}: no id of a test question is in both")
    for id_ in shared:
        theirs = _asked(b[id_])
        for what, y in _asked(a[id_]).items():
            if (x := theirs[what]) != y:
                raise W2SError(f"{other}: {id_!r} has another {what}, {x!r:.60} and {y!r:.60}")
    names = ("dataset", *IDENTITY, "system_message", "scorer_version", "w2s_icl", "inspect_ai")
    said = [(name, *(e.logs.metadata.get(name) for e in (one, two))) for name in names]
    differs = [f"differs: {name}, {x!r:.60} and {y!r:.60}" for name, x, y in said if x != y]
    if any(a[id_]["choices"] != b[id_]["choices"] for id_ in shared):
        differs.append("differs: the order of the options")
    own = {"first": [str(i) for i in a if i not in b], "second": [str(i) for i in b if i not in a]}
    only = [f"{len(of)} test questions only in {x}: {', '.join(of)}" for x, of in own.items() if of]
    return differs, only


def _asked(question: Mapping[Any, Any]) -> dict[str, Any]:
    """What must be the same in both directories."""
    choices = question["choices"]
    right = choices[ascii_uppercase.index(question["gold"])]
    return {"wording": question["question"], "options": sorted(choices), "right answer": right}


def _arms(e: Experiment) -> dict[tuple[Any, ...], Mapping[int, int]]:
    """Rows of the logs by draw, of each arm on the test questions."""
    order = {name: i for i, name in enumerate(e.models)}
    arms = [((*key[1:5], key[5] or PLAIN), of) for key, of in e.draws.items() if key[0] == "test"]
    return dict(sorted(arms, key=lambda of: (order[of[0][0]], of[0][4], of[0][3], *of[0][1:3])))


def _names(told: Iterable[str], mine: set[str], theirs: set[str], *, guess: bool) -> dict[str, str]:
    """Names of the first directory that are others in the second; one pair may be guessed."""
    names: dict[str, str] = {}
    for text in told:  # a prompt has a "=" of its own
        halves = [(text[:i], text[i + 1 :]) for i, sign in enumerate(text) if sign == "="]
        names |= {old: new for old, new in halves if old in mine and new in theirs}
    old, new = mine - theirs - names.keys(), theirs - mine - {*names.values()}
    return names | (dict(zip(old, new, strict=True)) if guess and len(old) == len(new) == 1 else {})


def _difference(one: Experiment, two: Experiment, pairs: Sequence[tuple[int, int]]) -> Any:
    """The columns of an arm that both have; `pairs` are its runs by draw."""
    sides = list(zip((one, two), map(list, zip(*pairs, strict=True)), strict=True))
    both = [e.compare([dict(enumerate(runs))]) for e, runs in sides]
    ids = [e.logs.questions.index[of.places] for (e, _), of in zip(sides, both, strict=True)]
    shared = ids[0].intersection(ids[1], sort=False)
    union = max(len(ids[0].union(ids[1], sort=False)), *(of.n_union for of in both))
    row = {"n": len(shared), "n_union": union, "draws": len(pairs), "scope": scope(len(pairs))}
    demos = ["demo_ids", "demo_choices", "demo_labels"]
    a, b = (e.logs.runs[demos].iloc[runs].to_numpy().T.tolist() for e, runs in sides)
    if all(a[0]) and all(b[0]):
        row["shown"] = "same" if a == b else "other labels" if a[0] == b[0] else "other questions"
    if not len(shared) or not all(of.usable for of in both):
        return row | {"state": "incomplete"}
    x, y = (of.columns[0][i.get_indexer(shared)] for of, i in zip(both, ids, strict=True))
    d = paired_difference(y, x)
    row |= share("accuracy_first", x) | share("accuracy_second", y) | {"lo": d.low, "hi": d.high}
    return row | {name: getattr(d, name) for name in ("diff", "n10", "n01", "p", "p_exact")}


def write_comparison(
    dirs: Sequence[str], out: str | Path, renamed: Sequence[str] = ()
) -> tuple[list[Path], str]:
    """Hold each later directory against the first; write compare.csv, the figure and compare.html.

    Returns the files, the page last, and a summary for the terminal. A directory given twice, or an
    unknown name in `renamed`, is a W2SError.
    """
    for i, address in enumerate(dirs):
        if address.rstrip("/") in {other.rstrip("/") for other in dirs[:i]}:
            raise W2SError(f"give different log directories: {address} is given twice")
    out = writable(out)
    first, *others = logs = [read_logs(address) for address in dirs]
    made = [compare(first, other, renamed) for other in others]
    used = {f"{old}={new}" for of in made for old, new in of.names.items()}
    if unknown := [text for text in renamed if text not in used]:
        raise W2SError(
            f"--as must be OLD=NEW, a model or prompt of {first.directory} and one of another "
            f"directory, got {unknown[0]!r}"
        )
    rows = pd.concat([of.table for of in made], ignore_index=True)
    banner = BANNER if any(of.runs["simulated"].any() for of in logs) else ""
    drawn, svg = rows[rows["state"] == "compared"], ""
    files = [figures.write_csv(rows, out / "compare.csv")]
    if len(drawn):
        files = figures.save(figures.differences(drawn, banner=banner), out / "compare", rows)
        svg = files[1].read_text("utf-8")
    page = template("compare.html.j2").render(made=made, svg=svg, banner=banner)
    files += write_texts(out, {"compare.html": page})
    lines = [f"! {banner}"] * bool(banner)
    for of in made:
        lines += [of.sentence, of.texts().to_string(index_names=False)]
        lines += [f"· {note:.200}" for note in of.notes[:12]]
        lines += ["· and more: see compare.html"] * (len(of.notes) > 12)
    return files, "\n".join(lines)
