"""Whether arms may be compared: same world, same starts, same labelled data, same updates. And what each arm was given."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from am_ray.comparison.study import Cell, ComparisonError, Study

# What an arm may differ in without a refusal, where the study does not say it.
NOT_STATED = "not stated"


@dataclass(frozen=True)
class ArmBudget:
    """What an arm was given at one size; ranges where its seeds differ, ``None`` where the study does not say.

    Attributes:
        minutes: Mean over its cells.
        labelled: Digest of the labelled data by seed.
        transitions_per_update: The labelled batch, and that without labels beside it.
        scale_from: Data whose statistics the inputs are standardised with: labelled, pretraining, or unlabelled.
        unlabelled: Digests of the data without labels, for the arm that uses them.
        tuning_trials: Runs that its settings were chosen by.
    """

    arm: str
    episodes: int
    cells: int
    updates: str | None
    batch_size: str | None
    transitions_per_update: str | None
    scale_from: str | None
    parameters: str | None
    minutes: float | None
    labelled: dict[int, str | None]
    unlabelled: tuple[str, ...]
    tuning_trials: str | None


def check_alike(study: Study) -> None:
    """Refuses a study whose cells differ in more than arm, size and seed.

    Raises:
        ComparisonError: It names two cells and their two values.
    """
    everywhere: dict[str, Callable[[Cell], Any]] = {
        "environment and its arguments": lambda cell: cell.env,
        "most steps of an evaluation episode": lambda cell: cell.max_steps,
        "starts and goals of the evaluation (seeds of its episodes)": lambda cell: [e.seed for e in cell.outcomes],
    }
    for what, value in everywhere.items():
        _check_same(study, what, study.counted, value)
    for what, key in (("gradient updates", "updates"), ("batch size", "batch_size")):
        for size in sorted({cell.episodes for cell in study.counted}):
            at_size = [cell for cell in study.counted if cell.episodes == size]
            _check_same(study, what, at_size, lambda cell, key=key: cell.record.get(key))  # type: ignore[misc]
    for place in sorted({(cell.episodes, cell.seed) for cell in study.counted}):
        same_data = [cell for cell in study.counted if (cell.episodes, cell.seed) == place]
        _check_same(study, "digest of the labelled data", same_data, lambda cell: cell.record.get("labelled_digest"))


def budgets(study: Study) -> list[ArmBudget]:
    """What every arm was given, by size."""
    return [_budget(study, arm, size) for arm in study.arms for size in study.sizes(arm)]


def pretraining_sources(study: Study) -> dict[str, list[Mapping[str, Any]]]:
    """Arm to the checkpoints that it started from: their compute is not in the arm's budget."""
    sources: dict[str, list[Mapping[str, Any]]] = {}
    for cell in study.counted:
        source = cell.record.get("pretrained_from")
        if source is not None and source not in sources.setdefault(cell.arm, []):
            sources[cell.arm].append(source)
    return sources


def cautions(study: Study) -> list[str]:
    """Differences between the arms that do not forbid a comparison, but that its reader must know."""
    found = []
    for key, what in (("parameters", "number of parameters"), ("tuning_trials", "tuning trials")):
        by_arm = {arm: _range(cell.record.get(key) for cell in study.counted if cell.arm == arm) for arm in study.arms}
        if len(set(by_arm.values())) > 1:
            listed = ", ".join(f"{arm} {by_arm[arm] or NOT_STATED}" for arm in by_arm)
            found.append(f"The arms differ in {what}: {listed}.")
    found += [*_unequal_learning(study), *_one_policy(study)]
    for key in ("updates", "batch_size", "labelled_digest", "parameters", "minutes", "tuning_trials"):
        silent = [cell for cell in study.counted if cell.record.get(key) is None]
        if key == "labelled_digest":  # without labelled episodes there need be none
            silent = [cell for cell in silent if cell.episodes > 0]
        if silent:
            found.append(
                f"Not recorded, so not known to be equal: {key} of {len(silent)} cells ({silent[0].name}, ...)."
            )
    unlabelled = sorted({cell.arm for cell in study.counted if cell.record.get("unlabelled_digest")})
    if unlabelled:
        found.append(f"Data without labels were used during fine-tuning as well by: {', '.join(unlabelled)}.")
    sources = pretraining_sources(study)
    if sources:
        found.append(
            f"Pre-training is not counted as budget of: {', '.join(sorted(sources))}. The question is what a checkpoint that "
            f"is already there is worth."
        )
    shared = sorted(arm for arm, listed in sources.items() if len(listed) == 1)
    if shared:
        found.append(
            f"All seeds of {', '.join(shared)} start from one checkpoint: what is said of the method is said of fine-tuning "
            f"this checkpoint. Another pre-training run may be better or worse."
        )
    return found


def _unequal_learning(study: Study) -> Iterator[str]:
    """What arms differ in by what they are: of the cells that learn."""
    cells = [cell for cell in study.counted if cell.episodes > 0]

    def by_arm(key: str, text: Callable[[Iterable[Any]], str | None]) -> dict[str, str]:
        found = {arm: text(cell.record.get(key) for cell in cells if cell.arm == arm) for arm in study.arms}
        return {arm: value for arm, value in found.items() if value is not None}

    seen = by_arm("transitions_per_update", _range)
    if len(set(seen.values())) > 1:
        yield (
            f"The arms differ in transitions per update ({_listed(seen)}): arms with data without labels see more in every update, "
            f"and take longer for it."
        )
    rates = by_arm("learning_rate", _words)
    if len(set(rates.values())) > 1:
        yield f"The arms differ in learning rate: {_listed(rates)}."
    scales = by_arm("scale_from", _words)
    if len(set(scales.values())) > 1:
        yield (
            f"The arms differ in the data that their inputs are standardised with ({_listed(scales)}): part of a difference "
            f"may come from that, and not from the weights."
        )


def _one_policy(study: Study) -> Iterator[str]:
    """Zero-shot cells of one checkpoint: nothing of them depends on the seed."""
    for arm in study.arms:
        cells = study.group(arm, 0).values()
        sources = [cell.record.get("pretrained_from") for cell in cells]
        if len(sources) > 1 and sources[0] is not None and all(source == sources[0] for source in sources):
            yield (
                f"With 0 labelled episodes all seeds of {arm} are one policy, for nothing is trained: there, p values over seeds count "
                f"it {len(sources)} times. Read the claim about these policies."
            )


def _listed(by_arm: Mapping[str, str]) -> str:
    return ", ".join(f"{arm} {value}" for arm, value in by_arm.items())


def _words(values: Iterable[Any]) -> str | None:
    return " or ".join(sorted({str(value) for value in values if value is not None})) or None


def _check_same(study: Study, what: str, cells: Iterable[Cell], value: Callable[[Cell], Any]) -> None:
    listed = list(cells)
    for cell in listed[1:]:
        first, other = value(listed[0]), value(cell)
        if first != other:
            one, two = _shown(first, other)
            raise ComparisonError(
                f"{study.folder / 'results.json'}: cells {listed[0].name} and {cell.name} differ in {what}: {one} and "
                f"{two}; expected the same, for otherwise arms are not compared by what they learnt. Run 'am-ray finetune' "
                f"with the same settings for all arms."
            )


def _shown(first: Any, other: Any) -> tuple[str, str]:
    if isinstance(first, list) and isinstance(other, list):
        only = sorted(set(first) ^ set(other))
        where = f"not shared: {', '.join(map(str, only[:4]))}{', ...' if len(only) > 4 else ''}"
        return f"{len(first)} episodes", f"{len(other)} episodes ({where})"
    return repr(first), repr(other)


def _budget(study: Study, arm: str, size: int) -> ArmBudget:
    cells = study.group(arm, size)
    minutes = [float(cell.record["minutes"]) for cell in cells.values() if cell.record.get("minutes") is not None]

    def values(key: str) -> Iterator[Any]:
        return (cell.record.get(key) for cell in cells.values())

    return ArmBudget(
        arm=arm,
        episodes=size,
        cells=len(cells),
        updates=_range(values("updates")),
        batch_size=_range(values("batch_size")),
        transitions_per_update=_range(values("transitions_per_update")),
        scale_from=_words(values("scale_from")),
        parameters=_range(values("parameters")),
        minutes=sum(minutes) / len(minutes) if minutes else None,
        labelled={seed: cell.record.get("labelled_digest") for seed, cell in sorted(cells.items())},
        unlabelled=tuple(sorted({str(digest) for digest in values("unlabelled_digest") if digest})),
        tuning_trials=_range(values("tuning_trials")),
    )


def _range(values: Iterable[Any]) -> str | None:
    known = sorted({value for value in values if value is not None})
    if not known:
        return None
    low, high = f"{known[0]:,}", f"{known[-1]:,}"
    return low if low == high else f"{low} to {high}"
