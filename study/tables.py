"""Tables of docs/RESULTS.md over training seeds: which rows they have."""

from __future__ import annotations

from dataclasses import dataclass

from study.curves import CURVE_UPDATES, CURVES_TABLE, CurveRow, curve_rows
from study.images import IMAGE_ROWS, IMAGES_TABLE, ImageRow
from study.sweeps import SweepRow

CHAINING = "algorithm.relabel.chaining_ratio"
# Training seeds of the rows that are to tell ours, cloning and the networks of ours without Q apart: three left most of it open.
SIX = tuple(range(6))


@dataclass(frozen=True)
class Table:
    """A table of docs/RESULTS.md, between its two markers there, and a figure of the same name.

    The differences are those of its first row to each other one, and (not of curves) of the rows that ``pairs`` names, paired by training seed and start; of
    `CurveRow`s, of the first curve to each other one after as many updates.
    """

    name: str
    rows: tuple[SweepRow | ImageRow | CurveRow, ...]
    pairs: tuple[tuple[str, str], ...] = ()

    @property
    def has_curves(self) -> bool:
        return isinstance(self.rows[0], CurveRow)


TABLES = (
    Table(
        "tray_play",
        (
            SweepRow("Actionable Models, no chaining", "tray_play", {CHAINING: 0.0}),
            SweepRow("with goal chaining", "tray_play", {CHAINING: 0.1}),
            SweepRow("no chaining, without layer norm", "tray_play_no_layer_norm"),
            SweepRow("goal chaining, no negatives", "tray_play_no_negatives", {CHAINING: 0.1}),
            SweepRow("neither: hindsight Q-learning", "tray_play_no_negatives", {CHAINING: 0.0}),
            SweepRow("the paper's equation to the letter", "tray_play_paper", {CHAINING: 0.5}),
            SweepRow("the paper's equation, no chaining", "tray_play_paper", {CHAINING: 0.0}),
            SweepRow("behaviour cloning (GCBC)", "tray_play_cloning"),
            SweepRow("behaviour cloning (GCBC), its gripper drawn", "tray_play_cloning", acting="drawn"),
        ),
    ),
    Table(
        "tray_play_10k",
        (
            SweepRow("Actionable Models", "tray_play_10k_recipe"),
            SweepRow("the gripper by Q, too", "tray_play_10k_recipe", acting="likely"),
            SweepRow("acting by the cloning head, without Q", "tray_play_10k_recipe", acting="cloned_drawn", seeds=SIX),
            SweepRow("without Q, the likelier gripper", "tray_play_10k_recipe", acting="cloned"),
            SweepRow("acting by CEM", "tray_play_10k_recipe", acting="cem"),
            SweepRow("without bootstrapping", "tray_play_10k_no_bootstrap"),
            SweepRow("staying at goals, nearly there is there", "tray_play_10k_stay"),
            SweepRow("staying at goals, without Q", "tray_play_10k_stay", acting="cloned_drawn", seeds=SIX),
            SweepRow("by CEM, without the auxiliary cloning loss", "tray_play_10k"),
            SweepRow("behaviour cloning (GCBC)", "tray_play_10k_cloning"),
            SweepRow("behaviour cloning (GCBC), the likelier gripper", "tray_play_10k_cloning", acting="mean"),
            SweepRow("behaviour cloning (GCBC), staying at goals", "tray_play_10k_stay_cloning"),
        ),
        pairs=(
            ("staying at goals, nearly there is there", "staying at goals, without Q"),
            ("staying at goals, nearly there is there", "behaviour cloning (GCBC), staying at goals"),
            ("behaviour cloning (GCBC), staying at goals", "behaviour cloning (GCBC)"),
        ),
    ),
    Table(
        "tray_clumsy",
        (
            SweepRow("Actionable Models, negatives of the behaviour", "tray_clumsy"),
            SweepRow("acting by the cloning head, without Q", "tray_clumsy", acting="cloned_drawn"),
            SweepRow("far negatives alone", "tray_clumsy_far_negatives"),
            SweepRow("far negatives alone, without Q", "tray_clumsy_far_negatives", acting="cloned_drawn"),
            SweepRow("behaviour cloning (GCBC)", "tray_clumsy_cloning"),
        ),
        pairs=(
            ("far negatives alone", "behaviour cloning (GCBC)"),
            ("far negatives alone", "far negatives alone, without Q"),
        ),
    ),
    Table(
        "tray_uncut",
        (
            SweepRow("Actionable Models", "tray_uncut"),
            SweepRow("acting by the cloning head, without Q", "tray_uncut", acting="cloned_drawn"),
            SweepRow("behaviour cloning (GCBC)", "tray_uncut_cloning"),
            SweepRow("behaviour cloning (GCBC), 2.5 times the updates", "tray_uncut_cloning_longer"),
        ),
        pairs=(("behaviour cloning (GCBC), 2.5 times the updates", "behaviour cloning (GCBC)"),),
    ),
    Table(
        "tray_stitch",
        (
            SweepRow("Actionable Models, linked goals", "tray_stitch_recipe"),
            SweepRow("the gripper by Q, too", "tray_stitch_recipe", acting="likely"),
            SweepRow("acting by the cloning head, without Q", "tray_stitch_recipe", acting="cloned_drawn", seeds=SIX),
            SweepRow("without Q, the likelier gripper", "tray_stitch_recipe", acting="cloned"),
            SweepRow("acting by CEM", "tray_stitch_recipe", acting="cem"),
            SweepRow("without junctions", "tray_stitch_no_junctions"),
            SweepRow("without junctions, with negatives of the behaviour", "tray_stitch_behavior"),
            SweepRow("without junctions and bootstrapping", "tray_stitch_no_bootstrap"),
            SweepRow("staying at goals, nearly there is there", "tray_stitch_stay"),
            SweepRow("without chaining", "tray_stitch_no_links", {CHAINING: 0.0}),
            SweepRow("random goals (the paper's chaining)", "tray_stitch_no_links", {CHAINING: 0.3}),
            SweepRow("behaviour cloning (GCBC), linked goals", "tray_stitch_recipe_cloning"),
            SweepRow("behaviour cloning (GCBC), linked goals, 35,000 updates", "tray_stitch_cloning_longer"),
            SweepRow("behaviour cloning (GCBC), the likelier gripper", "tray_stitch_recipe_cloning", acting="mean"),
            SweepRow("behaviour cloning (GCBC), without chaining", "tray_stitch_no_links_cloning"),
            SweepRow("behaviour cloning (GCBC), staying at goals", "tray_stitch_stay_cloning"),
        ),
        pairs=(
            ("staying at goals, nearly there is there", "behaviour cloning (GCBC), staying at goals"),
            ("behaviour cloning (GCBC), staying at goals", "behaviour cloning (GCBC), linked goals"),
            ("without junctions, with negatives of the behaviour", "without junctions"),
            ("without junctions", "without junctions and bootstrapping"),
        ),
    ),
    Table(
        "tray_stitch_20k",
        (
            SweepRow("Actionable Models, linked goals", "tray_stitch_20k"),
            SweepRow("behaviour cloning (GCBC), linked goals", "tray_stitch_20k_cloning"),
        ),
    ),
    Table(
        "point_maze",
        (
            SweepRow("Actionable Models", "point_maze", {CHAINING: 0.5}),
            SweepRow("without chaining", "point_maze", {CHAINING: 0.0}),
            SweepRow("behaviour cloning (GCBC)", "point_maze_cloning", acting="mean"),
            SweepRow("behaviour cloning (GCBC), its densest component", "point_maze_cloning"),
        ),
    ),
    Table(
        CURVES_TABLE,
        curve_rows(
            ("Actionable Models", "tray_play_10k_recipe"),
            ("behaviour cloning (GCBC)", "tray_play_10k_cloning"),
            end=30_000,
        ),
    ),
    Table(IMAGES_TABLE, IMAGE_ROWS),
)


def acting_rows(sweep: str) -> list[SweepRow]:
    """The rows that show a sweep's networks acting otherwise."""
    rows = [row for table in TABLES for row in table.rows if isinstance(row, SweepRow)]
    return [row for row in rows if row.sweep == sweep and row.acting is not None]


def curve_points(sweep: str) -> list[CurveRow]:
    """The points of a sweep's curve that its own evaluation does not give."""
    rows = [row for table in TABLES for row in table.rows if isinstance(row, CurveRow)]
    return [row for row in rows if row.sweep == sweep and row.updates in CURVE_UPDATES]
